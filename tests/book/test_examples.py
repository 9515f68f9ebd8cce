"""The examples in the docstrings of the public names."""

import doctest
import sys

import pytest

import alexnet_repro


@pytest.mark.parametrize("name", alexnet_repro.__all__)
def test_every_public_name_has_an_example_that_holds(name):
    value = getattr(alexnet_repro, name)
    if name == "CLAIMS":  # it is no object with a docstring of its own
        value = sys.modules["alexnet_repro.claims.ledger"]
    found = [example for example in doctest.DocTestFinder(recurse=False).find(value, name) if example.examples]
    assert found
    runner = doctest.DocTestRunner()
    for example in found:
        report: list[str] = []
        runner.run(example, out=report.append)
        assert report == [], "".join(report)
