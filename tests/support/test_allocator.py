import platform
import subprocess
import sys

import pytest


def reported(environment: dict[str, str]) -> str:
    """What a fresh process reports: the setting holds for a whole process, so that it is not made in this one."""
    code = "from alexnet_repro.support.environment import keep_large_blocks; print(keep_large_blocks())"
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_glibc_takes_the_setting():
    assert reported({}) == "True\n"


def test_it_can_be_switched_off():
    assert reported({"ALEXNET_REPRO_KEEP_MEMORY": "0"}) == "False\n"
