"""The short answer at the beginning of a chapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from alexnet_repro.claims.claim import Outcome
from alexnet_repro.claims.verdict import Verdict
from alexnet_repro.report.tables import EFFECT, counted, judged, statements
from alexnet_repro.support.table import Table


@dataclass(frozen=True)
class InShort:
    """Sentences about some claims and a table of their verdicts, shown as Markdown."""

    sentences: str  #: with the measured effects filled in
    results: Sequence[Verdict]  #: one for each row of the table

    def to_markdown(self) -> str:
        """The sentences, then a table: the paper's number, ours with its interval, the number of runs, the verdict."""
        text = f"**In short.** {self.sentences}"
        if not self.results:
            return text
        rows = [
            [statement, result.claim.paper_summary(), result.summary(), _runs(result), result.words]
            for statement, result in zip(statements(self.results), self.results, strict=True)
        ]
        return f"{text}\n\n{Table(['claim', 'paper', EFFECT, 'runs', 'verdict'], rows).to_markdown()}"

    _repr_markdown_ = __repr__ = to_markdown


def _runs(result: Verdict) -> str:
    """The number of pairs, or of seeds where two numbers of one run are compared, and their scale."""
    what = "pair" if len(result.claim.arms) > 1 else "seed"
    return f"{counted(result.pairs, what)} at scale {result.scale}" if result.pairs else "none"


def in_short(verdicts: Mapping[str, Outcome], sentences: str) -> InShort:
    """What the records say about these claims today, in sentences that were written for the verdicts given here.

    If a verdict has changed since, a line that says so replaces the sentences.

    Args:
        verdicts: id of a claim -> the verdict that the sentences were written for.
        sentences: with ``{id}`` where the measured effect of that claim belongs.

    Raises:
        KeyError: the sentences name a claim that is not among ``verdicts``, or a claim that does not exist.
    """
    results = judged(*verdicts)
    return InShort(up_to_date(verdicts, sentences, results), results)


def up_to_date(verdicts: Mapping[str, Outcome], sentences: str, results: Sequence[Verdict]) -> str:
    """The sentences of ``in_short``, given the verdicts on at least these claims."""
    found = {result.claim.id: result for result in results}
    filled = sentences.format_map({name: found[name].summary() for name in verdicts})
    changed = [f"{name}: {found[name].outcome}" for name in verdicts if found[name].outcome != verdicts[name]]
    if changed:
        return f"Newer runs have changed verdicts since this page was written ({', '.join(changed)})."
    return filled
