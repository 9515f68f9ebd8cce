from dataclasses import replace
from statistics import stdev

import pytest

from alexnet_repro import CLAIMS
from alexnet_repro.claims import alexnet_studies, cifar_studies
from alexnet_repro.claims.records import load_evidence
from alexnet_repro.claims.studies import (
    ALEXNET,
    LR_SEARCHES,
    LRN,
    PILOT,
    RELU,
    RELU_LOCAL,
    RELU_MODERN,
    RELU_SCALED,
    STUDIES,
)
from alexnet_repro.claims.study import SCALES, Study
from alexnet_repro.claims.verdict import fastest
from alexnet_repro.networks.build import build
from alexnet_repro.networks.spec import Norm

PROTOCOL = PILOT.protocol("laptop")


@pytest.mark.parametrize("study", [RELU, RELU_LOCAL, RELU_SCALED, RELU_MODERN], ids=lambda study: study.id)
def test_the_activation_functions_differ_in_nothing_but_the_learning_rate(study):
    for scale in study.protocols:
        tanh, relu = study.protocol(scale).arms.values()
        assert tanh.input == relu.input
        assert replace(tanh.train, lr=1.0) == replace(relu.train, lr=1.0)
        assert tanh.net.activation == "tanh"
        assert replace(tanh.net, activation="relu") == relu.net


def test_the_clean_pair_differs_in_the_normalization_alone():
    for scale in LRN.protocols:
        arms = LRN.protocol(scale).arms
        before, after = arms["without"], arms["with"]
        assert (before.input, before.train) == (after.input, after.train)
        assert replace(after.net.without(Norm), name=before.net.name) == before.net
        assert arms["alpha-printed"] == replace(after, net=replace(after.net, norm_average=False))


@pytest.mark.parametrize("scale", SCALES)
def test_every_arm_of_alexnet_is_run_145_but_for_what_its_name_says(scale):
    arms = ALEXNET.protocol(scale).arms
    base = arms["run145"]
    for name, arm in arms.items():
        same = (arm.net == base.net, arm.input == base.input, arm.train == base.train)
        expected = {"no-colour": 1, "colour-printed": 1, "colour-lighting": 1, "centre-crops": 1, "no-decay": 2}
        differing = {0} if name not in expected else {expected[name]}
        differing |= {2} if name == "no-conv4" else set()
        assert {i for i, equal in enumerate(same) if not equal} == (set() if name == "run145" else differing), name
        assert (arm.net.image_size, arm.net.num_classes, arm.net.width, arm.net.initialization) == (
            base.net.image_size, base.net.num_classes, base.net.width, base.net.initialization,
        )  # fmt: skip


@pytest.mark.parametrize("scale", SCALES)
def test_with_k_1_a_normalization_leaves_small_activations_as_they_are(scale):
    arms = ALEXNET.protocol(scale).arms
    net = arms["k-1"].net
    assert {layer.k for layer in net.layers if isinstance(layer, Norm)} == {1.0}
    assert net.changed(net.name, norm1={"k": 2.0}, norm2={"k": 2.0}) == arms["run145"].net


@pytest.mark.parametrize("scale", ["smoke", "laptop", "gpu"])
def test_the_fully_connected_layers_of_every_arm_see_a_grid_of_the_same_size(scale):
    grids = {arm: build(value.net).shapes["pool5"] for arm, value in ALEXNET.protocol(scale).arms.items()}
    assert len({grid[1:] for grid in grids.values()}) == 1
    assert grids["run147"] == grids["run145"]


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_the_2012_protocol_is_the_layer_files(scale):
    for arm in RELU.protocol(scale).arms.values():
        assert (arm.net.name, arm.net.initialization) == ("cifar-19pct", "gaussian")
        assert (arm.input.pixels, arm.input.batch_size, arm.input.crop) == ("minus-mean-image", 128, None)
        assert (arm.train.momentum, arm.train.bias_lr_factor) == (0.9, 2.0)
        assert not arm.train.weight_decay  # "no regularization of any kind"


def test_the_normalization_pair_is_trained_by_the_13pct_nets_recipe():
    for arm in CLAIMS["lrn-cifar"].protocol("paper").arms.values():
        assert (arm.input.crop, arm.input.pixels, arm.train.lr, arm.train.bias_lr_factor) == (
            24,
            "minus-mean-image",
            0.001,
            2.0,
        )
        assert arm.train.weight_decay == {"local3": 0.004, "local4": 0.004, "fc10": 0.004}


@pytest.mark.parametrize("claim", LR_SEARCHES)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_rates_compared_are_those_the_search_found_or_as_good_as_seeds_can_tell(claim, activation):
    search = LR_SEARCHES[claim]
    if not load_evidence(search.id, "paper"):
        assert load_evidence(claim) == []  # nothing is compared before its rates were searched for
        return
    runs = [r for r in load_evidence(search.id, "paper") if r.config["net"]["activation"] == activation]
    assert len(runs) == len(search.protocol("paper").arms) / 2
    (used,) = {CLAIMS[claim].protocol(scale).arms[activation].train.lr for scale in ("laptop", "paper")}
    first, (tried,) = fastest(runs), (run for run in runs if run.config["train"]["lr"] == used)
    compared = [r.final["epochs_to_target"] for r in load_evidence(claim, "paper") if r.arm == activation]
    if tried is not first:
        assert tried.final["epochs_to_target"] - first.final["epochs_to_target"] < stdev(compared)


