"""Archives of pictures: fetched whole or not at all, read without unpacking, bombs refused."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from coursekit.core import runtime
from coursekit.core.errors import DataError

CONNECT_SECONDS = 5.0
READ_SECONDS = 30.0
LOCK_SECONDS = 3600.0
MOST_BYTES = 64 * 2**20  # of one file in an archive: a large picture has a tenth of that
MOST_ENTRIES = 400_000  # the largest of the published sets has a third of that
MOST_GROWTH = 10  # pictures are compressed already: an archive of them hardly grows

Wanted = Callable[[PurePosixPath], bool]


def fetch(url: str, path: Path, *, sha256: str | None = None, progress: bool = True) -> bool:
    """Make sure that ``path`` holds what lies at ``url``; True when it was fetched just now.

    A file that is there already is used as it is. Without ``sha256`` nothing but the connection
    vouches for a file; its digest is printed, to be given from then on.

    Raises:
        DataError: the file is not to be had, or it has another SHA-256. Nothing is left behind.
    """
    if not path.is_file():
        _refuse_offline(path)
        return _download(url, path, sha256, progress)
    if sha256 is not None and _sha256(path) != sha256.lower():
        raise DataError(f"{path} does not have the SHA-256 {sha256}; delete it to fetch it again.")
    return False


def _refuse_offline(path: Path) -> None:
    if runtime.offline():
        raise _missing(path, "COURSEKIT_OFFLINE is set")


def _missing(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path.name} is not in the cache and could not be fetched ({reason}); try again online, "
        f"or put the file there as {path}."
    )


def _sha256(path: Path) -> str:
    import pooch

    return pooch.file_hash(str(path), alg="sha256")


def _download(url: str, path: Path, sha256: str | None, progress: bool) -> bool:
    from filelock import FileLock, Timeout

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock"), timeout=LOCK_SECONDS):
            if path.is_file():  # another process was faster
                return False
            _retrieve(url, path, sha256, progress)
    except Timeout:
        raise _missing(path, "another process has been fetching it for too long") from None
    except OSError as error:
        reason = f"the cache cannot be written: {error.strerror or error}"
        raise _missing(path, reason) from error
    if sha256 is None:
        size = path.stat().st_size / 1e6
        print(f"Fetched {path.name}: {size:,.1f} MB, sha256={_sha256(path)!r}")
    return True


def _retrieve(url: str, path: Path, sha256: str | None, progress: bool) -> None:
    """To a temporary name, size and hash checked, then moved into place: pooch does it."""
    import pooch
    import requests

    get = pooch.HTTPDownloader(progressbar=progress, timeout=(CONNECT_SECONDS, READ_SECONDS))
    known, host = f"sha256:{sha256.lower()}" if sha256 else None, urlsplit(url).netloc
    logger = pooch.get_logger()
    before, logger.disabled = logger.disabled, True  # it prints absolute paths
    try:
        pooch.retrieve(url, known, fname=path.name, path=path.parent, downloader=get)
    except requests.HTTPError as error:
        status = getattr(error.response, "status_code", "with an error")
        raise _missing(path, f"{host} answers {status}") from error
    except requests.exceptions.ChunkedEncodingError as error:
        raise _missing(path, "the download broke off") from error
    except requests.RequestException as error:
        raise _missing(path, f"{host} cannot be reached") from error
    except ValueError as error:  # what pooch raises for another SHA-256
        raise _missing(path, "what came has another SHA-256") from error
    finally:
        logger.disabled = before


# --- reading -----------------------------------------------------------------------------------


def members(path: Path, wanted: Wanted) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The files of a .zip or .tar.gz that are ``wanted``, in the archive's order.

    Nothing is unpacked to disk. The archive is read to its end, so that damage is found.

    Raises:
        DataError: it is damaged, has an entry that points outside it or is no plain file, one
            of more than `MOST_BYTES`, more than `MOST_ENTRIES` of them, or grows to more than
            `MOST_GROWTH` times its size.
    """
    read = _zip_members if path.suffix == ".zip" else _tar_members
    try:
        yield from read(path, wanted)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise DataError(f"The archive {path.name} is damaged ({error}).") from error
    except DataError:
        raise
    except RuntimeError as error:  # zipfile: encrypted, or a compression that it does not know
        raise DataError(f"The archive {path.name} cannot be read ({error}).") from error


def _refuse(path: Path, name: str, why: str) -> DataError:
    return DataError(f"The archive {path.name} is refused: its entry {name[:80]!r} {why}.")


def _checked(path: Path, number: int, name: str, size: int, plain: bool) -> PurePosixPath:
    if number >= MOST_ENTRIES:
        raise _refuse(path, name, f"is one too many; {MOST_ENTRIES:,} entries are admitted")
    inside = PurePosixPath(name.replace("\\", "/"))
    if inside.is_absolute() or ".." in inside.parts or ":" in name.split("/")[0]:
        raise _refuse(path, name, "points outside the archive")
    if not plain:
        raise _refuse(path, name, "is a link or a device, not a file")
    if size > MOST_BYTES:
        raise _refuse(path, name, f"has {size:,} bytes, more than {MOST_BYTES:,}")
    return inside


def _most_in_all(path: Path) -> int:
    return max(4 * MOST_BYTES, MOST_GROWTH * path.stat().st_size)


def _zip_members(path: Path, wanted: Wanted) -> Iterator[tuple[PurePosixPath, bytes]]:
    with zipfile.ZipFile(path) as archive:
        total, most = 0, _most_in_all(path)
        for number, entry in enumerate(archive.infolist()):
            kind = stat.S_IFMT(entry.external_attr >> 16)
            plain = kind in (0, stat.S_IFREG, stat.S_IFDIR)
            inside = _checked(path, number, entry.filename, entry.file_size, plain)
            total += entry.file_size
            if total > most:
                raise _refuse(path, entry.filename, f"makes it more than {most:,} bytes")
            if not entry.is_dir() and wanted(inside):
                with archive.open(entry) as file:
                    yield inside, file.read(MOST_BYTES)


def _tar_members(path: Path, wanted: Wanted) -> Iterator[tuple[PurePosixPath, bytes]]:
    with gzip.open(path) as unzipped:
        stream = _Limited(unzipped, path)
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for number, entry in enumerate(archive):
                plain = entry.isreg() or entry.isdir()
                inside = _checked(path, number, entry.name, entry.size, plain)
                if entry.isreg() and wanted(inside):
                    file = archive.extractfile(entry)
                    yield inside, file.read() if file else b""
        while stream.read(2**20):  # to the end: only there is gzip's checksum
            pass


class _Limited(io.RawIOBase):
    """A stream that raises DataError when it gives more than `_most_in_all`."""

    def __init__(self, file: gzip.GzipFile, path: Path) -> None:
        self._file, self._path = file, path
        self._left = _most_in_all(path)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(min(size, 2**20) if size >= 0 else 2**20)
        self._left -= len(data)
        if self._left < 0:
            raise DataError(
                f"The archive {self._path.name} is refused: it grows to more than "
                f"{_most_in_all(self._path):,} bytes."
            )
        return data
