"""Zip files that the course wrote itself: never packed, so never larger inside than outside."""

from __future__ import annotations

import zipfile


def grows(archive: zipfile.ZipFile) -> bool:
    """Whether more would come out than lies there: packed, entries that overlap, a lie about sizes.

    To be asked before anything is read: a film of a megabyte could unpack to a thousand.
    """
    file = archive.fp
    if file is None:
        return True
    before = file.tell()
    size = file.seek(0, 2)
    file.seek(before)
    return sum(entry.file_size for entry in archive.infolist()) > size