def test_the_search_s_seed_is_none_of_the_seeds_compared():
    seeds = {record.seed for claim in CLAIMS for record in load_evidence(claim, "paper")}
    assert cifar_studies.SEARCH_SEED not in seeds
    for search in LR_SEARCHES.values():
        assert search.protocol("paper").first_seed == cifar_studies.SEARCH_SEED
        assert {record.seed for record in load_evidence(search.id, "paper")} <= {cifar_studies.SEARCH_SEED}


def test_every_study_has_an_id_of_its_own_and_smoke_runs_on_the_embedded_images():
    assert all(study.id == name for name, study in STUDIES.items())
    with_runs = [study for study in STUDIES.values() if "smoke" in study.protocols]
    assert {study.protocol("smoke").dataset for study in with_runs} == {"photos"}
    assert all(claim.study in with_runs for claim in CLAIMS.values() if claim.study)
    assert ALEXNET.protocol("paper").dataset == "imagenet"


def test_the_scaled_protocol_changes_the_pixels_and_the_first_weights_and_nothing_else():
    for activation, plain in CLAIMS["relu"].protocol("paper").arms.items():
        scaled = CLAIMS["relu-scaled"].protocol("paper").arms[activation]
        assert scaled.input == replace(plain.input, pixels="standardized")
        assert replace(scaled.train, lr=1.0) == replace(plain.train, lr=1.0)
        first, *others = scaled.net.layers
        assert others == list(plain.net.layers[1:])
        assert first == replace(plain.net.layers[0], std=plain.net.layers[0].std * cifar_studies.PIXEL_STD)


@pytest.mark.parametrize("scale", SCALES)
def test_all_arms_of_alexnet_begin_with_equally_large_weights(scale):
    stds = {
        name: {layer.name: layer.std for layer in arm.net.layers if hasattr(layer, "std")}
        for name, arm in ALEXNET.protocol(scale).arms.items()
    }
    assert stds["run145"]["fc6"] == {"smoke": 0.06, "laptop": 0.02, "gpu": 0.02, "paper": 0.01}[scale]
    assert all(of_arm.items() <= stds["run145"].items() for of_arm in stds.values())


def test_in_small_the_first_sums_are_as_large_as_in_the_full_network():
    """Standard deviations grow as the square root of what the number of inputs loses; that of conv1 is as before."""
    full, small = (ALEXNET.protocol(scale).arms["run145"].net for scale in ("paper", "laptop"))
    assert small.width == 1 / 4
    for before, after in zip(full.layers, small.layers, strict=True):
        if hasattr(before, "std"):
            assert after.std == pytest.approx(before.std * (1 if after.name == "conv1" else 2))
            assert replace(after, std=before.std) == before


def test_the_departures_of_scale_laptop_are_those_that_its_protocol_has():
    full, small = (ALEXNET.protocol(scale).arms["run145"] for scale in ("paper", "laptop"))
    changed = {
        "data": ALEXNET.protocol("laptop").dataset != ALEXNET.protocol("paper").dataset,
        "images": small.input.crop != full.input.crop,
        "width": small.net.width != full.net.width,
        "initial weights": small.net.layers != full.net.layers,
        "epochs": small.train.epochs != full.train.epochs and small.train.lr_drops == (42, 54),
        "colour noise": all(small.train.stage(epoch).color for epoch in range(1, 61)),
        "crops": (small.input.crop_share, full.input.crop_share) == (1, 32),
        "order": small.input.reshuffle and not full.input.reshuffle,
    }
    assert list(changed) == list(alexnet_studies.LAPTOP_DEPARTURES)
    assert all(changed.values())
    same = replace(small.input, crop=full.input.crop, crop_share=32, reshuffle=False)
    assert same == full.input
    assert (small.train.lr, small.train.momentum, small.train.weight_decay, small.train.bias_lr_factor) == (
        full.train.lr, full.train.momentum, full.train.weight_decay, full.train.bias_lr_factor,
    )  # fmt: skip


def test_scale_gpu_is_run_145_at_full_width_on_a_quarter_of_the_image():
    full, gpu = (ALEXNET.protocol(scale).arms["run145"] for scale in ("paper", "gpu"))
    shapes = build(gpu.net).shapes
    assert [shapes[layer][1] for layer in ("conv1", "pool1", "pool2", "pool5")] == [28, 14, 7, 3]
    assert (gpu.net.width, gpu.net.num_classes, gpu.net.image_size, gpu.input.crop) == (1.0, 100, 56, 56)
    assert (ALEXNET.protocol("gpu").size, 4 * 56, 4 * 64) == (64, 224, 256)
    assert (gpu.train.epochs, len(gpu.train.schedule.stages)) == (90, len(full.train.schedule.stages))
    stds = {layer.name: layer.std for layer in gpu.net.layers if hasattr(layer, "std")}
    inputs = {name: build(gpu.net).get_submodule(name).weight[0].numel() for name in ("conv1", "fc6")}
    assert stds["conv1"] == pytest.approx(0.01 * (11 * 11 * 3 / inputs["conv1"]) ** 0.5)
    assert stds["fc6"] == pytest.approx(0.01 * (256 * 6 * 6 / inputs["fc6"]) ** 0.5)


