import copy
from dataclasses import replace

import pytest
import torch
from tiny_net import TINY_NET
from torch import nn

from alexnet_repro import AlexNet, LocalResponseNorm, NetConfig, build
from alexnet_repro.networks.build import Network
from alexnet_repro.networks.inspect import activations, mean_derivatives
from alexnet_repro.networks.presets import PRESETS
from alexnet_repro.networks.spec import Activation, Conv, Dropout, Linear, Local, Norm, Pool, WithinChannelNorm


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def shapes(config: NetConfig) -> dict[str, tuple[int, ...]]:
    x = torch.zeros(1, 3, config.image_size, config.image_size)
    found = {}
    for name, layer in build(config).named_children():
        x = layer(x)
        found[name] = tuple(x.shape[1:])
    return found


@pytest.mark.parametrize(
    ("name", "image_size", "count"),
    [
        ("cifar-80sec", 32, 145_578),
        ("cifar-19pct", 32, 89_578),
        ("cifar-18pct", 32, 89_578),
        ("cifar-13pct", 24, 1_116_490),
        ("cifar-13pct", 32, 1_901_386),
        ("cifar-11pct-r540", 24, 1_116_490),
        ("cifar-11pct", 24, 2_112_970),
        ("cifar-11pct", 32, 3_672_906),
        ("paper", 224, 60_965_224),
        ("run145", 224, 60_965_224),
        ("run147", 224, 60_965_224),
        ("run148", 224, 60_965_224),
        ("caffe", 227, 60_965_224),
        ("torchvision", 224, 61_100_840),
    ],
)
def test_parameter_counts_are_those_on_record(name, image_size, count):
    assert parameters(build(replace(NetConfig.preset(name), image_size=image_size))) == count


def test_parameters_per_layer_of_alexnet_are_those_on_record():
    net = AlexNet()
    counts = {name: parameters(layer) for name, layer in net.named_children() if parameters(layer)}
    assert counts == {
        "conv1": 34_944,
        "conv2": 307_456,
        "conv3": 885_120,
        "conv4": 663_936,
        "conv5": 442_624,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 4_097_000,
    }


def test_without_towers_alexnet_has_62_million_parameters():
    assert parameters(build(replace(NetConfig.preset("paper"), towers=1))) == 62_378_344


def test_the_half_net_counts_as_one_tower_of_48_to_256_channels():
    convs = [(48, 3, 11), (128, 48, 5), (192, 128, 3), (192, 192, 3), (256, 192, 3)]
    count = sum(outputs * (inputs * kernel**2 + 1) for outputs, inputs, kernel in convs)
    count += 4096 * (9216 + 1) + 4096 * (4096 + 1) + 1000 * (4096 + 1)
    assert parameters(build(NetConfig.preset("run145-half"))) == count


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("paper", [55, 27, 27, 13, 13, 13, 13, 6]),
        ("run145", [55, 27, 27, 13, 13, 13, 13, 6]),
        ("run145-small", [27, 13, 13, 6, 6, 6, 6, 3]),
        ("run145-half", [55, 27, 27, 13, 13, 13, 13, 6]),
        ("run147", [55, 28, 26, 13, 13, 13, 11, 6]),
        ("caffe", [55, 27, 27, 13, 13, 13, 13, 6]),
        ("torchvision", [55, 27, 27, 13, 13, 13, 13, 6]),
    ],
)
def test_the_grid_shrinks_as_on_record(name, grid):
    net = build(NetConfig.preset(name))
    assert [shape[-1] for layer, shape in net.shapes.items() if layer.startswith(("conv", "pool"))] == grid


def test_activations_of_alexnet_are_those_of_figure_2_but_for_its_slip():
    net = AlexNet()
    counts = [
        torch.Size(net.shapes[name]).numel()
        for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    ]
    assert counts == [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]


def reads(net: Network, layer: str) -> float:
    """How many of the channels before a layer its first filter reads."""
    return net.get_submodule(layer).weight.shape[1]


