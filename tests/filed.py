"""Records in a folder of evidence."""

from pathlib import Path

from alexnet_repro.training.record import Record


def save(record: Record, folder: Path) -> None:
    """Writes a record where it belongs within a folder of evidence."""
    record.write(folder / record.path)
