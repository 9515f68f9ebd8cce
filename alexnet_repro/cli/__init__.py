"""The command line, ``alexnet-repro``."""