def test_one_wide_tower_has_as_many_weights_as_two_and_run_150_has_towers_that_never_talk():
    for scale in ("laptop", "paper"):
        arms = ALEXNET.protocol(scale).arms
        weights = {
            arm: sum(cost.parameters for cost in build(arms[arm].net).costs()) for arm in ("run145", "one-wide-tower")
        }
        assert weights["one-wide-tower"] == pytest.approx(weights["run145"], rel=0.01)
        apart = arms["run150"].net
        last = apart.layers[-1].name
        assert {layer.reads for layer in apart.layers[1:] if hasattr(layer, "std") and layer.name != last} == {"own"}
    full = build(ALEXNET.protocol("paper").arms["run150"].net)
    outputs = {
        name: full.shapes[name][0] for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    }
    assert list(outputs.values()) == [96, 320, 384, 384, 256, 8192, 4096, 1000]  # layers-150.cfg, both towers together
    assert sum(parameter.numel() for parameter in full.parameters()) == 60_714_408


def test_the_pilot_s_seed_is_none_of_the_seeds_compared():
    pilot, compared = PILOT.protocol("laptop"), ALEXNET.protocol("laptop")
    assert pilot.first_seed == 0 < compared.first_seed
    assert all(pilot.arms[arm] == compared.arms[arm] for arm in pilot.arms)
    assert all(claim.study is not PILOT for claim in CLAIMS.values())
    assert {record.seed for record in load_evidence(PILOT)} <= {0}
    assert 0 not in {record.seed for record in load_evidence(ALEXNET, "laptop")}


def test_the_whole_recipe_and_the_pair_on_cifar_are_as_long_and_as_large_as_on_record():
    protocol = alexnet_studies.FULL_RUN.protocol("paper")
    arm = protocol.arms["run145"]
    assert (protocol.size, arm.input.crop, arm.net.image_size, arm.train.epochs) == (256, 224, 224, 91)
    arms = LRN.protocol("paper").arms
    assert {(arm.train.epochs, arm.train.lr_drops, arm.train.lr) for arm in arms.values()} == {(160, (140, 150), 0.001)}
    assert arms["published"].input.views == "ten"
    assert {name: arms[name].train.weight_decay["fc10"] for name in ("with", "published")} == {
        "with": 0.004,
        "published": 0.01,
    }


def study_of(*arms: str) -> Study:
    arm = PROTOCOL.arms["run145"]
    return Study(id="own", protocols={"laptop": replace(PROTOCOL, arms=dict.fromkeys(arms, arm))})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(PROTOCOL.arms["run145"], net="paper"), "net of an arm must be NetConfig, not 'paper'"),
        (
            lambda: replace(PROTOCOL, arms={"run145": "paper"}),
            r"arms of a protocol must be Mapping\[str, Arm\], not {'run",
        ),
        (lambda: replace(PROTOCOL, arms={}), "arms of a protocol are empty: give at least one"),
        (lambda: replace(PROTOCOL, seeds=0), "seeds of a protocol must be a whole number of at least 1, not 0"),
        (
            lambda: replace(PROTOCOL, first_seed=-1),
            "first_seed of a protocol must be a whole number of at least 0, not -1",
        ),
        (
            lambda: Study(id="own", protocols={"tiny": PROTOCOL}),
            "a scale of own must be one of smoke, laptop, gpu, paper",
        ),
        (lambda: Study(id="../up", protocols={}), "id of a study names its files: it can't be .*, but is '../up'"),
        (lambda: Study(id="", protocols={}), "but is ''"),
        (lambda: study_of("lr/0.1"), "an arm of own names its files: .* nor contain '/', but is 'lr/0.1'"),
        (lambda: study_of(".."), "but is '..'"),
        (lambda: study_of(""), "but is ''"),
        (lambda: study_of("a b", "a-b"), "arms 'a b' and 'a-b' of own would share their files"),
    ],
)
def test_what_is_no_study_is_refused_when_it_is_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_every_kind_of_colour_noise_has_the_arm_that_is_named_after_it():
    for scale in ("laptop", "gpu", "paper"):
        arms = ALEXNET.protocol(scale).arms
        kinds = {"run145": "run145", "colour-printed": "paper", "colour-lighting": "lighting", "no-colour": None}
        assert {arm: arms[arm].input.color for arm in kinds if arm in arms} == {
            k: v for k, v in kinds.items() if k in arms
        }
        assert {"colour-printed", "colour-lighting"} <= set(arms) or scale == "gpu"
