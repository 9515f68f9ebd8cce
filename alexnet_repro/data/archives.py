"""Archives of data sets: download, check, unpack."""

from __future__ import annotations

import errno
import hashlib
import logging
import shutil
import tarfile
import zipfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tqdm import tqdm

from alexnet_repro.data.dataset import DatasetNotFoundError
from alexnet_repro.support.lock import locked

BLOCK = 2**20  # bytes
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

    Raises:
        ValueError: a member of a zip file would be written outside the folder.
        tarfile.FilterError: the same for a tar file.
        BlockingIOError: another process is unpacking it; says which.
    """
    target, partial = archive.parent / folder, archive.parent / f".{folder}.part"
    with locked(_lock(archive)):
        if target.is_dir():  # another process unpacked it first
            return target
        shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed
        try:
            if archive.suffix == ".zip":
                _unzip(archive, partial)
            else:
                with tarfile.open(archive) as tar:
                    tar.extractall(partial, filter="data")
            (partial / folder).replace(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


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
