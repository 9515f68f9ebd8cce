"""A Sphinx extension: below each figure that a cell draws, it names the records and the revisions of the code.

The records are inferred from the code: the cell's statements, and earlier ones that define what these read.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from pages import in_repository
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from alexnet_repro import CLAIMS, load_evidence
from alexnet_repro.claims.records import BOOK, EVIDENCE_FOLDER
from alexnet_repro.claims.studies import FULL_RUN, STUDIES
from alexnet_repro.claims.study import SCALES
from alexnet_repro.support.environment import revision


def add_sources(app: Sphinx, document: nodes.document) -> None:
    """Gives every figure of a chapter its source, below the caption."""
    before: list[ast.stmt] = []
    for cell in document.findall(lambda node: isinstance(node, nodes.container) and "cell" in node["classes"]):
        code = [node.astext() for node in cell.findall(nodes.literal_block) if "cell_input" in node.parent["classes"]]
        statements = ast.parse("\n".join(code)).body
        for figure in cell.findall(nodes.figure):
            paths = records([*statements, *made_for(statements, before)])
            source = nodes.paragraph("", "", *_source(app.env, paths), classes=["source"])
            figure.append(nodes.legend("", source))
        before += statements


def made_for(statements: Sequence[ast.stmt], before: Sequence[ast.stmt]) -> list[ast.stmt]:
    """The earlier statements that define the variables which the statements read, directly or indirectly."""
    wanted = set().union(*(_names(statement, ast.Load) for statement in statements))
    found = []
    for statement in reversed(before):
        made = _names(statement, ast.Store)
        if made & wanted:
            wanted = (wanted - made) | _names(statement, ast.Load)
            found.append(statement)
    return found


def _names(statement: ast.stmt, use: type[ast.expr_context]) -> set[str]:
    """The variables that a statement reads or assigns, except those of its comprehensions."""
    loops = [node.target for node in ast.walk(statement) if isinstance(node, ast.comprehension)]
    inner = {name.id for loop in loops for name in ast.walk(loop) if isinstance(name, ast.Name)}
    names = (node for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, use))
    return {name.id for name in names} - inner


def records(statements: Sequence[ast.stmt]) -> list[Path]:
    """The record files that statements of a chapter read, judging by the arguments of ``load_evidence``.

    An argument that is not a literal stands for every allowed string that occurs in the statements. If these compare a
    record's ``arm``, only records of the arms that they name count.
    """
    parts = list(itertools.chain.from_iterable(map(ast.walk, statements)))
    texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
    chosen = any(isinstance(part, ast.Compare) and getattr(part.left, "attr", None) == "arm" for part in parts)
    found = []
    for call in (part for part in parts if isinstance(part, ast.Call) and _name(part.func) == "load_evidence"):
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        given = inspect.signature(load_evidence).bind(*call.args, **named).arguments
        scales = _meant(given["scale"], texts, SCALES) if "scale" in given else [None]
        for claim, scale in itertools.product(_meant(given["claim"], texts, {**CLAIMS, **STUDIES}), scales):
            found += [record for record in load_evidence(claim, scale) if not chosen or record.arm in texts]
    if any(_name(part) == "CHECKPOINT" for part in parts):
        found += load_evidence(FULL_RUN, "laptop")
    return sorted(dict.fromkeys(EVIDENCE_FOLDER / record.path for record in found), key=lambda path: path.parent)


def _name(node: ast.AST) -> str | None:
    return getattr(node, "id", None) or getattr(node, "attr", None)


def _meant(argument: ast.expr, texts: Sequence[str], allowed: Iterable[str]) -> list[str]:
    """The argument if it is a literal, otherwise all allowed strings that occur in the statements."""
    return [argument.value] if isinstance(argument, ast.Constant) else [text for text in allowed if text in texts]


def _source(env: BuildEnvironment, paths: Sequence[Path]) -> Iterator[nodes.Node]:
    """The files, folder by folder, with the revisions that made them; and the revision that drew the figure."""
    yield nodes.Text("Source: ")
    for folder, of_folder in itertools.groupby(paths, lambda path: path.parent):
        files = list(of_folder)
        yield nodes.literal(text=f"book/{folder.relative_to(BOOK).as_posix()}")
        arm = None
        for path in files:
            before, arm, number = arm, *path.stem.rpartition("-seed")[::2]
            yield nodes.Text(": " if path is files[0] else ", ")
            yield _download(env, path, number if arm and arm == before else path.stem)
        yield nodes.Text("; made by revision ")
        yield from _revisions(env, [json.loads(path.read_text("utf-8"))["environment"]["revision"] for path in files])
        yield nodes.Text(". ")
    yield nodes.Text("Drawn by this page's code at revision " if paths else "this page's code at revision ")
    yield from _revisions(env, [revision()])
    yield nodes.Text(".")


def _download(env: BuildEnvironment, path: Path, text: str) -> nodes.Node:
    env.note_dependency(str(path))
    name = env.dlfiles.add_file(env.docname, os.path.relpath(path, env.srcdir))
    return addnodes.download_reference("", text, filename=name, reftarget=name)


def _revisions(env: BuildEnvironment, revisions: Sequence[str]) -> Iterator[nodes.Node]:
    for i, name in enumerate(dict.fromkeys(revisions)):
        if i:
            yield nodes.Text(", ")
        commit, plus, changes = name.partition("+")
        text = nodes.Text(name if commit == "unknown" else commit[:7] + plus + changes)
        yield text if commit == "unknown" else in_repository(env.config, f"commit/{commit}", text)


def setup(app: Sphinx) -> dict[str, Any]:
    """Processes every page as it is read, after Sphinx has collected its downloads."""
    app.connect("doctree-read", add_sources, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
