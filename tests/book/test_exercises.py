"""What the chapters' exercises say to expect is what happens, and what is said to match on another machine does."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import figure_sources
import jupytext
import pytest
import torch

BOOK = Path(__file__).resolve().parents[2] / "book"

EXERCISE = re.compile(
    r"\*\*(?P<number>\d)\.\*\* (?P<question>.*?)\n\n<details>\n<summary>What to expect</summary>\n\n"
    r"(?P<answer>.*?)\n\n```python\n(?P<code>.*?)```\n\n</details>\n",
    re.DOTALL,
)
each_chapter = pytest.mark.parametrize("path", sorted((BOOK / "text").glob("*.md")), ids=lambda path: path.stem)


def exercises(path: Path) -> list[re.Match]:
    _, _, section = path.read_text(encoding="utf-8").partition("\n## Change this\n")
    return list(EXERCISE.finditer(section))


@each_chapter
def test_a_chapter_ends_with_two_or_three_exercises_and_what_matches_elsewhere(path):
    found = exercises(path)
    assert [int(exercise["number"]) for exercise in found] in ([1, 2], [1, 2, 3])
    for exercise in found:
        assert exercise["question"].count("\n") + exercise["answer"].count("\n") < 4
        lines = exercise["code"].splitlines()
        assert len(lines) <= 12
        assert max(map(len, lines)) <= 80
        assert any(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(exercise["code"])))
    *_, last = path.read_text(encoding="utf-8").strip().split("\n\n")
    assert last.startswith("**On another machine**")


@each_chapter
def test_what_an_exercise_says_to_expect_happens(path):
    """After those of the notebook's statements that it builds on."""
    cells = [cell.source for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    notebook = ast.parse("\n".join(cells)).body
    imports = [statement for statement in notebook if isinstance(statement, ast.Import | ast.ImportFrom)]
    codes = [exercise["code"] for exercise in exercises(path)]
    made = figure_sources.made_for(ast.parse("\n".join(codes)).body, notebook)
    names: dict = {}
    exec(compile(ast.Module([*imports, *reversed(made)], []), path.name, "exec"), names)
    for code in codes:
        exec(compile(code, path.name, "exec"), names)


DRAWN = """
import torch
from alexnet_repro import NetConfig, build, load_dataset
from alexnet_repro.data.augment import Crops
from alexnet_repro.networks.layers import Dropout

seeded = lambda: torch.Generator().manual_seed(0)
crops = Crops.draw((1000, 256, 256), 224, seeded())
exact = {
    "images": load_dataset("photos").images,
    "order": torch.randperm(1000, generator=seeded()),
    "crops": torch.stack([crops.top, crops.left, crops.flipped]),
    "masks": Dropout(0.5, generator=seeded())(torch.ones(10, 1000)),
}
net = build(NetConfig.preset("cifar-19pct"), seeded())
close = {"weights": net.conv2.weight.detach(), "sums": net(torch.ones(2, 3, 32, 32)).detach()}
"""


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() == "DEFAULT", reason="this CPU computes in one way only")
def test_on_another_kind_of_cpu_even_draws_match_to_the_bit_and_gaussian_ones_but_for_their_last_digits(tmp_path):
    """This CPU with all of its instructions, and with those that every one of its family has."""
    here: dict = {}
    exec(DRAWN, here)
    program = f"{DRAWN}\ntorch.save((exact, close), {str(tmp_path / 'there.pt')!r})"
    subprocess.run([sys.executable, "-c", program], env=os.environ | {"ATEN_CPU_CAPABILITY": "default"}, check=True)
    exact, close = torch.load(tmp_path / "there.pt")
    assert [name for name in exact if not exact[name].equal(here["exact"][name])] == []
    for name, there in close.items():
        torch.testing.assert_close(there, here["close"][name], rtol=1e-4, atol=1e-6)
