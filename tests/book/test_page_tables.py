import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from operator import sub
from xml.etree import ElementTree

import costs
import forest
import matplotlib.pyplot as plt
import numpy as np
import page_tables
import pytest
import torch
from PIL import Image
from scipy.stats import ttest_1samp

from alexnet_repro import CLAIMS, AlexNet, NetConfig, load_dataset, load_evidence, verdict
from alexnet_repro.claims.claim import Measurement
from alexnet_repro.claims.records import BOOK
from alexnet_repro.claims.verdict import Verdict
from alexnet_repro.report import tables

RUN145 = NetConfig.preset("run145")


JUDGED = tables.judged(*CLAIMS)
BEGIN, END = page_tables.markers("claims")
PAGE = f"# Title\n\n{BEGIN}\nold\n{END}\n\nRest.\n"


def test_the_table_of_claims_is_replaced_and_nothing_else():
    page = page_tables.with_tables(PAGE, "book/", JUDGED)
    assert page.startswith("# Title\n")
    assert page.endswith("\nRest.\n")
    assert "old" not in page
    assert "](book/04_lrn.ipynb)" in page
    assert page_tables.with_tables(page, "book/", JUDGED) == page


def test_every_claim_is_counted_once():
    counts = re.findall(r"\*\*(\d+)\*\*", page_tables.verdict_counts(JUDGED))
    assert sum(map(int, counts)) == len(CLAIMS)


def test_what_was_found_in_small_is_never_counted_as_found_at_the_paper_s_scale():
    relu = CLAIMS["relu"]
    results = [Verdict(claim=relu, outcome="smaller", scale=scale) for scale in ("paper", "laptop", "gpu", "laptop")]
    results += [Verdict(claim=relu, outcome="open", seeds=(1,)), Verdict(claim=relu, outcome="not run")]
    assert page_tables.verdict_counts(results).splitlines() == [
        "* At the paper's scale: **1** smaller",
        "* At small scale: **3** smaller",
        "* No verdict yet: **2**, 1 of them with some runs",
    ]


@pytest.mark.parametrize(("chapter", "verdicts", "words"), page_tables.FINDINGS, ids=lambda value: str(value)[:12])
def test_a_finding_on_the_front_page_is_what_the_records_say(chapter, verdicts, words):
    assert {claim: verdict(CLAIMS[claim], load_evidence(claim)).outcome for claim in verdicts} == verdicts
    assert (BOOK / f"{chapter}.ipynb").is_file()
    assert "Newer runs" not in page_tables.findings(JUDGED, "")


def test_the_images_of_pages_are_those_of_the_records_and_benchmarks():
    """The drawing of all claims to the last letter; plots by their size, for their bytes are another release's."""
    assert (page_tables.IMAGES / "claims.svg").read_text(encoding="utf-8") == forest.image(JUDGED)
    for name, figure in {"figure1.png": page_tables.figure_one(), "costs.png": costs.cost_curves()}.items():
        with Image.open(page_tables.IMAGES / name) as stored, Image.open(io.BytesIO(page_tables.as_png(figure))) as new:
            assert stored.size == new.size
            assert np.abs(np.asarray(stored, float) - np.asarray(new, float)).mean() < 1


def test_the_figures_of_pages_are_closed():
    before = plt.get_fignums()
    assert page_tables.figure_one().axes
    assert costs.cost_curves().axes
    assert plt.get_fignums() == before


def position(claim: str, estimate: float | None, low: float | None = None, high: float | None = None) -> tuple:
    result = Verdict(claim=CLAIMS[claim], outcome="open", estimate=estimate, low=low, high=high)
    return tuple(part and round(part, 6) for part in forest.positions(result))


def test_effects_are_drawn_in_multiples_of_the_paper_s_and_ratios_by_their_logarithms():
    assert position("relu", 6.0, 1.0, 36.0) == (0, 1, 2)
    assert position("two-gpus", 0.0085, -0.017, 0.034) == (-1, 0.5, 2)
    assert position("two-gpus", 0.017) == (None, 1, None)
    assert position("crops-error", 0.02, -0.01, 0.04) == (-0.125, 0.25, 0.5)  # the paper has no number
    assert position("relu", 6.0, 3.0, math.inf)[2] == math.inf


def test_a_variant_folds_under_its_claim_and_shows_its_last_words_alone():
    rows = ElementTree.fromstring(forest.html(JUDGED))
    links = [link.text for link in rows.iter("a")]
    assert len(links) == len(CLAIMS)
    assert next(link.text for link in rows.find("details").iter("a")) == "2012 protocol, network A"
    assert {link.get("href") for link in rows.iter("a")} == {f"{claim.chapter}.html" for claim in CLAIMS.values()}
    assert len(list(rows.iter("{http://www.w3.org/2000/svg}svg"))) == len(CLAIMS)  # an ePub shows no others


def test_a_page_without_the_markers_is_refused():
    with pytest.raises(ValueError, match="expected the lines"):
        page_tables.with_tables("# Title\n", "", JUDGED)


