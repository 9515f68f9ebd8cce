"""The book's reference pages: every public name once, with its parameters, and the commands as they are."""

import builtins
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import docstrings
from torch import nn

import alexnet_repro
from alexnet_repro import data
from alexnet_repro.data import augment

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "book").glob("api_*.md"))


def entries(page: Path) -> list[str]:
    return re.findall(r"^\.\. auto(?:class|exception|function|data):: (\S+)$", page.read_text("utf-8"), re.MULTILINE)


def value(name: str) -> object:
    module, _, attribute = name.rpartition(".")
    importlib.import_module(module)
    return getattr(sys.modules[module], attribute)


NAMES = [name for page in PAGES for name in entries(page)]
DOCUMENTED = {name: value(name) for name in NAMES if callable(value(name))}
METHODS = {
    f"{name}.{method}": getattr(function, "__func__", function)
    for name, cls in DOCUMENTED.items()
    for method, function in (vars(cls).items() if isinstance(cls, type) else ())
    if not method.startswith("_") and inspect.isfunction(getattr(function, "__func__", function))
}


def fields(documented: object) -> list[str]:
    """The lines of a docstring as the page has them: ``:param name: ...``."""
    return docstrings.documented(documented, (inspect.getdoc(documented) or "").splitlines())


def parameters(documented: object) -> list[str]:
    return [name for line in fields(documented) for name in re.findall(r"^:param \**(\w+):", line)]


def signature(documented: object) -> dict[str, str]:
    """Parameter -> type, as it is written."""
    known = inspect.signature(documented).parameters.items()
    return {name: str(parameter.annotation) for name, parameter in known if name not in ("self", "cls")}


def is_exception(documented: object) -> bool:
    return isinstance(documented, type) and issubclass(documented, Exception)


def test_every_public_name_is_on_the_reference_pages_once():
    readme = re.findall(r"^from alexnet_repro import (.*)$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert readme
    wanted = {id(getattr(module, name)): name for module in (alexnet_repro, augment, data) for name in module.__all__}
    wanted |= {id(getattr(alexnet_repro, name)): name for line in readme for name in line.split(", ")}
    there = [id(value(name)) for name in NAMES]
    assert [name for key, name in wanted.items() if there.count(key) != 1] == []
    assert len(there) == len(set(there))


def test_the_overview_lists_what_the_pages_explain():
    text = (ROOT / "book" / "api.md").read_text("utf-8")
    sections = re.findall(r"\((api_\w+\.md)\)(.*?)```\n", text, re.DOTALL)
    listed = {page: re.findall(r"^   (\w[\w.]*)$", section, re.MULTILINE) for page, section in sections}
    assert listed == {page.name: [name.removeprefix("alexnet_repro.") for name in entries(page)] for page in PAGES}


def test_the_documented_parameters_are_those_of_the_signature():
    """Of errors not: nobody but the library makes one."""
    checked = {name: documented for name, documented in DOCUMENTED.items() if not is_exception(documented)}
    documented = {name: sorted(parameters(value)) for name, value in checked.items()}
    assert documented == {name: sorted(signature(value)) for name, value in checked.items()}


def test_no_method_documents_a_parameter_that_it_lacks():
    assert METHODS
    assert {name: x for name, value in METHODS.items() if (x := set(parameters(value)) - set(signature(value)))} == {}


def test_layers_and_functions_of_tensors_say_their_shapes():
    def has_tensors(documented: object) -> bool:
        if isinstance(documented, type):
            return issubclass(documented, nn.Module)
        hints = [*signature(documented).values(), str(inspect.signature(documented).return_annotation)]
        return any(re.match(r"Tensor\b", hint) for hint in hints)

    checked = [name for name, documented in DOCUMENTED.items() if has_tensors(documented)]
    assert checked
    assert [name for name in checked if not any(line.startswith(":Shape:") for line in fields(DOCUMENTED[name]))] == []


def test_what_comes_from_the_paper_or_its_code_names_it_as_a_source():
    docs = {name: inspect.getdoc(documented) for name, documented in DOCUMENTED.items()}
    checked = [name for name, doc in docs.items() if re.search(r"Sec\. \d|2012 code", doc)]
    assert checked
    assert [name for name in checked if not re.search(r"^Source: +\S", docs[name], re.MULTILINE)] == []


def test_what_is_documented_to_be_raised_is_an_exception():
    lines = [line for documented in (DOCUMENTED | METHODS).values() for line in fields(documented)]
    raised = {name for line in lines for name in re.findall(r"^:raises (\w+):", line)}
    known = {x.__name__ for x in DOCUMENTED.values() if is_exception(x)}
    assert raised
    assert [name for name in raised - known if not is_exception(getattr(builtins, name, None))] == []


def test_sections_of_a_docstring_become_fields():
    doc = """What.

Source:  Sec. 1,
    Fig. 2.

Args:
    a, b: numbers,
        whole.

Warns:
    UserWarning: it is late.

Example:
    >>> a
    b: 1
After."""
    assert [line for line in docstrings.fields(doc.splitlines()) if line] == [
        "What.", ":Source: Sec. 1,", "    Fig. 2.",
        ":param a: numbers,", "        whole.", ":param b: numbers,", "        whole.",
        ":Warns: ", "    UserWarning: it is late.", ".. rubric:: Example", ">>> a", "b: 1", "After.",
    ]  # fmt: skip


def test_the_page_of_commands_is_what_the_command_line_says_of_itself(tmp_path):
    page = tmp_path / "command_line.md"
    options = ["--name", "alexnet-repro", "--title", "Command line", "--output", str(page)]
    subprocess.run([sys.executable, "-m", "typer", "alexnet_repro.cli.main", "utils", "docs", *options], check=True)
    assert (ROOT / "book" / "command_line.md").read_text("utf-8") == page.read_text("utf-8")
    assert str(ROOT) not in page.read_text("utf-8")
