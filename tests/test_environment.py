import pytest
import torch

from alexnet_repro.environment import environment, resolve_device


def test_it_names_versions_hardware_and_threads():
    found = environment("cpu")
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["device"].endswith("cores")
    assert found["revision"]


def test_a_device_that_is_not_there_is_refused_with_those_that_are():
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(ValueError, match=r"device must be auto or one of cpu.* not 'tpu'"):
        resolve_device("tpu")
