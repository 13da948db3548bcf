"""Write a file whole or not at all: whatever stops it, the one that was there stays."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from coursekit.core.errors import DataError

_LEFT_BEHIND = 24 * 3600  # seconds after which a half file belongs to a process that was killed


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a place beside ``path`` to write to, and move it there at the end.

    The folder is made if need be. After an error, Ctrl-C included, nothing has changed and
    nothing is left. Two processes that write the same file do not touch each other's half.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ending stays the last: it tells some writers which format to write.
    half = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield half
        with contextlib.suppress(OSError):  # there is none yet
            shutil.copymode(path, half)
        os.replace(half, path)
    except BaseException:
        with contextlib.suppress(OSError, ValueError):  # the latter: no file can have that name
            half.unlink(missing_ok=True)
        raise
    _clear(path)


def _clear(path: Path) -> None:
    """Remove what killed processes left of this file."""
    for half in path.parent.glob(f".{_literally(path.stem)}.*.part{_literally(path.suffix)}"):
        with contextlib.suppress(OSError):
            if time.time() - half.stat().st_mtime > _LEFT_BEHIND:
                half.unlink()


def _literally(name: str) -> str:
    """``name`` for `Path.glob`: its brackets, stars and question marks are themselves."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def check_writable(folder: Path) -> None:
    """Try whether a folder can be written, before the long work whose result will lie there.

    One that is not there yet is not made: what it would lie in is tried.

    Raises:
        DataError: it cannot be written.
    """
    above = (each for each in folder.absolute().parents if each.exists())
    there = folder if folder.exists() else next(above, folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise DataError(
            f"{folder} cannot be written ({error.strerror or error}). Choose another folder."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, with line ends as they are in it, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    try:
        with replacing(path) as half:
            half.write_bytes(content)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}). Make room or choose another "
            "folder; an older file of that name is as it was."
        ) from error
