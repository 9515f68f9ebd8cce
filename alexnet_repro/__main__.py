"""``python -m alexnet_repro``, which ``torchrun -m`` needs."""

from alexnet_repro.cli.main import main

main()
