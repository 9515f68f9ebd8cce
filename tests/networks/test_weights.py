from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from numbered import seeded
from torch import Tensor, nn
from torch.nn import LocalResponseNorm

from alexnet_repro import InputConfig, NetConfig, build, place
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.networks.weights import (
    from_caffe,
    from_torchvision,
    load_weights,
    save_weights,
    to_caffe,
    to_torchvision,
)

SMALL = replace(NetConfig.preset("paper"), width=1 / 16, num_classes=3)


def images(size: int) -> Tensor:
    return 60 * torch.randn(2, 3, size, size, dtype=torch.float64, generator=seeded(0))


def test_weights_come_back_as_they_were_saved_wherever_the_towers_are(tmp_path):
    net = build(SMALL, seeded(1)).to(memory_format=torch.channels_last)
    save_weights(net, tmp_path / "new" / "net.safetensors")
    placed = place(build(SMALL, seeded(2)), ["cpu", "cpu"])
    load_weights(placed, tmp_path / "new" / "net.safetensors")
    save_weights(placed, tmp_path / "placed.safetensors")
    again = build(SMALL, seeded(3))
    load_weights(again, tmp_path / "placed.safetensors")
    assert all(again.state_dict()[name].equal(tensor) for name, tensor in net.state_dict().items())


def test_weights_of_another_network_are_refused_with_the_difference(tmp_path):
    save_weights(build(SMALL), tmp_path / "net.safetensors")
    for other in (replace(SMALL, num_classes=4), replace(SMALL, layers=SMALL.layers[:-4] + SMALL.layers[-3:])):
        network = build(other, seeded(3))
        with pytest.raises(ValueError, match=r"net\.safetensors does not hold .* fc\d\.weight is \(.*\) there and"):
            load_weights(network, tmp_path / "net.safetensors")
        assert all(a.equal(b) for a, b in zip(network.parameters(), build(other, seeded(3)).parameters(), strict=True))


def test_half_a_file_is_refused(tmp_path):
    save_weights(build(SMALL), tmp_path / "net.safetensors")
    content = (tmp_path / "net.safetensors").read_bytes()
    (tmp_path / "half.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"half\.safetensors does not hold"):
        load_weights(build(SMALL), tmp_path / "half.safetensors")


def test_torchvisions_weights_give_torchvisions_logits_and_the_other_way_round():
    from torchvision.models import alexnet

    ours = build(replace(NetConfig.preset("torchvision"), num_classes=7), seeded(1)).double().eval()
    theirs = alexnet(num_classes=7).double().eval()
    theirs.load_state_dict(to_torchvision(ours.state_dict()))
    torch.testing.assert_close(ours(images(224)), theirs(images(224)), rtol=1e-10, atol=1e-12)
    other = alexnet(num_classes=7).double().eval()
    ours.load_state_dict(from_torchvision(other.state_dict()))
    torch.testing.assert_close(ours(images(224)), other(images(224)), rtol=1e-10, atol=1e-12)


def caffe_forward(blobs: dict[str, tuple[Tensor, Tensor]], bgr: Tensor) -> Tensor:
    """bvlc_alexnet's deploy.prototxt, line by line."""
    lrn = LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
    x = lrn(F.relu(F.conv2d(bgr, *blobs["conv1"], stride=4)))
    x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    x = lrn(F.relu(F.conv2d(x, *blobs["conv2"], padding=2, groups=2)))
    x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    x = F.relu(F.conv2d(x, *blobs["conv3"], padding=1))
    x = F.relu(F.conv2d(x, *blobs["conv4"], padding=1, groups=2))
    x = F.relu(F.conv2d(x, *blobs["conv5"], padding=1, groups=2))
    x = F.max_pool2d(x, 3, 2, ceil_mode=True).flatten(1)
    x = F.relu(F.linear(x, *blobs["fc6"]))
    x = F.relu(F.linear(x, *blobs["fc7"]))
    return F.linear(x, *blobs["fc8"])


def test_caffes_weights_give_caffes_logits_and_the_other_way_round():
    net = build(replace(NetConfig.preset("caffe"), num_classes=7), seeded(1)).double().eval()
    rgb = images(227)
    blobs = to_caffe(net.state_dict())
    expected = caffe_forward(blobs, rgb.flip(1))
    torch.testing.assert_close(net(rgb), expected, rtol=1e-10, atol=1e-12)
    other = build(net.config, seeded(2)).double().eval()
    other.load_state_dict(from_caffe(blobs))
    torch.testing.assert_close(other(rgb), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("convert", [from_torchvision, to_torchvision, from_caffe, to_caffe])
def test_another_layout_is_refused_by_what_it_lacks(convert):
    with pytest.raises(ValueError, match=r"missing .*unexpected surplus"):
        convert({"surplus": torch.zeros(1)})


def test_the_documented_input_of_torchvision_s_weights_is_torchvision_s():
    from torchvision.transforms import v2

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    m, s = (torch.tensor(x)[:, None, None] for x in (mean, std))
    transform = InputTransform(InputConfig(pixels="standardized", crop=224, views="centre"), 255 * m, 1 / (255 * s))
    pixels = torch.randint(0, 256, (2, 3, 256, 256), generator=seeded(0)).to(torch.uint8)
    theirs = v2.Compose([v2.CenterCrop(224), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)])
    torch.testing.assert_close(transform.views(pixels)[0], theirs(pixels), rtol=1e-5, atol=1e-5)


def test_a_checkpoint_is_no_file_of_weights(tmp_path):
    torch.save({"config": {}}, tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"net\.pt is a checkpoint: use training\.trained\.load_trained"):
        load_weights(build(SMALL), tmp_path / "net.pt")


def test_weights_that_two_layers_share_are_saved_for_both(tmp_path):
    tied = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    tied[2].weight = tied[0].weight
    save_weights(tied, tmp_path / "tied.safetensors")
    other = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    load_weights(other, tmp_path / "tied.safetensors")
    assert all(other.state_dict()[name].equal(value) for name, value in tied.state_dict().items())
