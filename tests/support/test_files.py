import os
import subprocess
import sys

import pytest

from alexnet_repro.support.files import remove_leftovers, write_atomically


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


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "last.pt"
    script = "import os; from alexnet_repro.support.files import *; from pathlib import Path; "
    script += f"write_atomically(Path({str(path)!r}), lambda file: os.kill(os.getpid(), 9))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    others = [path, tmp_path / ".last.pt", tmp_path / ".best.pt.abcdefgh", tmp_path / ".last.pt.mine"]
    for other in others:
        other.touch()
    remove_leftovers(path)
    assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted(others)
