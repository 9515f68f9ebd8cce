import errno
import hashlib
import io
import os
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from alexnet_repro.data import DatasetNotFoundError, archives
from alexnet_repro.data.archives import Archive, check, fetch, unpack, unpacked
from alexnet_repro.support import lock

CONTENT = bytes(range(256)) * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """/whole serves the content, parts of it on request; the others fail, each in its way."""

    asked: list[tuple[str, str | None]] = []  # noqa: RUF012

    def do_GET(self):
        wanted = self.headers["Range"]
        self.asked.append((self.path, wanted))
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.path != "/no-ranges" else 0
        if self.path == "/babbles":  # what is no answer in HTTP
            self.wfile.write(b"what?\r\n\r\n")
            return
        if self.path == "/chunks":  # the last of which never comes
            self.protocol_version = "HTTP/1.1"
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"fff\r\n" + CONTENT[:100])
            self.close_connection = True
            return
        if self.path == "/absent":
            self.send_error(404)
            return
        if start >= len(CONTENT):
            self.send_error(416)
            return
        content = b"something else" if self.path == "/other" else CONTENT[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if self.path == "/breaks" else content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    Handler.asked = []
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


def archive(*mirrors):
    return Archive("a.bin", MD5, mirrors)


def packed(path: Path, name: str) -> Path:
    """An archive with one file."""
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = 5
        tar.addfile(member, io.BytesIO(b"hello"))
    return path


def test_a_whole_download_is_kept_under_its_name_and_nothing_else(server, tmp_path):
    assert fetch(archive(f"{server}/whole"), tmp_path / "new") == tmp_path / "new" / "a.bin"
    assert (tmp_path / "new" / "a.bin").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.bin"]


def test_an_interrupted_download_goes_on_where_it_stopped(server, tmp_path):
    with pytest.raises(DatasetNotFoundError, match="/breaks: the connection ended after 128,000 of 256,000 bytes"):
        fetch(archive(f"{server}/breaks"), tmp_path)
    assert not (tmp_path / "a.bin").exists()
    assert fetch(archive(f"{server}/whole"), tmp_path).read_bytes() == CONTENT
    assert Handler.asked == [("/breaks", None), ("/whole", "bytes=128000-")]


def test_a_server_that_can_not_go_on_begins_anew(server, tmp_path):
    (tmp_path / ".a.bin.part").write_bytes(b"x" * 1000)
    assert fetch(archive(f"{server}/no-ranges"), tmp_path).read_bytes() == CONTENT


def test_a_download_that_was_complete_but_not_yet_checked_is_not_fetched_again(server, tmp_path):
    (tmp_path / ".a.bin.part").write_bytes(CONTENT)
    assert fetch(archive(f"{server}/whole"), tmp_path).read_bytes() == CONTENT


def test_another_file_is_thrown_away_and_the_next_mirror_asked(server, tmp_path, caplog):
    assert fetch(archive(f"{server}/absent", f"{server}/other", f"{server}/whole"), tmp_path).read_bytes() == CONTENT
    assert "/absent: HTTP Error 404" in caplog.text
    assert f"/other: what it sent is not the official archive: its md5 is not {MD5}" in caplog.text


@pytest.mark.parametrize(
    ("path", "said"), [("/chunks", "IncompleteRead"), ("/babbles", "what?"), ("/breaks", "the connection ended")]
)
def test_whatever_goes_wrong_with_a_mirror_the_next_one_is_asked(server, tmp_path, caplog, path, said):
    assert fetch(archive(f"{server}{path}", f"{server}/whole"), tmp_path).read_bytes() == CONTENT
    assert f"{path}: {said}" in caplog.text


def test_an_address_that_is_none_is_one_more_mirror_that_fails(server, tmp_path):
    part = tmp_path / ".a.bin.part"
    part.write_bytes(CONTENT[:1000])
    with pytest.raises(DatasetNotFoundError, match=r"(?s)nowhere: unknown url type.*http://\[: "):
        fetch(archive("nowhere", "http://[", "gopher://a/b"), tmp_path)
    assert part.read_bytes() == CONTENT[:1000]
    assert fetch(archive(f"{server}/whole"), tmp_path).read_bytes() == CONTENT
    assert Handler.asked == [("/whole", "bytes=1000-")]


def test_of_two_that_fetch_one_archive_the_second_is_refused_and_the_first_gets_it(server, tmp_path, monkeypatch):
    download = archives._download

    def meanwhile(address, part):
        with pytest.raises(BlockingIOError, match=r"is in use: process \d+ on .* is working there"):
            fetch(archive(f"{server}/other"), tmp_path)
        download(address, part)

    monkeypatch.setattr(archives, "_download", meanwhile)
    assert fetch(archive(f"{server}/whole"), tmp_path).read_bytes() == CONTENT
    assert Handler.asked == [("/whole", None)]


def test_a_full_disk_is_no_fault_of_the_mirrors(server, tmp_path, monkeypatch):
    (tmp_path / ".a.bin.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        fetch(archive(f"{server}/whole", f"{server}/no-ranges"), tmp_path)
    assert [path for path, _ in Handler.asked] == ["/whole"]


def test_a_folder_that_is_not_whole_is_said_to_be_so_and_nothing_is_unpacked_over_it(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DatasetNotFoundError, match=r"folder differs from a\.bin\. Remove it, and fetch it again"):
        unpacked(archive(), "folder", tmp_path, True, "it is missing")
    (tmp_path / "a.bin").write_bytes(CONTENT)
    with pytest.raises(DatasetNotFoundError, match=r"folder differs from a\.bin\. Remove it, and it is unpacked"):
        unpacked(archive(), "folder", tmp_path, True, "it is missing")


def test_a_folder_that_another_process_has_unpacked_meanwhile_is_taken(tmp_path):
    path = packed(tmp_path / "a.tgz", "folder/file.txt")
    unpack(path, "folder")
    assert unpack(path, "folder") == tmp_path / "folder"
    assert {p.name for p in tmp_path.iterdir()} == {"a.tgz", "folder"}


def test_a_wrong_md5_names_the_file(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"a\.bin is not the official archive: .* Remove it, and fetch it again"):
        check(tmp_path / "a.bin", MD5)


def test_an_archive_unpacks_whole_or_not_at_all(tmp_path):
    path = packed(tmp_path / "a.tgz", "folder/file.txt")
    assert (unpack(path, "folder") / "file.txt").read_bytes() == b"hello"
    damaged = tmp_path / "b.tgz"
    damaged.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(EOFError, match="Compressed file ended"):
        unpack(damaged, "other")
    assert {p.name for p in tmp_path.iterdir()} == {"a.tgz", "b.tgz", "folder"}


def test_what_a_killed_process_had_unpacked_is_removed(tmp_path):
    path = packed(tmp_path / "a.tgz", "folder/file.txt")
    left = tmp_path / ".folder.part" / "folder"
    left.mkdir(parents=True)
    (left / "half.txt").write_bytes(b"he")
    assert [p.name for p in unpack(path, "folder").iterdir()] == ["file.txt"]
    assert {p.name for p in tmp_path.iterdir()} == {"a.tgz", "folder"}


def test_of_several_that_unpack_one_archive_one_does_and_the_others_wait_for_its_folder(tmp_path, monkeypatch, caplog):
    path = packed(tmp_path / "a.tgz", "folder/file.txt")
    extract, calls = archives._extract, []

    def slow(*arguments):
        calls.append(arguments)
        while caplog.text.count("Waiting until it has finished") < 2:
            time.sleep(0.01)
        extract(*arguments)

    monkeypatch.setattr(archives, "_extract", slow)
    with ThreadPoolExecutor(3) as pool:
        folders = list(pool.map(unpack, [path] * 3, ["folder"] * 3))
    assert folders == [tmp_path / "folder"] * 3
    assert len(calls) == 1
    assert f"is in use: process {os.getpid()} on" in caplog.text
    assert {p.name for p in tmp_path.iterdir()} == {"a.tgz", "folder"}


@pytest.mark.parametrize("reason", [errno.EACCES, errno.EROFS])
def test_an_archive_in_a_folder_that_may_only_be_read_is_to_be_unpacked_elsewhere(tmp_path, monkeypatch, reason):
    path = packed(tmp_path / "a.tgz", "folder/file.txt")

    def refuse(path, flags, mode=0o777):
        raise OSError(reason, os.strerror(reason), str(path))

    monkeypatch.setattr(lock.os, "open", refuse)
    with pytest.raises(OSError, match=r"can't be written, and a\.tgz there is not unpacked\. .* with --root") as error:
        unpack(path, "folder")
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize("name", ["../stray.txt", "folder/../../stray.txt"])
def test_a_tar_file_that_leads_out_of_its_folder_is_not_unpacked(tmp_path, name):
    (tmp_path / "data").mkdir()
    with pytest.raises(tarfile.OutsideDestinationError, match=r"stray\.txt"):
        unpack(packed(tmp_path / "data" / "a.tgz", name), "folder")
    assert [p.name for p in tmp_path.iterdir()] == ["data"]
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["a.tgz"]


def test_an_archive_that_was_replaced_is_checked_again(tmp_path):
    archive, record = tmp_path / "images.tar", tmp_path / "checked.json"
    archive.write_bytes(b"official")
    md5 = hashlib.md5(b"official").hexdigest()
    archives.check_once({archive: md5}, record)
    archives.check_once({archive: md5}, record)
    archive.write_bytes(b"of others")
    with pytest.raises(ValueError, match="is not the official archive"):
        archives.check_once({archive: md5}, record)
