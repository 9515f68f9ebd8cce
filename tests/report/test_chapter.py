from pathlib import Path

import nbformat
import pytest
from damage import many
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from alexnet_repro.report import chapter

PARAMETERS = {"scale": "smoke", "seeds": None, "data_root": None, "device": "auto", "threads": 2}
CELL = "\n".join(f"{name} = {value!r}" for name, value in PARAMETERS.items())


def ran(*cells: str, **values: object) -> dict:
    """A notebook's names after these cells, as IPython has them."""
    return PARAMETERS | values | {"In": ["", *cells]}


SETTINGS = PARAMETERS | {"data_root": str(chapter.DATA), "out": None}


def test_settings_are_the_arguments_of_run_claim():
    assert chapter.settings(ran(CELL)) == SETTINGS


def test_data_are_looked_for_in_one_folder_of_the_clone_unless_another_is_named(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert chapter.settings(ran(CELL))["data_root"] == str(Path(chapter.__file__).parents[2] / "data")
    assert chapter.settings(ran(CELL, data_root="here"))["data_root"] == "here"
    monkeypatch.setenv("ALEXNET_REPRO_DATA", "there")
    assert chapter.settings(ran(CELL))["data_root"] is None


def test_figures_are_drawn_in_the_page_whatever_backend_the_shell_names(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    first = "from alexnet_repro.report import chapter\nsettings = chapter.settings(globals())"
    plot = "from alexnet_repro.report import figures\nfigures.effects({})"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (CELL, first, plot)])
    NotebookClient(notebook).execute()
    assert "image/png" in notebook.cells[2].outputs[0].data


def test_runs_beyond_smoke_are_kept_in_one_folder_of_the_clone_wherever_the_kernel_works(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    out = chapter.settings(ran(CELL, scale="laptop"))["out"]
    assert out.is_absolute()
    assert out == Path(chapter.__file__).parents[2] / "runs"


def test_what_the_chapter_itself_sets_is_no_parameter_when_its_cells_are_run_again():
    chapters_own = "k, alpha = 2, 1e-4\njudged = {'lrn': 'AlexNet'}\n%time pass"
    names = ran(CELL, chapters_own, CELL, k=2, judged={"lrn": "AlexNet"}, table=[1])
    assert chapter.settings(names) == SETTINGS


@pytest.mark.parametrize(
    ("injected", "message"),
    [
        ("epochs = 3", "parameters are scale, seeds, data_root, device, threads, not epochs"),
        ("sclae = 'laptop'\nlr = 0.1", "not lr, sclae"),
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_parameter_that_does_not_exist_is_an_error_each_time(injected, message, times):
    cells = [CELL, f"# Parameters\n{injected}\n", "k = 2"] * times
    with pytest.raises(ValueError, match=message):
        chapter.settings(ran(*cells))
    with pytest.raises(ValueError, match=message):  # or written into the parameters' cell
        chapter.settings(ran(f"{CELL}\n{injected}"))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("scale", "large", "scale must be one of smoke, laptop, gpu, paper, not 'large'"),
        ("scale", 3, "not 3"),
        ("seeds", "[3]", r"seeds must be how many, .*, not '\[3\]': with papermill, -p seeds 5, or -y"),
        ("seeds", 0, "not 0"),
        ("seeds", True, "not True"),
        ("seeds", [1, -1], r"not \[1, -1\]"),
        ("seeds", 2.5, "not 2.5"),
        ("data_root", 2012, "data_root must be a string, not 2012: with papermill, -r data_root 2012"),
        ("device", "tpu", "not 'tpu'"),
        ("device", 0, "device must be a string, not 0: with papermill, -r device 0"),
        ("threads", "two", "threads must be a whole number of at least 1, not 'two'"),
        ("threads", 0, "not 0"),
    ],
)
def test_a_value_that_is_not_allowed_is_an_error_with_advice(name, value, message):
    with pytest.raises(ValueError, match=message):
        chapter.settings(ran(CELL, **{name: value}))


def test_a_parameter_that_was_never_set_is_named():
    names = ran(CELL)
    del names["threads"]
    with pytest.raises(ValueError, match="must be run before this one: there is no threads"):
        chapter.settings(names)


def test_a_notebook_can_be_run_twice_in_one_kernel_and_refuses_what_papermill_adds():
    first = "from alexnet_repro.report import chapter\nsettings = chapter.settings(globals())\nk = 2"
    cells = [nbformat.v4.new_code_cell(source) for source in (CELL, first, "n = 5", CELL, first)]
    NotebookClient(nbformat.v4.new_notebook(cells=cells)).execute()
    injected = nbformat.v4.new_code_cell("# Parameters\nepochs = 3\n")
    with pytest.raises(CellExecutionError, match="not epochs"):
        NotebookClient(nbformat.v4.new_notebook(cells=[cells[0], injected, cells[1]])).execute()


def test_what_matplotlib_says_of_the_machine_gets_on_no_page(monkeypatch):
    """Without a folder of its own it makes one, builds its font cache, and warns of both."""
    monkeypatch.setenv("MPLCONFIGDIR", "/dev/null/none")
    first = "from alexnet_repro.report import chapter\nchapter.settings(globals());"
    cells = [nbformat.v4.new_code_cell(source) for source in (CELL, first, "from matplotlib import pyplot")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook).execute()
    assert [cell.outputs for cell in notebook.cells] == [[], [], []]


ANYTHING = [None, True, False, -1, 0, 1, 5, 1.5, float("inf"), "", "x", b"x", (1,), [], [0, 3], [True], ["1"], {}, {3}]
VALUES = st.sampled_from([*ANYTHING, "smoke", "laptop", "cpu", "auto", "cuda:99"])


@many
@given(st.dictionaries(st.sampled_from(chapter.PARAMETERS), VALUES))
def test_any_parameters_are_arguments_of_run_claim_or_refused_by_name(changes):
    said = ""
    try:
        found = chapter.settings(ran(CELL, **changes))
    except ValueError as error:
        said = str(error)
    else:
        asked = PARAMETERS | changes
        assert {name: found[name] for name in PARAMETERS} == asked | {
            "data_root": asked["data_root"] or SETTINGS["data_root"]
        }
    assert not said or any(name in said for name in changes)
