import importlib
import sys
from pathlib import Path

import pytest

from alexnet_repro import CLAIMS, AlexNet, NetConfig, verdict
from alexnet_repro.claims.verdict import Verdict
from alexnet_repro.report import tables

sys.path.append(str(Path(__file__).resolve().parents[2] / "book" / "_ext"))
page_tables = importlib.import_module("page_tables")
RUN145 = NetConfig.preset("run145")


JUDGED = tables.judged(*CLAIMS)
BEGIN, END = page_tables.MARKERS["claims"]
PAGE = f"# Title\n\n{BEGIN}\nold\n{END}\n\nRest.\n"


def test_the_table_of_claims_is_replaced_and_nothing_else():
    page = page_tables.with_tables(PAGE, "book/", JUDGED)
    assert page.startswith("# Title\n")
    assert page.endswith("\nRest.\n")
    assert "old" not in page
    assert "](book/04_lrn.ipynb)" in page
    assert page_tables.with_tables(page, "book/", JUDGED) == page


def test_every_claim_is_in_the_table_at_a_glance_and_counted_once():
    table = page_tables.glance_table(JUDGED, "book/")
    whole = tables.verdict_table(*CLAIMS)
    assert [(row[1], row[3], row[-1]) for row in table.rows] == [(row[2], row[4], row[-1]) for row in whole.rows]
    counts = page_tables.verdict_counts(JUDGED)
    assert list(counts.header[1:]) == ["reproduced", "smaller", "no effect found", "opposite"]
    assert [row[0] for row in counts.rows] == ["at the paper's scale", "in small", "no verdict yet"]
    assert sum(int(count) for row in counts.rows for count in row[1:] if count) == len(CLAIMS)


def test_what_was_found_in_small_is_never_counted_as_found_at_the_paper_s_scale():
    relu = CLAIMS["relu"]
    results = [Verdict(claim=relu, outcome="smaller", scale=scale) for scale in ("paper", "laptop", "gpu", "laptop")]
    counts = {row[0]: row[2] for row in page_tables.verdict_counts(results).rows}
    assert (counts["at the paper's scale"], counts["in small"]) == ("1", "3")


def test_a_claim_that_differs_from_the_one_before_in_its_last_words_shows_these_at_a_glance():
    first, second, *_, last = [row[0] for row in page_tables.glance_table(JUDGED, "").rows]
    assert first.startswith("[ReLU reaches 25 % training error")
    assert second == "[… 2012 protocol, the other candidate](03_relu.ipynb)"
    assert last.startswith("[Seven networks")


def test_a_page_without_the_markers_is_refused():
    with pytest.raises(ValueError, match="expected the lines"):
        page_tables.with_tables("# Title\n", "", JUDGED)


def test_what_is_left_to_run_has_its_command_and_what_is_judged_is_not_there():
    begin, end = page_tables.MARKERS["remaining"]
    page = page_tables.with_tables(f"{begin}\n{end}\n", "", JUDGED)
    assert "`alexnet-repro claims run two-gpus --scale" in page or "two-gpus" not in page
    assert "| relu |" not in page
    with pytest.raises(ValueError, match="expected both"):
        page_tables.with_tables(begin, "", JUDGED)


def test_the_costs_are_those_of_the_recipe_and_the_speeds_at_the_head():
    table = page_tables.cost_table()
    one, claim, *_ = ([float(cell.replace(",", "")) for cell in row[1:]] for row in table.rows)
    assert one[:2] == [1, 91 * 1_281_167]
    assert claim[:2] == [10, 910 * 1_281_167]
    assert one[2] == pytest.approx(one[1] * 3 * sum(cost.multiply_adds for cost in AlexNet(RUN145).costs()), rel=0.05)
    assert one[-2:] == pytest.approx([one[1] / 1_000 / 86_400, one[1] / 10_000 / 3_600], abs=0.1)
    assert claim[3] == pytest.approx(10 * one[3], rel=0.01)


def test_every_claim_is_judged_once_for_all_pages(monkeypatch, tmp_path):
    judged = []
    monkeypatch.setattr(tables, "verdict", lambda claim, records: judged.append(claim.id) or verdict(claim, records))
    pages = [tmp_path / name for name in ("a.md", "b.md")]
    for page in pages:
        page.write_text("\n".join(line for pair in page_tables.MARKERS.values() for line in pair))
    page_tables.update(*pages)
    assert judged == list(CLAIMS)


def test_a_page_gets_links_that_hold_from_where_it_lies(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("\n".join(page_tables.MARKERS["claims"]))
    page_tables.update(page)
    links = [part.partition(")")[0] for part in page.read_text().split("](")[1:]]
    assert len(links) == len(CLAIMS)
    assert {(tmp_path / link).resolve() for link in links if not (tmp_path / link).resolve().is_file()} == set()
