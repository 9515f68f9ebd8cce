import os

import pytest

from alexnet_repro.files import write_atomically


def test_it_makes_the_folder_and_leaves_one_file_that_everyone_can_read(tmp_path):
    path = tmp_path / "a" / "b.txt"
    write_atomically(path, "ä")
    write_atomically(path, "ö")
    assert path.read_text(encoding="utf-8") == "ö"
    assert [p.name for p in path.parent.iterdir()] == ["b.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_an_interruption_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "b.txt"
    write_atomically(path, "old")

    def killed(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["b.txt"]


def test_bytes_are_written_as_they_are(tmp_path):
    write_atomically(tmp_path / "b", b"\x00\xff\r\n")
    assert (tmp_path / "b").read_bytes() == b"\x00\xff\r\n"