def test_conv2_4_and_5_read_their_own_tower_the_others_both():
    net = AlexNet()
    assert {f"conv{i}": reads(net, f"conv{i}") for i in range(1, 6)} == {
        "conv1": 3,
        "conv2": 48,
        "conv3": 256,
        "conv4": 192,
        "conv5": 192,
    }
    assert (reads(net, "fc6"), reads(net, "fc7"), reads(net, "fc8")) == (9216, 4096, 4096)
    notes = build(NetConfig.preset("notes"))
    assert (reads(notes, "fc6"), reads(notes, "fc7"), reads(notes, "fc8")) == (4608, 2048, 4096)


def test_the_towers_of_the_first_two_layers_never_meet():
    config = replace(NetConfig.preset("run145"), image_size=67, num_classes=3, width=1 / 8)
    net = build(config).eval()
    x = torch.rand(1, 3, 67, 67, generator=torch.Generator().manual_seed(0))
    front = net[: list(net.shapes).index("pool2") + 1]
    before = front(x)
    net.conv1.weight.data[:6] += 1.0  # the first tower of twelve channels
    changed = (front(x) != before).flatten(2).any(2)[0]
    assert changed[:16].any()
    assert not changed[16:].any()


def normal(net: Network, layer: str) -> tuple[float, float]:
    """Deviation of a layer's weights, and its one bias."""
    module = net.get_submodule(layer)
    (bias,) = module.bias.unique().tolist()
    return round(module.weight.std().item(), 4), bias


WEIGHTED = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")


@pytest.mark.parametrize(
    ("name", "stds", "biases"),
    [
        ("paper", [0.01] * 8, [0, 1, 0, 1, 1, 1, 1, 0]),
        ("run145", [0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01], [0, 1, 0, 1, 1, 1, 1, 0]),
        ("notes", [0.1] * 8, [0, 1, 0, 1, 1, 1, 1, 1]),
        ("caffe", [0.01] * 5 + [0.005, 0.005, 0.01], [0, 0.1, 0, 0.1, 0.1, 0.1, 0.1, 0]),
    ],
)
def test_alexnets_weights_start_as_on_record(name, stds, biases):
    net = build(NetConfig.preset(name))
    assert [normal(net, layer)[0] for layer in WEIGHTED] == pytest.approx(stds, rel=0.02)
    assert [normal(net, layer)[1] for layer in WEIGHTED] == pytest.approx(biases)


def test_run_145_normalizes_before_its_first_relu_and_within_channels_after_its_second():
    names = list(build(NetConfig.preset("run145")).shapes)
    assert names[:4] == ["conv1", "norm1", "pool1", "relu1"]
    assert names[4:9] == ["conv2", "relu2", "norm2", "cnorm2", "pool2"]
    assert [name for name in build(NetConfig.preset("run148")).shapes if "norm" in name] == []


def test_norms_of_paper_run_and_caffe_are_three_variants():
    arguments = {}
    for name in ("paper", "run145", "caffe"):
        norm = build(NetConfig.preset(name)).norm2
        arguments[name] = (norm.size, norm.alpha, norm.beta, norm.k, norm.average, norm.groups)
    assert arguments == {
        "paper": (5, 1e-4, 0.75, 2.0, False, 2),
        "run145": (5, 1e-4, 0.75, 2.0, True, 2),
        "caffe": (5, 1e-4, 0.75, 1.0, True, 1),
    }


def test_the_torchvision_preset_computes_what_torchvision_does():
    from torchvision.models import alexnet

    theirs = alexnet(num_classes=10).double().eval()
    ours = build(replace(NetConfig.preset("torchvision"), num_classes=10)).double().eval()
    for mine, given in zip(ours.parameters(), theirs.parameters(), strict=True):
        mine.data = given.data
    x = torch.rand(2, 3, 224, 224, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-10, atol=1e-12)


