"""Files of a data set from the network to the data root: resumed where a connection broke, checked, unpacked whole or not at all.

Archives are unpacked next to where they belong and moved there at the end, so that whoever looks sees no half of them.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from kdarena.errors import UserError
from kdarena.tracks.downloads import Download, File

WAITING = ".kdarena-downloads"
"""Folder below the root in which a file lies until it is whole."""
ATTEMPTS = 5
"""Connections in a row that may break without a byte."""
PAUSE_SECONDS = 1.0
"""Before a connection is tried again, and longer after each that brought nothing."""
TIMEOUT_SECONDS = 60
_BLOCK = 2**20
_MORE_THAN_ARCHIVE = 2.5
"""Room that an archive and what is in it take, as a multiple of the archive."""

Progress = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes that are there, and the bytes of the whole or None."""


class _Broken(Exception):
    """A connection ended before the file did."""


def fetch(download: Download, root: Path, progress: Progress = lambda name, done, whole: None) -> Path:
    """Bring a data set below ``root``; returns the file or folder that is there now.

    Files that are whole are not fetched again, and an archive that lies in ``root`` under its own name is used.

    Raises:
        UserError: in one line: no network, no such file, a wrong checksum, no room, or an archive that is none.
    """
    waiting = root / WAITING
    try:
        waiting.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(root).free
        if download.size is not None and free < _MORE_THAN_ARCHIVE * download.size:
            raise UserError(
                f"{root}: {free / 1e9:.1f} GB are free, about {_MORE_THAN_ARCHIVE * download.size / 1e9:.1f} GB are needed: make room, or give another --root"
            )
        for file in download.files:
            _bring(file, root, waiting, progress)
        if download.made is not None:
            download.made(root)
        shutil.rmtree(waiting, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{error.filename or root}: {error.strerror or error}: give a --root that can be written to") from error
    except ValueError as error:
        raise UserError(" ".join(str(error).split())) from error
    there = root / download.gives
    if not there.exists():
        raise UserError(f"{there} is not in what {download.files[-1].url} gave: the file has changed; fetch it by hand")
    return there


def _bring(file: File, root: Path, waiting: Path, progress: Progress) -> None:
    done = waiting / f"{file.name}.done"
    target = root / file.to
    if done.exists() or (not file.archive and target.is_file() and _problem(file, target) is None):
        return
    given = root / file.name
    given_by_hand = given.is_file() and _problem(file, given) is None
    content = given if given_by_hand else _downloaded(file, waiting, progress)
    if file.archive:
        _unpack(file, content, target, waiting)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(content, target)
    if not given_by_hand:
        content.unlink(missing_ok=True)
    done.touch()


# from the network
def _downloaded(file: File, waiting: Path, progress: Progress) -> Path:
    """The whole file, checked."""
    partial = waiting / f"{file.name}.partial"
    if file.checksum is None:
        partial.unlink(missing_ok=True)  # two halves of different files could not be recognised
    idle = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            _transfer(file, partial, progress)
            break
        except _Broken as error:
            after = partial.stat().st_size if partial.exists() else 0
            idle = 0 if after > before else idle + 1
            if idle >= ATTEMPTS:
                raise UserError(_stopped(file, root=waiting.parent, there=after, reason=str(error))) from None
            time.sleep(PAUSE_SECONDS * (1 + idle))
    problem = _problem(file, partial)
    if problem is not None:
        partial.unlink()
        raise UserError(f"{file.url}: {problem}: it was damaged on its way or has changed, and is removed; run the command again")
    return partial


def _stopped(file: File, root: Path, there: int, reason: str) -> str:
    by_hand = f"check the network, or put the file to {root / (file.name if file.archive else file.to)} yourself; then run the command again"
    if not there or file.checksum is None:
        return f"{file.url} can't be reached ({reason}): {by_hand}"
    whole = f" of {file.size / 1e6:.1f}" if file.size else ""
    return f"{file.url} stopped after {there / 1e6:.1f}{whole} MB ({reason}): run the command again, which goes on from there"


def _transfer(file: File, partial: Path, progress: Progress) -> None:
    """One connection; appends where the server can go on from where the file ends."""
    there = partial.stat().st_size if partial.exists() else 0
    if file.size is not None and there == file.size:
        return
    if file.size is not None and there > file.size:
        there = 0
    headers = {"User-Agent": "kdarena", **({"Range": f"bytes={there}-"} if there else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(file.url, headers=headers), timeout=TIMEOUT_SECONDS) as answer:
            resumes = answer.status == 206 and str(answer.headers.get("Content-Range", "")).startswith(f"bytes {there}-")
            there = there if resumes else 0
            length = answer.headers.get("Content-Length")
            whole = there + int(length) if length is not None and length.isdigit() else file.size
            with partial.open("ab" if resumes else "wb") as written:
                while block := answer.read(_BLOCK):
                    written.write(block)
                    there += len(block)
                    progress(file.name, there, whole)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # what is there is longer than the file
            partial.unlink(missing_ok=True)
            raise _Broken("the part that was there did not fit") from None
        if error.code in (408, 429) or error.code >= 500:
            raise _Broken(f"the server answers {error.code} {error.reason}") from None
        raise UserError(f"{file.url}: the server answers {error.code} {error.reason}: the file may have moved; fetch it by hand") from None
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        reason = getattr(error, "reason", None) or error
        raise _Broken(" ".join(str(getattr(reason, "strerror", None) or reason).split()) or type(error).__name__) from None
    if whole is not None and there < whole:
        raise _Broken("the connection ended")


def _problem(file: File, path: Path) -> str | None:
    """What is wrong with a file's size or checksum, or None."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"{size} bytes instead of {file.size}"
    if file.checksum is None:
        return None
    kind, _, expected = file.checksum.partition(":")
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, kind).hexdigest()
    return None if digest == expected else f"its {kind} is {digest} instead of {expected}"


# from the archive
def _unpack(file: File, archive: Path, target: Path, waiting: Path) -> None:
    with TemporaryDirectory(dir=waiting, prefix="unpacked-") as folder:
        try:
            if file.name.endswith(".zip"):
                _unzip(archive, Path(folder))
            else:
                with tarfile.open(archive) as opened:
                    opened.extractall(folder, filter="data")
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
            if archive.parent == waiting:
                archive.unlink(missing_ok=True)
            raise UserError(f"{file.url}: it can't be unpacked ({' '.join(str(error).split())}): run the command again, or fetch it by hand") from None
        content = Path(folder, *PurePosixPath(file.inside).parts)
        if not content.is_dir():
            raise UserError(f"{file.url}: there is no folder {file.inside} in it: the file has changed; fetch it by hand")
        _move(content, target)


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = [member for member in opened.infolist() if not member.filename.startswith("__MACOSX/")]
        for member in members:
            path = PurePosixPath(member.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or ":" in member.filename:
                raise ValueError(f"{member.filename!r} would be outside of the folder")
        opened.extractall(folder, members)


def _move(content: Path, target: Path) -> None:
    """Put a folder's content into ``target``: at once where nothing of it is there, else file by file."""
    target.mkdir(parents=True, exist_ok=True)
    for one in sorted(content.iterdir()):
        place = target / one.name
        if one.is_dir() and place.is_dir():
            _move(one, place)
        else:
            os.replace(one, place)
