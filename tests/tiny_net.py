"""A network that trains in milliseconds."""

from alexnet_repro.networks.spec import Activation, Conv, Linear, NetConfig, Pool

TINY_NET = NetConfig(
    name="tiny",
    image_size=8,
    num_classes=3,
    layers=(
        Conv("conv1", channels=4, kernel=3, std=0.1),
        Activation("act1"),
        Pool("pool1", "max"),
        Linear("fc10", std=0.1),
    ),
)