def test_ablations_are_fields():
    paper = NetConfig.preset("paper")
    assert reads(build(replace(paper, towers=1)), "conv2") == 96
    assert build(replace(paper, width=0.5)).conv1.weight.shape[0] == 48
    assert build(replace(paper, dropout=0.1)).drop6.p == 0.1
    assert build(replace(paper, norm_average=True)).norm1.average
    assert "norm1" not in build(replace(paper, norms=False)).shapes
    assert build(replace(paper, pool_size=2)).shapes["pool1"] == (96, 28, 28)


def test_the_summary_adds_up():
    summary = AlexNet().summary()
    rows = {row[0]: row[1:] for row in summary.rows}
    assert rows["conv1"] == ["96x55x55", "2 x 145,200", "34,944", "105,415,200"]
    assert rows["fc8"] == ["1000", "1,000", "4,097,000", "4,096,000"]
    assert rows["total"][-2] == "60,965,224"
    each = [int(row[-1].replace(",", "")) for row in summary.rows[:-1]]
    assert int(rows["total"][-1].replace(",", "")) == sum(each)
    # A layer's multiply-adds by the textbook: channels x positions x inputs of one filter.
    assert int(rows["conv2"][-1].replace(",", "")) == 256 * 27**2 * 48 * 25


def test_the_summary_is_of_the_layers_as_they_are_now():
    net = build(replace(NetConfig.preset("paper"), width=1 / 8)).double()
    before, masks = net.shapes, net.generator.get_state()
    net.drop7.eval()
    modes = [module.training for module in net.modules()]
    net.fc8 = nn.Linear(512, 7)
    net.prob = nn.Softmax(1)
    assert net.shapes == before | {"fc8": (7,), "prob": (7,)}
    assert net.summary().rows[-3:-1] == [["fc8", "7", "2 x 3", "3,591", "3,584"], ["prob", "7", "7", "0", "0"]]
    assert [module.training for module in net.modules()][:-1] == modes
    assert net.generator.get_state().equal(masks)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.__delitem__(-1),
        lambda net: net.pop(-1),
        lambda net: net.append(nn.ReLU()),
        lambda net: net.insert(0, nn.ReLU()),
        lambda net: net.extend([nn.ReLU()]),
        lambda net: net.__iadd__(nn.Sequential(nn.ReLU())),
        lambda net: net.__imul__(2),
    ],
    ids=["del", "pop", "append", "insert", "extend", "+=", "*="],
)
def test_changes_that_would_rename_layers_are_refused(change):
    net = build(TINY_NET)
    with pytest.raises(TypeError, match=r"none can be appended, inserted or deleted: net\[:-1\] is an nn.Sequential"):
        change(net)
    assert [name for name, _ in net.named_children()] == ["conv1", "act1", "pool1", "fc10"]
    assert len(net[:-1].append(nn.Linear(64, 7))) == 4


def test_layers_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"paper: conv1 does not fit its input \(3, 4, 4\)"):
        build(replace(NetConfig.preset("paper"), image_size=4))


def test_a_locally_connected_layer_does_not_fit_vectors():
    fc, local = Linear("fc", outputs=4, std=0.1), Local("local", channels=2, kernel=3, std=0.1)
    with pytest.raises(ValueError, match=r"flat: local does not fit its input \(4,\)"):
        build(NetConfig(name="flat", image_size=8, layers=(fc, local, Linear("out", std=0.1))))


@pytest.mark.parametrize(("width", "found"), [(0.3, "28.8"), (1 / 96, "1")], ids=["a fraction", "too few"])
def test_a_width_that_leaves_towers_without_whole_channels_is_refused(width, found):
    with pytest.raises(ValueError, match=f"paper: conv1 would have {found} channels or units, which is not a multiple"):
        replace(NetConfig.preset("paper"), width=width)


def test_a_new_network_is_in_training_mode_and_can_be_copied():
    net = build(replace(NetConfig.preset("paper"), width=1 / 16, num_classes=3))
    assert all(module.training for module in net.modules())
    twin = copy.deepcopy(net)
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    assert net(x).equal(twin(x))  # the masks of dropout too


