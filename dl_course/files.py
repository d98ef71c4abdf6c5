"""Files: where the course keeps its data, and how a download gets there whole or not at all.

HTTP is the standard library's urllib, which torchvision downloads with too; mirrors, checksums, patience and
"no half-written file" stand on top of it.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import secrets
import shutil
import tarfile
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from filelock import FileLock
from platformdirs import user_cache_path
from tqdm.auto import tqdm

PATIENCE = 8.0  # seconds of silence, shared out among the mirrors, until a download gives up


class DataUnavailable(RuntimeError):
    """A data set is not here and cannot be had; says what was tried and how to place the files by hand."""


def repository_root() -> Path | None:
    """Return the nearest repository above the working directory, else above this package, or None.

    A repository is a folder that holds pyproject.toml beside chapters/ or dl_course/.
    """
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            rooms = (folder / "chapters", folder / "dl_course")
            if (folder / "pyproject.toml").is_file() and any(room.is_dir() for room in rooms):
                return folder
    return None


def data_root() -> Path:
    """Return where data lie: $DL_COURSE_DATA, else datasets/ of the repository, else the user's cache."""
    if given := os.environ.get("DL_COURSE_DATA"):
        return Path(given).expanduser()
    repository = repository_root()
    return repository / "datasets" if repository else user_cache_path("dl_course") / "datasets"


def is_offline() -> bool:
    """Return whether $DL_COURSE_OFFLINE forbids downloads."""
    return os.environ.get("DL_COURSE_OFFLINE", "0") not in ("", "0")


def is_writable(folder: Path) -> bool:
    """Return whether files may be made in the folder, or its nearest parent; read-only holds for root."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return there.is_dir() and os.access(there, os.W_OK) and bool(there.stat().st_mode & 0o222)


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary path; what is written there becomes the file, or vanishes if the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def has_checksum(path: Path, checksum: str) -> bool:
    """Return whether the file is there with this checksum, "md5:…" or "sha256:…": 8 digits of it or more."""
    algorithm, _, expected = checksum.partition(":")
    if not path.is_file() or len(expected) < 8:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest().startswith(expected.lower())


def fetch(path: Path, mirrors: Sequence[str], checksum: str, download: bool = True) -> Path:
    """Return path, filled from the first of the mirrors (URLs) that gives bytes with the checksum.

    A file that is there already is not asked for again, also where another process has just fetched it.
    An interrupted download leaves nothing behind and starts afresh.
    Raises DataUnavailable after 8 seconds without a byte, or at once where downloading is off.
    """
    if has_checksum(path, checksum):
        return path
    if not download or is_offline() or not is_writable(path.parent):
        reason = "DL_COURSE_OFFLINE is set" if is_offline() else f"{path.parent} is read-only"
        damaged = [f"the file at {path} is not that: its checksum differs"] if path.is_file() else []
        asked = f"{reason if download else 'download=False'}: nothing asked for"
        raise _unavailable(path, mirrors, [*damaged, asked])
    with _folder(path.parent), _lock(path.with_name(f".{path.name}.lock")):
        if has_checksum(path, checksum):
            return path
        for orphan in path.parent.glob(f".{path.name}.*.part"):  # of a process that was killed
            orphan.unlink()
        tried = []
        for url in mirrors:
            try:
                with atomic(path) as part:
                    _download(url, part, checksum, PATIENCE / len(mirrors))
                return path
            except (OSError, http.client.HTTPException) as error:
                tried.append(f"{url}: {str(error) or type(error).__name__}")
        raise _unavailable(path, mirrors, tried)


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """Make a folder for the block; what is still empty after it goes again, with its parents."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):  # not empty: it holds what was fetched
            for each in made:
                each.rmdir()


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Let one process at a time into the block; where it fails, the lock's file goes, too."""
    with FileLock(path):
        try:
            yield
        except BaseException:
            with suppress(OSError):  # Windows, where another process waits for it
                path.unlink(missing_ok=True)
            raise


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a verified .gz file or .tar.gz archive into the folder, each file whole or not at all."""

    def copy(source: Any, path: Path) -> None:
        with atomic(path) as part, part.open("wb") as file:
            shutil.copyfileobj(source, file)

    if archive.name.endswith(".tar.gz"):
        with tarfile.open(archive) as tar:
            for member in filter(tarfile.TarInfo.isfile, tar):
                copy(tar.extractfile(member), folder / member.name)
    else:
        with gzip.open(archive) as packed:
            copy(packed, folder / archive.stem)


def _download(url: str, part: Path, checksum: str, patience: float) -> None:
    with _open(url, patience) as response, part.open("wb") as file:
        length = response.length
        with tqdm(total=length, unit="B", unit_scale=True, desc=url.rpartition("/")[2], leave=False) as bar:
            while chunk := response.read1(1 << 16):
                file.write(chunk)
                bar.update(len(chunk))
            if length is not None and bar.n < length:
                raise OSError(f"cut off after {bar.n:,} of {length:,} bytes")
    if not has_checksum(part, checksum):
        raise OSError("wrong bytes: the checksum differs")


def _open(url: str, patience: float) -> http.client.HTTPResponse:
    """Open the URL in a thread: a socket's time limit does not cover looking up the server's name."""
    answer: SimpleQueue[Any] = SimpleQueue()

    def ask() -> None:
        try:
            answer.put(urllib.request.urlopen(url, timeout=patience))
        except Exception as error:
            answer.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        if isinstance(response := answer.get(timeout=patience), Exception):
            raise response
        return response
    except Empty:
        raise TimeoutError(f"no answer in {patience:.1f} seconds") from None


def _unavailable(path: Path, mirrors: Sequence[str], tried: Sequence[str]) -> DataUnavailable:
    return DataUnavailable(
        "\n  ".join([f"{path.name} is not here and could not be downloaded.", *tried])
        + f"\nBy hand: put it, as it is, at {path}, from {' or '.join(mirrors)},"
        + "\nor set DL_COURSE_DATA to a folder that holds the data already."
    )
