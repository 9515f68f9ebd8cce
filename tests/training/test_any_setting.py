"""Whatever is given to ``--set``: the configuration trains, or an error of one line says why not."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace

import torch
from damage import many
from hypothesis import given
from hypothesis import strategies as st
from run_case import CONFIG

from alexnet_repro.data import Dataset
from alexnet_repro.networks.spec import Local, Norm, WithinChannelNorm
from alexnet_repro.support.overrides import override
from alexnet_repro.support.values import as_json
from alexnet_repro.training.config import RunConfig
from alexnet_repro.training.diagnosis import TrainingError
from alexnet_repro.training.loop import train
from alexnet_repro.training.start import fresh

LAYERS = (
    *CONFIG.net.layers[:3],
    Norm("norm2", size=3, alpha=1e-4, k=1.0),
    WithinChannelNorm("norm3", size=3, scale=0.1),
    Local("local1", channels=8, kernel=3, std=0.05),
    *CONFIG.net.layers[3:],
)
BASE = replace(CONFIG, net=replace(CONFIG.net, layers=LAYERS))
IMAGES = torch.randint(0, 255, (24, 3, 16, 16), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
DATASET = Dataset("made up", "train", IMAGES, torch.arange(24) % 3, ("a", "b", "c"), "")


def paths(config: object, above: str = "") -> Iterator[str]:
    """Of all fields, of layers and stages too."""
    named = [(field.name, getattr(config, field.name)) for field in fields(config)] if is_dataclass(config) else []
    if isinstance(config, tuple):
        named = [(getattr(item, "name", str(i)), item) for i, item in enumerate(config)]
    for name, value in named:
        yield above + name
        yield from paths(value, f"{above}{name}.")


PATHS = [*paths(BASE), "train.weight_decay.fc6", "train.weight_decay.nosuch", "", "x", "net..", "net.layers.fc8."]
NUMBERS = "-1 0 1 2 3 4 5 7 8 1.5 0.5 -0.5 .5 1e-300 1e38 1e300 1e400 NaN Infinity 10000000000000000000000"
WORDS = "null true false relu ten max own lighting standardized bfloat16 add abc"
LISTS = '"x" [] [1] [1,2] [true,1] [-1,2] [1.5] [[1]] {"a":1}'
TEXTS = f"{NUMBERS} {WORDS} {LISTS}".split()
TEXTS += ["", "[" * 2000]


@many
@given(st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from(TEXTS)), min_size=1, max_size=2))
def test_a_configuration_that_is_not_refused_trains_and_is_itself_again_from_json(settings):
    said = ""
    try:
        config = override(BASE, *(f"{path}={text}" for path, text in settings))
        assert RunConfig.from_json(as_json(config)) == config
        model, transform, batches = fresh(config, DATASET, "cpu")
        train(model, batches, replace(config.train, epochs=min(config.train.epochs, 2), compile=False))
        transform.views(IMAGES[:4])
    except (ValueError, TrainingError) as error:
        said = str(error)
    assert "\n" not in said
