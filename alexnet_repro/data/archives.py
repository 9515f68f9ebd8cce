"""Archives that data sets come in: fetched, checked, unpacked."""

from __future__ import annotations

import errno
import hashlib
import logging
import tarfile
import tempfile
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
LOCAL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)  # no fault of a mirror

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """A file that is known by its md5, wherever it comes from."""

    file: str
    md5: str
    mirrors: tuple[str, ...]


def fetch(archive: Archive, root: Path) -> Path:
    """The archive in ``root``, downloaded from the first mirror that delivers it whole.

    A download that was interrupted goes on where it stopped, if the server allows it.

    Raises:
        DatasetNotFoundError: no mirror did; says what went wrong with each.
        BlockingIOError: another process is fetching it; says which.
        OSError: the disk is full, or the folder can't be written; what has come is kept.
    """
    with locked(root / f".{archive.file}.lock"):
        return _fetched(archive, root / archive.file, root / f".{archive.file}.part")


def _fetched(archive: Archive, path: Path, part: Path) -> Path:
    failures = []
    for mirror in archive.mirrors:
        try:
            _download(mirror, part)
        except (OSError, HTTPException, ValueError) as error:  # part stays, to go on from
            if getattr(error, "errno", None) in LOCAL:
                raise
            failures.append(f"  - {mirror}: {str(error) or type(error).__name__}")
        else:
            try:
                check(part, archive.md5)
            except ValueError as error:  # whole, but another file
                part.unlink()
                failures.append(f"  - {mirror}: {error}")
            else:
                part.replace(path)
                return path
        logger.warning(failures[-1].strip(" -"))
    raise DatasetNotFoundError(f"{archive.file} could not be downloaded:\n" + "\n".join(failures))


def check(path: Path, md5: str) -> None:
    """``ValueError`` if the file's md5 is another."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file, _bar(f"checking {path.name}", path.stat().st_size) as bar:
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    if digest.hexdigest() != md5:
        raise ValueError(f"{path} is not the official archive: its md5 is not {md5}. Fetch it again.")


def unpacked(archive: Archive, folder: str, root: Path, download: bool, missing: str) -> Path:
    """What ``unpack`` makes of an archive in ``root``, whose md5 is checked, or which is fetched if that is asked for.

    Raises:
        DatasetNotFoundError: it is neither there nor to be fetched, with ``missing`` as its words; or no mirror has it;
            or the folder is there, but is not as it should be.
        ValueError: its md5 is wrong; or as ``unpack``.
    """
    if (root / folder).is_dir():
        raise DatasetNotFoundError(
            f"{root / folder} is not as {archive.file} has it. Remove it: it is unpacked anew from there"
        )
    path = root / archive.file
    if path.is_file():
        check(path, archive.md5)
    elif download:
        fetch(archive, root)
    else:
        raise DatasetNotFoundError(missing)
    return unpack(path, folder)


def unpack(archive: Path, folder: str) -> Path:
    """The folder of this name from a tar or zip file, beside the archive: there whole or not at all.

    Raises:
        ValueError: a zip file has a member that would lie elsewhere.
        tarfile.FilterError: a tar file has one.
    """
    target = archive.parent / folder
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=f".{folder}.") as temporary:
        if archive.suffix == ".zip":
            _unzip(archive, temporary)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
        try:
            Path(temporary, folder).replace(target)
        except OSError:
            if not target.is_dir():  # otherwise another process was first
                raise
    return target


def _unzip(archive: Path, folder: str) -> None:
    """``zipfile`` would put what leads out of the folder somewhere within; here it is refused."""
    with zipfile.ZipFile(archive) as file:
        for name in file.namelist():
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ValueError(f"{archive} is not unpacked: its member {name} would lie outside. Fetch it again.")
        file.extractall(folder)


def _download(address: str, part: Path) -> None:
    """Appends to ``part`` what it lacks."""
    have = part.stat().st_size if part.exists() else 0
    try:
        response = urlopen(Request(address, headers={"Range": f"bytes={have}-"} if have else {}), timeout=60)
    except HTTPError as error:
        if error.code != 416:  # what we have is all there is
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
    """Speed and time left, on a terminal only."""
    return tqdm(desc=what, total=total or None, initial=have, unit="B", unit_scale=True, disable=None)