def test_feature_maps_shrink_by_2012s_ceiling():
    assert shapes(NetConfig.preset("cifar-19pct")) == {
        "conv1": (32, 32, 32),
        "pool1": (32, 16, 16),
        "act1": (32, 16, 16),
        "conv2": (32, 16, 16),
        "act2": (32, 16, 16),
        "pool2": (32, 8, 8),
        "conv3": (64, 8, 8),
        "act3": (64, 8, 8),
        "pool3": (64, 4, 4),
        "fc10": (10,),
    }
    assert shapes(NetConfig.preset("cifar-13pct"))["local4"] == (32, 6, 6)  # 24 -> 12 -> 6


def test_an_average_pool_divides_by_the_cells_inside_the_map():
    pool = build(NetConfig.preset("cifar-19pct")).pool2
    assert pool(torch.ones(1, 1, 16, 16)).eq(1).all()


def test_the_norms_are_the_library_s_in_the_reading_that_was_run():
    norm = build(NetConfig.preset("cifar-11pct-r540")).norm1
    assert isinstance(norm, LocalResponseNorm)
    assert (norm.size, norm.alpha, norm.beta, norm.k, norm.average) == (5, 1e-3, 0.75, 1.0, True)


def test_gaussian_weights_have_the_layer_files_deviations_and_no_biases():
    net = build(NetConfig.preset("cifar-13pct"))
    for name, std in {"conv1": 1e-4, "conv2": 0.01, "local3": 0.04, "local4": 0.04, "fc10": 0.01}.items():
        layer = net.get_submodule(name)
        assert layer.weight.std().item() == pytest.approx(std, rel=0.05)
        assert not layer.bias.any()


def test_torch_initialization_is_what_torch_does_by_itself():
    net = build(replace(NetConfig.preset("cifar-19pct"), initialization="torch"))
    torchs = {"conv1": nn.Conv2d(3, 32, 5), "conv3": nn.Conv2d(32, 64, 5), "fc10": nn.Linear(1024, 10)}
    for name, other in torchs.items():
        for parameter in ("weight", "bias"):
            ours, theirs = getattr(net.get_submodule(name), parameter), getattr(other, parameter)
            bound = (3 * 25 if name == "conv1" else 1024 if name == "fc10" else 32 * 25) ** -0.5
            assert ours.abs().max() <= bound
            assert theirs.abs().max() <= bound
            if parameter == "weight":
                assert ours.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
                assert theirs.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


