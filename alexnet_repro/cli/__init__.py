"""What a terminal sees: ``alexnet-repro``."""
