import os
import subprocess
import sys

import pytest

from alexnet_repro.support.files import remove_leftovers, write_atomically


def test_it_makes_the_folder_and_leaves_one_file_that_everyone_can_read(tmp_path):
    path, before = tmp_path / "a" / "b.txt", os.umask(0o022)
    try:
        write_atomically(path, "ä")
        write_atomically(path, "ö")
    finally:
        os.umask(before)
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


def test_through_a_link_its_target_is_written_and_the_link_stays(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    link, target = tmp_path / "b.txt", tmp_path / "elsewhere" / "c.txt"
    link.symlink_to(target)
    for text in ("first", "second"):
        write_atomically(link, text)
        assert link.is_symlink()
        assert target.read_text() == text
    (target.parent / ".c.txt.abcdefgh").touch()
    remove_leftovers(link)
    assert [path.name for path in target.parent.iterdir()] == ["c.txt"]


def test_a_pipe_takes_what_is_written_and_stays_one(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    (tmp_path / "link").symlink_to(f"/dev/fd/{reading}")  # as /dev/stdout is one
    for path in (pipe, tmp_path / "link"):
        write_atomically(path, "text")
        assert os.read(reading, 100) == b"text"
    os.close(reading)
    assert pipe.is_fifo()


def test_what_went_wrong_is_said_even_where_the_file_under_way_is_gone(tmp_path):
    def fails(file):
        next(tmp_path.iterdir()).unlink()
        raise ArithmeticError("as arranged")

    with pytest.raises(ArithmeticError, match="as arranged"):
        write_atomically(tmp_path / "b", fails)
