"""All claims in one figure: our effects with their intervals beside the paper's, one row per claim.

As HTML for the front page, where rows link to chapters and variants fold away; and as an SVG image for README.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from html import escape
from textwrap import wrap

from alexnet_repro.claims.verdict import Verdict
from alexnet_repro.report.tables import statements

LEFT, RIGHT = -1.0, 2.5  # ends of the axis: 0 is no effect, 1 the paper's effect
WIDTH, HEIGHT = 170, 20  # of a row's drawing
LINE, DRAWING, NUMBERS, WORDS, END = 24, 490, 680, 850, 1110  # of the image: height of a row, x of its parts, width
LONGEST, NEXT = 74, 16  # characters in a line of a statement, and the height of a further line
MARKS = {  # differ in shape too, for print and for the colour-blind
    "reproduced": '<circle class="ours" cx="{x}" cy="{y}" r="4.5"/>',
    "smaller": '<path class="ours" d="M{x},{y} m-5,0 l8,-5 v10 z"/>',
    "opposite": '<path class="ours" d="M{x},{y} m-4,-4 l8,8 m0,-8 l-8,8" stroke-width="3"/>',
    "no effect found": '<circle class="ours hollow" cx="{x}" cy="{y}" r="4"/>',
}
OPEN_MARK = '<rect class="ours hollow" x="{x}" y="{y}" width="7" height="7" transform="translate(-3.5 -3.5)"/>'
COLOURS = {"reproduced": "#00664b", "smaller": "#005a8c", "no-effect-found": "#005a8c", "opposite": "#a03f00"}
LEGEND = (
    "The thin line marks no effect, and the diamond marks the paper's effect. The other mark is our effect, with its "
    "interval. Effects are shown as multiples of the paper's effect (for ratios, on a log scale). A row without a "
    "diamond has its own scale: the paper gives no number."
)


def html(results: Sequence[Verdict], book: str = "") -> str:
    """The rows as HTML without blank lines, as Markdown needs it.

    Args:
        results: verdicts from ``judged``, with the variants of a claim after it.
        book: the folder of the chapters, as links must name it.
    """
    lines = ['<div class="forest">', f"<p>{escape(LEGEND)}</p>"]
    for first, *variants in _families(results):
        lines += [_html_row(first, book, first.claim.statement)]
        if variants:
            rows = [_html_row(result, book, result.claim.variant) for result in variants]
            lines += ["<details><summary>variants</summary>", *rows, "</details>"]
    return "\n".join([*lines, "</div>"])


def _html_row(result: Verdict, book: str, statement: str) -> str:
    svg = 'svg xmlns="http://www.w3.org/2000/svg"'  # an ePub's pages are XML, which needs the namespace
    drawing = f'<{svg} viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{strip(result)}</svg>'
    ours = f"{result.summary()}<br/>" if result.estimate is not None else ""
    return (
        f'<span class="claim {_kind(result)}"><a href="{book}{result.claim.chapter}.html">{escape(statement)}</a> '
        f"{drawing} <span>{ours}<b>{result.words}</b></span></span>"
    )


def image(results: Sequence[Verdict]) -> str:
    """The rows as an SVG image on a white background, with the statements of the claims."""
    rows, y = [], LINE
    for words, result in zip(statements(results), results, strict=True):
        x = 10 if words == result.claim.statement else 30
        lines = [
            f'<text x="{x}" y="{14 + NEXT * i}">{escape(line)}</text>' for i, line in enumerate(wrap(words, LONGEST))
        ]
        rows.append(
            f'<g class="{_kind(result)}" transform="translate(0 {y})">{"".join(lines)}'
            f'<g transform="translate({DRAWING})">{strip(result)}</g>'
            f'<text x="{NUMBERS}" y="14">{result.summary()}</text>'
            f'<text class="verdict" x="{WORDS}" y="14">{result.words}</text></g>'
        )
        y += LINE + NEXT * (len(lines) - 1)
    legend = wrap(LEGEND, LONGEST * 2)
    for i, line in enumerate(legend):
        rows.append(f'<text class="legend" x="10" y="{y + 20 + NEXT * i}">{escape(line)}</text>')
    height = y + 20 + NEXT * len(legend)
    styles = (f".{kind}{{color:{colour}}}.{kind} .verdict{{font-weight:600}}" for kind, colour in COLOURS.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {END} {height}">'
        "<style>svg{font:13px sans-serif;color:#555}text{fill:#222}.verdict{fill:currentColor}"
        ".zero{stroke:#888}.interval{stroke:currentColor;stroke-width:2;fill:none}.paper{fill:#d55e00}"
        ".ours{fill:currentColor;stroke:currentColor}.hollow{fill:#fff;stroke-width:2}" + "".join(styles) + "</style>"
        f'<rect width="{END}" height="{height}" fill="#fff"/>'
        f'<text x="{DRAWING + _x(0)}" y="16" text-anchor="end">no effect</text>'
        f'<text x="{DRAWING + _x(1)}" y="16" text-anchor="middle">the paper\'s</text>'
        f'<text x="{NUMBERS}" y="16">ours</text><text x="{WORDS}" y="16">verdict</text>' + "".join(rows) + "</svg>\n"
    )


def strip(result: Verdict) -> str:
    """The drawing of one row as SVG elements: the line of no effect, the paper's number, and ours."""
    claim, y = result.claim, HEIGHT // 2
    parts = [] if claim.effect == "level" else [f'<path class="zero" d="M{_x(0)},0 V{HEIGHT}"/>']
    if claim.paper_value is not None:
        parts.append(f'<path class="paper" d="M{_x(1)},{y} m-5,0 l5,-5 l5,5 l-5,5 z"/>')
    if result.estimate is None:
        return "".join(parts)
    low, middle, high = positions(result)
    if low is not None:
        parts.append(f'<path class="interval" d="M{_x(low)},{y} H{_x(high)}"/>')
        arrows = [(low < LEFT, _x(LEFT), 5), (high > RIGHT, _x(RIGHT), -5)]
        shapes = [f"M{x + d},{y - 4} L{x},{y} L{x + d},{y + 4}" for cut, x, d in arrows if cut]
        parts += [f'<path class="interval" d="{shape}"/>' for shape in shapes]
    parts.append(MARKS.get(result.outcome, OPEN_MARK).format(x=_x(middle), y=y))
    return "".join(parts)


def positions(result: Verdict) -> tuple[float | None, float, float | None]:
    """Lower end of the interval, estimate and upper end on the axis: 0 is no effect, 1 the paper's."""
    claim = result.claim
    ends = [None if end is None else claim.additive(end) for end in (result.low, result.estimate, result.high)]
    if claim.paper_value is not None:
        unit = claim.additive(claim.paper_value)
    else:
        unit = 2 * max(abs(end) for end in ends if end is not None and math.isfinite(end)) or 1  # left of the paper's
    return tuple(None if end is None else end / unit for end in ends)


def _x(position: float) -> float:
    """The x coordinate of a position in the drawing, clipped to the ends of the axis."""
    clipped = min(max(position, LEFT), RIGHT)
    return round(6 + (clipped - LEFT) / (RIGHT - LEFT) * (WIDTH - 12), 1)


def _families(results: Sequence[Verdict]) -> Iterator[list[Verdict]]:
    """Each claim with its variants, whose statements are the same up to the parenthesis."""
    return (list(family) for _, family in itertools.groupby(results, lambda result: result.claim.subject))


def _kind(result: Verdict) -> str:
    return result.outcome.replace(" ", "-")
