import subprocess
import sys


def test_the_package_can_be_run_as_a_module():
    done = subprocess.run([sys.executable, "-m", "alexnet_repro", "--help"], capture_output=True, text=True, check=True)
    assert "train" in done.stdout
