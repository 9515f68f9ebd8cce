"""Archives of data sets: download, check, unpack."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import shutil
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from alexnet_repro.data.dataset import DatasetNotFoundError
from alexnet_repro.support.files import write_atomically
from alexnet_repro.support.lock import locked

BLOCK = 2**20  # bytes
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)
LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)  # faults of this machine, not of a mirror

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """A file that is identified by its md5, whichever mirror it comes from."""

    file: str
    md5: str
    mirrors: tuple[str, ...]


def fetch(archive: Archive, root: Path) -> Path:
    """Downloads an archive into ``root`` from the first mirror that delivers it whole, and returns its path.

    An interrupted download resumes where it stopped, if the server allows it.

    Raises:
        DatasetNotFoundError: no mirror delivered it; says what went wrong with each.
        BlockingIOError: another process is downloading it; says which.
        OSError: the disk is full, or the folder cannot be written; the part downloaded so far is kept.
    """
    with locked(_lock(root / archive.file)):
        return _fetched(archive, root / archive.file, root / f".{archive.file}.part")


def _fetched(archive: Archive, path: Path, part: Path) -> Path:
    failures = []
    for mirror in archive.mirrors:
        try:
            _download(mirror, part)
        except (OSError, HTTPException, ValueError) as error:  # the part is kept, to resume from
            if getattr(error, "errno", None) in LOCAL:
                raise
            failures.append(f"  - {mirror}: {str(error) or type(error).__name__}")
        else:
            if _md5(part) == archive.md5:
                part.replace(path)
                return path
            part.unlink()  # complete, but a different file
            failures.append(f"  - {mirror}: what it sent is not the official archive: its md5 is not {archive.md5}")
        logger.warning(failures[-1].strip(" -"))
    raise DatasetNotFoundError(f"{archive.file} could not be downloaded:\n" + "\n".join(failures))


def check(path: Path, md5: str) -> None:
    """Raises ``ValueError`` if the file's md5 is a different one."""
    if _md5(path) != md5:
        raise ValueError(f"{path} is not the official archive: its md5 is not {md5}. Remove it, and fetch it again.")


def check_once(archives: Mapping[Path, str], record: Path) -> None:
    """Checks each archive's md5, unless ``record`` says that it was done and the file has not been modified since."""
    checked = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    for archive, md5 in archives.items():
        state = [archive.stat().st_size, archive.stat().st_mtime_ns]
        if checked.get(archive.name) != state:
            check(archive, md5)
            checked[archive.name] = state
            write_atomically(record, json.dumps(checked))


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file, _bar(f"checking {path.name}", path.stat().st_size) as bar:
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


def unpacked(archive: Archive, folder: str, root: Path, download: bool, missing: str) -> Path:
    """Checks an archive's md5, or downloads it if it is missing and ``download`` is set, and unpacks its folder.

    Raises:
        DatasetNotFoundError: the archive is missing and not to be downloaded (``missing`` is the message); no mirror
            has it; or the folder exists already, which means that the caller found it incomplete.
        ValueError: the md5 is wrong; or as ``unpack``.
    """
    if (root / folder).is_dir():
        again = "it is unpacked" if (root / archive.file).is_file() else "fetch it"
        raise DatasetNotFoundError(f"{root / folder} differs from {archive.file}. Remove it, and {again} again")
    path = root / archive.file
    if path.is_file():
        check(path, archive.md5)
    elif download:
        fetch(archive, root)
    else:
        raise DatasetNotFoundError(missing)
    return unpack(path, folder)


def unpack(archive: Path, folder: str) -> Path:
    """Unpacks the folder of this name from a tar or zip file, beside the archive and whole or not at all.

    If another process is unpacking it, waits for its folder: so all processes of a training get it from one of them.

    Raises:
        ValueError: a member of a zip file would be written outside the folder.
        tarfile.FilterError: the same for a tar file.
        OSError: the disk is full, or the folder with the archive cannot be written.
    """
    target = archive.parent / folder
    try:
        with locked(_lock(archive), wait=True):
            if not target.is_dir():  # else another process has unpacked it
                _extract(archive, archive.parent / f".{folder}.part", target)
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        raise OSError(
            error.errno,
            f"{archive.parent} can't be written, and {archive.name} there is not unpacked. Unpack it in another "
            "folder, and name that one with --root",
        ) from error
    return target


def _extract(archive: Path, partial: Path, target: Path) -> None:
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
    try:
        if archive.suffix == ".zip":
            _unzip(archive, partial)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(partial, filter="data")
        (partial / target.name).replace(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _lock(archive: Path) -> Path:
    return archive.with_name(f".{archive.name}.lock")


def _unzip(archive: Path, folder: Path) -> None:
    """Refuses members whose paths lead out of the folder; ``zipfile`` itself would place them somewhere inside it."""
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(
                    f"{archive} was not unpacked: its member {name} would lie outside the folder. Remove it, "
                    "and fetch it again."
                )
        file.extractall(folder)


def _download(address: str, part: Path) -> None:
    """Downloads the missing rest of ``part``, or all of it if the server cannot resume."""
    have = part.stat().st_size if part.exists() else 0
    try:
        response = urlopen(Request(address, headers={"Range": f"bytes={have}-"} if have else {}), timeout=60)
    except HTTPError as error:
        if error.code != 416:  # nothing is left to download
            raise
        return
    with response:
        goes_on = have > 0 and response.status == 206
        left = int(response.headers.get("Content-Length") or 0)
        if not goes_on:
            have = 0
        with part.open("ab" if goes_on else "wb") as file, _bar(address.rpartition("/")[2], have + left, have) as bar:
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    if left and part.stat().st_size < have + left:
        raise OSError(f"the connection ended after {part.stat().st_size:,} of {have + left:,} bytes")


def _bar(what: str, total: int, have: int = 0) -> tqdm:
    """A progress bar with speed and time left, on a terminal only."""
    return tqdm(desc=what, total=total or None, initial=have, unit="B", unit_scale=True, disable=None)
