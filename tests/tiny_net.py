"""A network that trains in milliseconds."""

from alexnet_repro.config import Conv, Linear, NetConfig, Neuron, Pool

TINY_NET = NetConfig(
    name="tiny",
    image_size=8,
    num_classes=3,
    layers=(
        Conv("conv1", maps=4, kernel=3, std=0.1),
        Neuron("act1"),
        Pool("pool1", "max"),
        Linear("fc10", std=0.1),
    ),
)