def test_what_is_left_to_run_has_its_command_and_what_is_judged_is_not_there():
    begin, end = page_tables.markers("remaining")
    left, judged = (Verdict(claim=CLAIMS[c], outcome=o) for c, o in (("two-gpus", "not run"), ("relu", "reproduced")))
    page = page_tables.with_tables(f"{begin}\n{end}\n", "", [left, judged])
    assert "| two-gpus | not run | - | `alexnet-repro claims run two-gpus --scale laptop --seeds 5 " in page
    assert "| relu |" not in page
    with pytest.raises(ValueError, match="expected both"):
        page_tables.with_tables(begin, "", JUDGED)


def test_the_costs_are_those_of_the_recipe_and_the_speeds_at_the_head(monkeypatch):
    rates = {"matrix_float32_flop_per_s": 5e13, "matrix_bfloat16_flop_per_s": 8e14}
    gpu = {"environment": {"device": "a GPU"}, "machine": rates}
    monkeypatch.setattr(costs, "measured_gpu", lambda: gpu)
    table = costs.cost_table()
    one, claim, *_ = ([float(cell.replace(",", "")) for cell in row[1:]] for row in table.rows)
    assert one[:2] == [1, 91 * 1_281_167]
    assert claim[:2] == [10, 910 * 1_281_167]
    assert one[2] == pytest.approx(one[1] * 3 * sum(cost.multiply_adds for cost in AlexNet(RUN145).costs()), rel=0.05)
    assert table.header[-2:] == [f"hours on a GPU in {precision}, at least" for precision in ("float32", "bfloat16")]
    assert claim[-2:] == pytest.approx([2 * claim[2] / rate / 3_600 for rate in rates.values()], rel=0.05)
    assert claim[3] == pytest.approx(10 * one[3], rel=0.01)


def test_a_gpu_s_layer_is_compared_in_its_faster_layout(monkeypatch):
    def times(ours, theirs, share):
        return {"ours": {"ms": ours, "share_of_bandwidth": share}, "torch": {"ms": theirs, "share_of_bandwidth": 0.1}}

    made = {"contiguous_format": times(2.0, 6.0, 0.25), "channels_last": times(1.5, 9.0, 0.5)}
    norms = {f"{name} 8x4x2x2 float32 {layout}": of[name] for layout, of in made.items() for name in of}
    monkeypatch.setattr(costs, "measured_gpu", lambda: {"normalization": norms})
    assert costs.gpu_table().rows == [["8x4x2x2", "float32", "4.0x", "50.0"]]


def test_of_a_gpu_what_was_not_measured_is_left_out_of_the_table(monkeypatch):
    whole = {"ms": 2.0, "share_of_bandwidth": 0.25}
    norms = {
        "torch 8x4x2x2 float32 channels_last": whole | {"ms": 4.0}, "ours 8x4x2x2 float32 channels_last": whole,
        "torch 8x4x2x2 bfloat16 channels_last": {"error": "none"}, "ours 8x4x2x2 bfloat16 channels_last": whole,
        "torch 8x4x9x9 float32 channels_last": whole, "ours 8x4x9x9 float32 channels_last": {"left out": "for want"},
    }  # fmt: skip
    monkeypatch.setattr(costs, "measured_gpu", lambda: {"normalization": norms})
    assert costs.gpu_table().rows == [["8x4x2x2", "float32", "2.0x", "25.0"]]
    for section in ({}, {"normalization": {"error": "out of memory"}}):
        monkeypatch.setattr(costs, "measured_gpu", lambda section=section: section)
        assert costs.gpu_table().rows == []


def test_processes_are_compared_with_as_many_that_share_nothing(monkeypatch):
    row = {"processes": 2, "shared": "the images", "machine": 0.96, "together": 0.75}
    monkeypatch.setattr(costs, "measured_cpu", lambda: {"processes": [row | {"computed MB": 1463.1, "measured MB": 8}]})
    assert costs.processes_table().rows == [["2", "the images", "0.96x", "0.75x", "1,463", "8"]]


def test_a_newcomer_s_times_come_with_the_machine_they_hold_for(monkeypatch):
    found = {"machine": {"device": "abacus"}, "sgemm GFLOP/s": 99.6, "minutes": {"make book": 4.26, "make test": 6.5}}
    monkeypatch.setattr(costs, "_latest", {"newcomer": found}.get)
    assert costs.first_command().endswith("4.3 minutes on abacus (100 GFLOP/s in matrix products of float32).")
    assert "on abacus (100" in costs.times_table()
    assert costs.times_table().endswith("| `make book` | 4.3 |\n| `make test` | 6.5 |")


def test_processes_were_measured_to_send_what_was_computed():
    for row in costs.measured_cpu()["processes"]:
        assert row["measured MB"] == pytest.approx(row["computed MB"], rel=0.02)


def test_a_claim_that_no_run_can_complete_has_no_command():
    results = [
        Verdict(claim=CLAIMS["lrn"], outcome=outcome, scale="laptop", seeds=tuple(range(pairs)))
        for outcome, pairs in (("open", 5), ("open", 10), ("exploratory", 5))
    ]
    commands = [row[-1] for row in page_tables.remaining_table(results).rows]
    assert "--seeds 10" in commands[0]
    assert commands[1:] == ["`-`", "`-`"]


