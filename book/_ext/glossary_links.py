"""A Sphinx extension: links the first use of each glossary term on a page to the glossary."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

EVERYDAY = (
    "channel",
    "level",
    "pair",
    "scale",
    "stage",
    "study",
    "variant",
    "view",
)  # have other meanings too: only {term} links them
ELSEWHERE = (nodes.table, nodes.figure, nodes.container, nodes.citation, addnodes.glossary)


class GlossaryLinks(SphinxPostTransform):
    """Links terms in running text that is neither emphasized nor a link already, in singular or plural."""

    default_priority = 5  # before references are resolved

    def run(self, **_: Any) -> None:
        """Works page by page, even where several pages form one document."""
        objects = self.env.domaindata["std"]["objects"]
        found = ((name, page) for (kind, name), (page, _) in objects.items() if kind == "term")
        terms = {name.lower(): (name, page) for name, page in found if name not in EVERYDAY}
        if not terms:
            return
        words = "|".join(re.escape(term).replace(r"\ ", r"\s+") for term in sorted(terms, key=len, reverse=True))
        pattern = re.compile(rf"(?<![\w-])({words})s?(?![\w-])", re.IGNORECASE)
        seen = set()
        for text in list(self.document.findall(_is_running_text)):
            page = next((n["docname"] for n in _above(text) if isinstance(n, addnodes.start_of_file)), self.env.docname)
            parts, end = [], 0
            for match in pattern.finditer(text):
                term, glossary = terms[" ".join(match[1].lower().split())]
                if page != glossary and (page, term) not in seen:
                    seen.add((page, term))
                    parts += [nodes.Text(text[end : match.start()]), _reference(term, match[0], page)]
                    end = match.end()
            if parts:
                text.parent.replace(text, [*parts, nodes.Text(text[end:])])


def _is_running_text(node: nodes.Node) -> bool:
    in_paragraph = isinstance(node, nodes.Text) and isinstance(node.parent, nodes.paragraph)
    return in_paragraph and not any(isinstance(above, ELSEWHERE) for above in _above(node))


def _above(node: nodes.Node) -> Iterator[nodes.Node]:
    while (node := node.parent) is not None:
        yield node


def _reference(term: str, text: str, page: str) -> nodes.Node:
    target = {"refdomain": "std", "reftype": "term", "reftarget": term, "refdoc": page}
    return addnodes.pending_xref("", nodes.inline(text, text), refexplicit=True, refwarn=True, **target)


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the transform."""
    app.add_post_transform(GlossaryLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
