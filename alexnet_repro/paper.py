"""Numbers of the paper that ours are compared with. Errors are fractions."""

RELU_TARGET_ERROR = 0.25  # Sec. 3.1, Fig. 1: training error on CIFAR-10 up to which both activation functions are timed
RELU_SPEEDUP = 6.0  # Sec. 3.1: how many times faster the network with ReLUs reaches it than the one with tanh
CIFAR_TEST_ERROR_WITHOUT_LRN = 0.13  # Sec. 3.3: a four-layer network on CIFAR-10
CIFAR_TEST_ERROR_WITH_LRN = 0.11  # Sec. 3.3
PARAMETERS = 60_000_000  # Sec. 1, abstract: "60 million"
NEURONS = 650_000  # abstract
NEURONS_BY_LAYER = {  # caption of Fig. 2
    "conv1": 253_440,
    "conv2": 186_624,
    "conv3": 64_896,
    "conv4": 64_896,
    "conv5": 43_264,
    "fc6": 4096,
    "fc7": 4096,
    "fc8": 1000,
}
IMAGENET_TRAINING_IMAGES = 1_281_167  # ILSVRC-2012; Sec. 2: "roughly 1.2 million"
ERRORS_2010 = {"centre": (0.390, 0.183), "ten": (0.375, 0.170)}  # Sec. 4.1, Table 1: top-1, top-5; ILSVRC-2010, test
ERRORS_2012 = (0.407, 0.182)  # Table 2: one network, ten views; ILSVRC-2012, validation
RUN145_ERRORS_2010 = {"centre": (0.390247, 0.182953), "ten": (0.374727, 0.169987)}  # 2012 code, layer-params-145-2010
RUN145_ERRORS_2012 = (0.406640, 0.182100)  # layer-params-145.cfg, ten views
RUN148_ERRORS_2012 = (0.420340, 0.193620)  # layer-params-148.cfg: without any normalization
RUN147_ERRORS_2012 = (0.410580, 0.185100)  # layer-params-147.cfg: pools of 2
RUN150_ERRORS_2012 = (0.418280, 0.193300)  # layer-params-150.cfg: towers apart; not in the paper
RUN145_HALF_ERRORS_2010 = (0.391680, 0.182287)  # layer-params-145-half.cfg: one tower
LRN_GAIN = (0.014, 0.012)  # Sec. 3.3: top-1, top-5
POOLING_GAIN = (0.004, 0.003)  # Sec. 3.4
TWO_GPUS_GAIN = (0.017, 0.012)  # Sec. 3.2
COLOR_GAIN = 0.01  # Sec. 4.1: "over 1%" of top-1
MIDDLE_LAYER_GAIN = 0.02  # Sec. 7: "about 2%" of top-1
DROPOUT_ITERATIONS = 2.0  # Sec. 4.2: "roughly doubles"
ENSEMBLE_TOP5 = {"five": 0.164, "seven": 0.153}  # Table 2: ILSVRC-2012, validation and test