def test_weights_come_from_the_generator_alone():
    state = torch.get_rng_state()
    first, same, other = (build(TINY_NET, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert all(a.equal(b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert not first.conv1.weight.equal(other.conv1.weight)
    assert torch.get_rng_state().equal(state)


def test_the_two_activations_start_from_the_same_weights():
    relu, tanh = (build(replace(TINY_NET, activation=activation)) for activation in ("relu", "tanh"))
    assert relu.conv1.weight.equal(tanh.conv1.weight)
    assert isinstance(relu.act1, nn.ReLU)
    assert isinstance(tanh.act1, nn.Tanh)


@pytest.mark.parametrize("name", PRESETS)
def test_every_layer_of_every_preset_gets_a_gradient(name):
    config = replace(PRESETS[name], initialization="torch", num_classes=5)
    net = build(config)
    x = torch.rand(4, 3, config.image_size, config.image_size, generator=torch.Generator().manual_seed(0))
    net(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_activation_derivatives_are_the_mean_derivatives(activation):
    net = build(replace(TINY_NET, activation=activation))
    x = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    z = net.conv1(x).detach()
    expected = (z > 0).float() if activation == "relu" else 1 - z.tanh() ** 2
    assert mean_derivatives(net, x) == {"act1": pytest.approx(expected.mean().item(), rel=1e-5)}
    assert all(p.grad is None for p in net.parameters())
    assert not x.requires_grad


def test_saturated_units_have_no_derivative():
    net = build(replace(TINY_NET, activation="tanh"))
    assert mean_derivatives(net, torch.full((1, 3, 8, 8), 1e4))["act1"] < 1e-3


def test_a_network_is_made_on_the_cpu_whatever_the_default_device():
    config = replace(NetConfig.preset("run145"), width=1 / 16)
    usual = build(config)
    with torch.device("meta"):
        other = build(config)
        other(torch.zeros(2, 3, 224, 224, device="cpu"))  # and draws its masks there
    assert all(a.equal(b) for a, b in zip(usual.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_network_of_anything_but_a_configuration_is_refused_with_what_to_write():
    with pytest.raises(TypeError, match=r"such as NetConfig\.preset\('run145'\)"):
        AlexNet("run145")
    with pytest.raises(TypeError, match=r"such as NetConfig\.preset\('paper'\)"):
        build("paper")
    with pytest.raises(TypeError, match=r"replace\(NetConfig\.preset\('paper'\), num_classes=10\)"):
        AlexNet(num_classes=10)


def test_images_too_small_for_a_network_are_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"pool5 does not fit its input .*larger images .*or take a CIFAR preset"):
        build(replace(NetConfig.preset("paper"), image_size=24))


def test_what_is_no_default_reaches_the_layers():
    layers = (
        Conv("conv1", channels=4, kernel=4, std=0.1),
        Norm("norm", size=3, alpha=0.1, k=2.0, beta=0.5),
        WithinChannelNorm("within", size=3, scale=0.1, beta=0.5),
        Pool("pool", "max", size=2, stride=1),
        Pool("avg", "avg", size=2, stride=3),
        Linear("fc10", std=0.1),
    )
    net = build(replace(TINY_NET, layers=layers))
    assert (net.norm.beta, net.within.beta) == (0.5, 0.5)
    assert (net.pool.kernel_size, net.pool.stride, net.avg.kernel_size, net.avg.stride) == (2, 1, 2, 3)
    assert net.conv1.padding == (1, 1)


def test_a_layer_that_is_added_changes_no_other_layer_s_weights():
    more = replace(TINY_NET, layers=(TINY_NET.layers[0], Dropout("drop"), *TINY_NET.layers[1:]))
    first, second = build(TINY_NET).fc10.weight, build(more).fc10.weight
    assert first.equal(second)
    assert not first[0].equal(first[1])


def test_torch_s_initialization_of_a_locally_connected_layer_counts_the_inputs_of_a_unit():
    layers = (Local("local", channels=16, kernel=3, std=1.0), Linear("fc", std=1.0))
    net = build(NetConfig(name="local", image_size=8, initialization="torch", layers=layers))
    for parameter in net.local.parameters():
        assert parameter.std().item() == pytest.approx(27**-0.5 / 3**0.5, rel=0.05)


def test_looks_at_a_network_in_training_mode_are_without_dropout_and_draw_nothing():
    layers = (*TINY_NET.layers[:3], Dropout("drop"), Linear("fc6", outputs=8, std=0.1), Activation("act6"))
    net = build(replace(TINY_NET, layers=(*layers, Linear("fc10", std=0.1))))
    before, images = net.generator.get_state(), torch.rand(6, 3, 8, 8)
    derivatives, features = mean_derivatives(net, images), activations(net, images, "act6")
    assert net.training
    assert net.generator.get_state().equal(before)
    net.eval()
    assert derivatives == mean_derivatives(net, images)
    assert features.equal(activations(net, images, "act6"))


def test_a_new_head_of_several_layers_is_counted():
    net = build(TINY_NET)
    (last, head) = list(net.named_children())[-1]
    setattr(net, last, nn.Sequential(nn.Flatten(), nn.Linear(head.in_features, 5), nn.ReLU(), nn.Linear(5, 3)))
    cost = net.costs()[-1]
    assert cost.parameters == head.in_features * 5 + 5 + 5 * 3 + 3
    assert cost.multiply_adds == head.in_features * 5 + 5 * 3
    assert last in str(net.summary())
