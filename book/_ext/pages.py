"""A Sphinx extension: marks verdicts in tables, adapts the printed book, and sets where links and buttons lead."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxRole

from alexnet_repro import __version__
from alexnet_repro.claims.claim import Outcome

LINE = 100  # characters in a printed table's line
LONG = 12  # rows; a longer table may continue on the next page
REPOSITORY_BUTTONS = ("use_repository_button", "use_edit_page_button", "use_issues_button")


class Verdicts(SphinxPostTransform):
    """Adds a cell's verdict to its classes, and to a table's what its last column contains: verdicts or commands."""

    default_priority = 6  # after MyST-NB has chosen the format of an output

    def run(self, **_: Any) -> None:
        """Processes every table of the page: its header, and its last column if that is the verdict."""
        for table in self.document.findall(nodes.table):
            header, *rows = ([*row.findall(nodes.entry)] for row in table.findall(nodes.row))
            verdicts = header[-1].astext() == "verdict"
            commands = all(any(row[-1].findall(nodes.literal)) for row in rows)
            table["classes"] += ["verdicts"] * verdicts + ["commands"] * commands
            for entry in [*header, *(row[-1] for row in rows if verdicts)]:
                outcome = re.split(r", | \(", entry.astext())[0]  # "larger" and the scale may follow
                if outcome in get_args(Outcome):
                    entry["classes"] += ["verdict", outcome.replace(" ", "-")]


class Print(SphinxPostTransform):
    """For LaTeX: columns as wide as their contents need, the front page as a chapter, only chapters numbered, what
    unfolds elsewhere under its summary, and the drawing of all claims as a list."""

    default_priority = 6
    formats = ("latex",)

    def run(self, **_: Any) -> None:
        """Processes the whole book, which is one document here."""
        for table in list(self.document.findall(nodes.table)):
            rows = [[entry.astext() for entry in row.findall(nodes.entry)] for row in table.findall(nodes.row)]
            columns = "".join(rf">{{\raggedright\arraybackslash}}\X{{{width}}}{{{LINE}}}" for width in widths(rows))
            table.parent.insert(table.parent.index(table), addnodes.tabular_col_spec(spec=columns))
            table["classes"] += ["longtable"] * (len(rows) > LONG)
        for node in list(self.document.findall(nodes.raw)):
            if node.astext().startswith('<div class="forest">'):
                node.replace_self(listed(ElementTree.fromstring(node.astext())))
            elif summary := re.search("<summary>(.*?)</summary>", node.astext()):
                node.replace_self(nodes.paragraph("", "", nodes.strong(text=f"{summary[1]}.")))
        front = self.document.next_node(nodes.section)
        own = [child for child in front.children if not any(child.findall(addnodes.start_of_file))]
        chapter = nodes.section("", front[0].deepcopy(), *own[1:])
        front.children = [front[0], _numbered(False), chapter, *(child for child in front.children if child not in own)]
        for page in list(self.document.findall(addnodes.start_of_file)):
            number = _numbered(page["docname"] in self.env.toc_secnumbers)
            page.parent.insert(page.parent.index(page), number)


class Unfolded(SphinxPostTransform):
    """Unfolds everything in an ePub, whose reader may be unable to open what is folded."""

    default_priority = 198  # before MyST-NB folds
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Processes every cell of the page."""
        for cell in self.document.findall(nodes.container) if self.app.builder.name == "epub" else ():
            cell.attributes.pop("hide_mode", None)


def listed(claims: ElementTree.Element) -> nodes.bullet_list:
    """The claims in ``forest.html``'s drawing as a list: statement, effect and verdict, and those of the variants."""
    items = nodes.bullet_list()
    for part in claims:
        if part.tag == "details":  # the variants of the claim before it
            items[-1] += listed(part)
        elif part.tag == "span":
            statement, *ours, verdict = filter(str.strip, part.itertext())
            words = nodes.Text(f"{statement}: {''.join(f'{effect}, ' for effect in ours)}")
            items += nodes.list_item("", nodes.paragraph("", "", words, nodes.strong(text=verdict)))
    return items


def widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Column widths in a printed line: each fits its longest word; the rest is shared by how much longer cells are."""
    columns = list(zip(*rows, strict=True))
    least = [2 + max(len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    lacks = [max(0, 2 + max(map(len, column)) - width) for column, width in zip(columns, least, strict=True)]
    spare = max(0, LINE - sum(least))
    return [width + spare * lack // max(1, sum(lacks)) for width, lack in zip(least, lacks, strict=True)]


def _numbered(yes: bool) -> nodes.Node:
    return nodes.raw("", rf"\setcounter{{secnumdepth}}{{{0 if yes else -1}}}", format="latex")


def in_repository(config: Config, path: str, node: nodes.Node) -> nodes.Node:
    """A node linked to a path of the repository; the node itself if it is not known where the repository is."""
    return nodes.reference("", "", node, refuri=f"{config.repository}/{path}") if config.repository else node


class RepositoryRole(SphinxRole):
    """A file or folder of the repository: {repo}`book/evidence`."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """The path as a literal, linked to the repository."""
        branch = self.config.html_theme_options["repository_branch"]
        return [in_repository(self.config, f"tree/{branch}/{self.text}", nodes.literal(text=self.text))], []


def adapt_buttons(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Lets "Suggest edit" open the text of a chapter, not its notebook; and takes an icon from a font in use."""
    for group in context.get("header_buttons", []):
        if group.get("label") == "source-buttons":
            group["icon"] = "fas fa-code-branch"
        for button in group.get("buttons", []):
            if button.get("label") == "source-edit-button":
                button["url"] = re.sub(r"/book/(\w+)\.ipynb$", r"/book/text/\1.md", button["url"])


def mend_page(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Keeps only the styles and scripts that a page uses; makes its references the items of a list; mends links."""
    body = context.get("body", "").replace('role="doc-biblioentry"', 'role="listitem"')
    if app.builder.name == "epub":  # whose pages have another suffix; links in HTML are not Sphinx's
        body = re.sub(r'(<a href="[^":#]+)\.html"', r'\1.xhtml"', body)
    context["body"] = body
    unused = ["thebe"]
    unused += [] if 'class="sd-' in body else ["sphinx-design", "design-tabs"]
    unused += [] if 'class="cell' in body and app.builder.name != "epub" else ["mystnb"]
    for kind in ("css_files", "script_files"):
        context[kind] = [file for file in context[kind] if not any(name in _described(file) for name in unused)]


def light_without_scripts(app: Sphinx, exception: Exception | None) -> None:
    """Makes every page light until a script has asked for the reader's mode: the theme has no colours for "auto"."""
    for page in Path(app.outdir).rglob("*.html") if exception is None and app.builder.name == "html" else ():
        text = page.read_text(encoding="utf-8")
        if (mended := text.replace('data-theme="auto"', 'data-theme="light"', 1)) != text:
            page.write_text(mended, encoding="utf-8")


def _described(file: Any) -> str:
    return f"{file.filename} {getattr(file, 'attributes', {}).get('body', '')}"


def find_repository(app: Sphinx, config: Config) -> None:
    """Sets the repository's address: the building GitHub workflow's, else _config.yml's; without one, no buttons."""
    options = config.html_theme_options
    if name := os.environ.get("GITHUB_REPOSITORY"):  # other hosts' workflows set it too, with their address
        options["repository_url"] = f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}"
    config.repository = options["repository_url"]
    options |= dict.fromkeys(REPOSITORY_BUTTONS, bool(config.repository))
    if not config.repository:
        options["launch_buttons"] = {}


def name_version(app: Sphinx, config: Config) -> None:
    """Gives the book the package's version."""
    config.version = config.release = __version__


def drop_thebe(app: Sphinx, document: nodes.document, docname: str) -> None:
    """Removes Thebe's scripts, which Jupyter Book adds to every page; none uses them, and no ePub may have them."""
    for node in [node for node in document.findall(nodes.raw) if node.astext().strip().startswith("<script")]:
        node.parent.remove(node)


def for_epub(app: Sphinx) -> None:
    """Prepares an ePub: no launch buttons, which make the theme fail, and formulas as images, as it has no scripts."""
    if app.builder.name == "epub":
        app.config.html_theme_options["launch_buttons"] = {}
        app.config.html_math_renderer = "imgmath"


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers all of it; buttons are adapted after the theme has made them."""
    app.add_post_transform(Verdicts)
    app.add_post_transform(Print)
    app.add_post_transform(Unfolded)
    app.add_role("repo", RepositoryRole())
    app.add_config_value("repository", "", "env")  # pages are read again when it changes
    app.connect("config-inited", find_repository)
    app.connect("config-inited", name_version)
    app.connect("builder-inited", for_epub)
    app.connect("doctree-resolved", drop_thebe, priority=900)
    app.connect("html-page-context", adapt_buttons, priority=900)
    app.connect("html-page-context", mend_page, priority=900)
    app.connect("build-finished", light_without_scripts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
