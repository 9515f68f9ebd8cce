"""Numbers of the paper that ours are set against. Errors are fractions."""

RELU_TARGET_ERROR = 0.25  # Sec. 3.1, Fig. 1: training error on CIFAR-10 that both neurons are timed to
RELU_SPEEDUP = 6.0  # Sec. 3.1: how many times faster the network with ReLUs gets there than the one with tanh
CIFAR_TEST_ERROR_WITHOUT_LRN = 0.13  # Sec. 3.3: a four-layer network on CIFAR-10
CIFAR_TEST_ERROR_WITH_LRN = 0.11  # Sec. 3.3
PARAMETERS = 60_000_000  # Sec. 1, abstract: "60 million"
NEURONS = 650_000  # abstract
NEURONS_BY_LAYER = {  # Fig. 2, its caption
    "conv1": 253_440,
    "conv2": 186_624,
    "conv3": 64_896,
    "conv4": 64_896,
    "conv5": 43_264,
    "fc6": 4096,
    "fc7": 4096,
    "fc8": 1000,
}
IMAGENET_TRAINING_PICTURES = 1_281_167  # ILSVRC-2012; Sec. 2: "roughly 1.2 million"