def test_every_table_is_on_a_page_where_its_markers_are(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("\n".join(line for name in page_tables.TABLES for line in page_tables.markers(name)))
    page.write_text(page_tables.updated(JUDGED, page), encoding="utf-8")
    parts = [
        page.read_text().partition(begin)[2].partition(end)[0]
        for begin, end in map(page_tables.markers, page_tables.TABLES)
    ]
    assert len(parts) == len(page_tables.TABLES)
    assert all(part.strip() for part in parts)


def test_a_page_gets_links_that_hold_from_where_it_lies(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("\n".join(page_tables.markers("claims")))
    page.write_text(page_tables.updated(JUDGED, page), encoding="utf-8")
    links = [part.partition(")")[0] for part in page.read_text().split("](")[1:]]
    assert len(links) == len(CLAIMS)
    assert {(tmp_path / link).resolve() for link in links if not (tmp_path / link).resolve().is_file()} == set()


def test_the_images_of_all_records_are_listed_once():
    rows = [row for row in page_tables.images_table().rows if row[0] == "imagenette"]
    data = load_evidence("lrn", "laptop")[0].data
    assert rows == [
        ["imagenette", "train", "9,469", f"`{data['train']['sha256'][:16]}`"],
        ["imagenette", "val", "3,925", f"`{data['val']['sha256'][:16]}`"],
    ]


def test_the_program_on_the_page_of_studies_makes_small_squares_of_all_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, mode in ("train/n01440764/a", "RGB"), ("val/n01440764/b", "L"):
        place = tmp_path / "imagenette" / f"{name}.JPEG"
        place.parent.mkdir(parents=True)
        Image.linear_gradient("L").resize((224, 224)).convert(mode).save(place)
    (program,) = re.findall(r"```python\n(.*?)```", (BOOK / "studies.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(program, {})
    for split in "train", "val":
        dataset = load_dataset("imagenette-128", tmp_path, split, size=128)
        assert dataset.images.shape == (1, 3, 128, 128)
        torch.testing.assert_close(dataset.images[0, :, :, 0].float().diff(), torch.full((3, 127), 2.0), atol=3, rtol=0)


def test_the_errors_of_several_views_are_judged_with_the_centre_crop_alone_and_at_equal_training_error_too():
    rows = {row[0]: row[1:] for row in page_tables.measures_table(JUDGED).rows}
    assert not any("crops lowers" in statement for statement in rows)  # which compares the views themselves
    result = verdict(CLAIMS["pooling"], records := load_evidence("pooling", "laptop"))
    views, centre, fitted = rows[CLAIMS["pooling"].statement]
    assert views == f"{result.summary()}: {result.words}"
    errors = {arm: [r.final["centre_error"] for r in records if r.arm == arm] for arm in CLAIMS["pooling"].arms}
    gain = sum(map(sub, *errors.values())) / len(result.seeds)
    assert centre.startswith(f"{100 * gain:.2f} points [")
    assert fitted == verdict("pooling-overfitting", load_evidence("pooling-overfitting", "laptop")).summary()
    assert rows[CLAIMS["lrn-cifar"].statement][2] == "-"  # its runs have no validation images


def of_values(values: Sequence[float], name: str) -> Verdict:
    claim = replace(CLAIMS["crops-error"], id=name)
    seeds = tuple(range(len(values)))
    return Verdict(claim=claim, outcome="reproduced", scale="laptop", seeds=seeds, values=tuple(values))


def test_the_correction_for_many_claims_is_holm_s():
    clear, fair, weak = [0.05, 0.051, 0.049, 0.05, 0.05], [0.01, 0.02, 0.015, 0.012, 0.02], [0.0, 0.02, 0.01, 0.0, 0.03]
    found = [ttest_1samp(values, 0).pvalue for values in (clear, fair, weak)]
    assert found[0] < 0.05 / 3
    assert found[1] < 0.05 / 2
    assert found[2] > 0.05
    several = [of_values(values, name) for values, name in ((clear, "clear"), (weak, "weak"), (fair, "fair"))]
    assert "all 3 effects" in page_tables.correction(several)
    assert page_tables.correction(several).endswith("2 of the 3 that are *reproduced* remain: *clear*, *fair*.")
    assert page_tables.correction([*several[:2], *[of_values(weak, f"w{i}") for i in range(40)], several[2]]).endswith(
        "remain: *clear*."
    )


def test_the_run_that_the_scoreboard_calls_unusual_is_so():
    """Seed 3 of run145 has the lowest error, and is the pair with the largest effect in most comparisons."""
    runs = {
        record.seed: record.final["top1_error"] for record in load_evidence("crops", "laptop") if record.arm == "run145"
    }
    assert min(runs, key=runs.get) == 3
    compared = [r for r in JUDGED if r.scale == "laptop" and r.claim.treatment == Measurement("run145", "top1_error")]
    compared = [r for r in compared if r.claim.baseline.metric == "top1_error"]
    largest = [r.seeds[r.values.index(max(r.values))] for r in compared]
    assert largest.count(3) > len(largest) / 2
