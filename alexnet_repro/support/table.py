"""Rows of text as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows of text, shown as a table in a notebook and in the book."""

    header: Sequence[str]  #: one cell per column
    rows: Sequence[Sequence[str]]  #: from top to bottom

    def to_markdown(self) -> str:
        """As a Markdown table."""
        lines = [self.header, ["---"] * len(self.header), *self._lines()]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    _repr_markdown_ = to_markdown

    def __repr__(self) -> str:
        lines = [self.header, *self._lines()]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        return "\n".join(
            "  ".join(f"{cell:{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
        )

    def _lines(self) -> Sequence[Sequence[str]]:
        return self.rows or [["none recorded yet", *[""] * (len(self.header) - 1)]]
