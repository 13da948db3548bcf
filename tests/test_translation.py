"""pix2pix and CycleGAN archives of the published layout, whole, broken and hostile."""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from serving import Server, closed_port, gzipped, picture, tar_of, zip_of

from coursekit.core.errors import CourseError, DataError, SettingError
from coursekit.datasets import archives, translation
from coursekit.datasets.published import paired, unpaired

RED, GREEN, BLUE, GREY = (200, 0, 0), (0, 200, 0), (0, 0, 200), (90, 90, 90)
FACADES = {
    "facades/train/1.jpg": picture(RED, BLUE),
    "facades/train/2.jpg": picture(GREEN, GREY),
    "facades/train/._2.jpg": b"what a Mac leaves",
    "facades/val/3.jpg": picture(GREY, BLUE),
    "facades/test/4.jpg": picture(BLUE, RED),
    "facades/readme.txt": b"not a picture",
}
SHOES = {"edges2shoes/val/1_AB.jpg": picture(GREY, RED)}
HORSES = {
    "horse2zebra/trainA/n1.jpg": picture(RED),
    "horse2zebra/trainA/n2.jpg": picture(GREEN),
    "horse2zebra/trainB/n1.jpg": picture(GREY),
    "horse2zebra/testA/n3.jpg": picture(BLUE),
    "horse2zebra/testB/n3.jpg": picture(BLUE),
}
TAR, ZIP = "/pix2pix/datasets/facades.tar.gz", "/cyclegan/datasets/horse2zebra.zip"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    running = Server()
    running.files[TAR] = tar_of(FACADES)
    running.files["/pix2pix/datasets/edges2shoes.tar.gz"] = tar_of(SHOES)
    running.files[ZIP] = zip_of(HORSES)
    monkeypatch.setattr(translation, "ADDRESS", running.address)
    yield running
    running.close()


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("COURSEKIT_OFFLINE", raising=False)
    return tmp_path


def facades(split: str = "train", **settings: object) -> translation.Dataset:
    return paired("facades", split, 8, progress=False, **settings)


def horses(split: str = "train", **settings: object) -> tuple[translation.Dataset, ...]:
    return unpaired("horse2zebra", split, 8, progress=False, **settings)


def colours(data: translation.Dataset, field: str = "image") -> list[tuple[int, ...]]:
    flat = data.fields[field].flatten(2)
    assert torch.equal(flat.amin(2), flat.amax(2))
    return [tuple(row) for row in flat[..., 0].tolist()]


def kept(cache: Path) -> set[str]:
    files = (cache / "published").rglob("*")
    return {file.name for file in files if file.is_file() and file.suffix != ".lock"}


# --- what comes of a sound archive ---------------------------------------------------------------


def test_a_pair_is_cut_in_the_middle(server: Server) -> None:
    data = facades()
    assert colours(data) == [RED, GREEN] and colours(data, "labels") == [BLUE, GREY]
    assert data.fields["image"].shape == (2, 3, 8, 8) and data.pictures == ("image", "labels")
    assert "facades: 2 × house fronts and their labels, 8×8, real" in data.describe()


def test_the_photograph_is_the_image_on_whichever_side_it_stands(server: Server) -> None:
    data = paired("edges2shoes", "test", 8, progress=False)
    assert colours(data) == [RED] and colours(data, "edges") == [GREY]


def test_splits_are_folders(server: Server) -> None:
    assert colours(facades("test")) == [BLUE] and colours(facades("val")) == [GREY]
    with pytest.raises(SettingError, match=r"no pictures in 'valid'; it has test, train, val"):
        facades("valid")
    assert colours(facades()) == [RED, GREEN]  # a typing error costs no download
    assert server.hits[TAR] == 1


def test_count_takes_the_first(server: Server) -> None:
    assert colours(facades(count=1)) == [RED]
    assert [len(heap) for heap in horses(count=1)] == [1, 1]


def test_two_heaps(server: Server) -> None:
    a, b = horses()
    assert colours(a) == [RED, GREEN] and colours(b) == [GREY]
    assert a.info.name == "horse2zebra A" and b.info.content == "zebras"
    assert [len(heap) for heap in horses("test")] == [1, 1]
    assert server.hits[ZIP] == 1


def test_a_middle_square_is_cut_from_wide_pictures(server: Server) -> None:
    wide = picture(RED, GREEN, BLUE)
    server.files[ZIP] = zip_of({**HORSES, "horse2zebra/trainB/n1.jpg": wide})
    assert colours(horses()[1]) == [GREEN]


def test_what_was_read_once_needs_no_decoding(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = facades()
    monkeypatch.setattr(archives, "members", None)
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    assert facades().digest() == first.digest()


def test_an_unreadable_picture_is_named_and_left_out(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files[TAR] = tar_of({**FACADES, "facades/train/1.jpg": b"no picture"})
    assert colours(facades()) == [GREEN]
    assert "Skipped 1 in facades.tar.gz, not readable as pictures: 1.jpg" in capsys.readouterr().out


def test_an_archive_put_there_by_hand_is_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    with pytest.raises(DataError, match=r"COURSEKIT_OFFLINE is set.*put the file there as") as told:
        facades()
    path = Path(str(told.value).rpartition(" as ")[2].removesuffix("."))
    assert not path.parent.exists()
    path.parent.mkdir(parents=True)
    path.write_bytes(tar_of(FACADES))
    assert colours(facades()) == [RED, GREEN]


def test_unknown_names_and_settings() -> None:
    with pytest.raises(SettingError, match=r"'fassades'; choose one of facades, maps"):
        paired("fassades")
    with pytest.raises(SettingError, match="horse2zebra"):
        unpaired("horse2cow")
    with pytest.raises(SettingError, match="'train' or 'test'"):
        horses("val")
    for settings in ({"size": 0}, {"count": 0}):
        for load in (paired, unpaired):
            with pytest.raises(SettingError, match="must be 1 or more"):
                load(**settings)


# --- the digest ----------------------------------------------------------------------------------


def test_the_digest_is_told_once_and_then_holds(
    server: Server, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    sha256 = hashlib.sha256(server.files[TAR]).hexdigest()
    facades()
    assert f"facades.tar.gz: 0.0 MB, sha256={sha256!r}" in capsys.readouterr().out
    facades(sha256=sha256.upper())
    with pytest.raises(DataError, match=r"does not have the SHA-256 0000.*delete it"):
        facades(sha256="0" * 64)
    assert kept(cache) == {"facades.tar.gz"}


def test_another_file_than_the_known_one_is_refused(server: Server, cache: Path) -> None:
    with pytest.raises(DataError, match="has another SHA-256"):
        facades(sha256="0" * 64)
    assert kept(cache) == set()
    sha256 = hashlib.sha256(server.files[TAR]).hexdigest()
    assert colours(facades(sha256=sha256)) == [RED, GREEN]


# --- downloads that go wrong ---------------------------------------------------------------------


def one_sentence(error: CourseError) -> bool:
    text = str(error)
    return "\n" not in text and ". " not in text


def test_a_download_that_breaks_off_leaves_nothing(server: Server, cache: Path) -> None:
    server.short |= {TAR, ZIP}
    for load in (facades, horses):
        with pytest.raises(DataError, match="the download broke off") as told:
            load()
        assert one_sentence(told.value)
    assert kept(cache) == set()
    server.short.clear()
    assert len(facades()) == 2 and len(horses()[0]) == 2


def test_absent_and_unreachable(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server.files[TAR]
    with pytest.raises(DataError, match=r"127\.0\.0\.1:\d+ answers 404"):
        facades()
    monkeypatch.setattr(translation, "ADDRESS", closed_port())
    with pytest.raises(DataError, match="cannot be reached") as told:
        facades()
    assert one_sentence(told.value) and kept(cache) == set()


def test_a_cache_that_cannot_be_written(server: Server, cache: Path) -> None:
    (cache / "published").write_text("a file where the folder should be")
    with pytest.raises(DataError, match="the cache cannot be written"):
        facades()


# --- archives that are damaged, of another layout or hostile -------------------------------------


def _half(files: dict[str, bytes], pack: Callable[..., bytes]) -> bytes:
    whole = pack(files)
    return whole[: len(whole) // 2]


def _flipped() -> bytes:
    """A picture in a stored (not compressed) zip entry whose checksum does not fit."""
    whole = bytearray(zip_of(HORSES))
    whole[60] ^= 255
    return bytes(whole)


def _bad_checksum() -> bytes:
    whole = bytearray(tar_of(FACADES))
    whole[-6] ^= 255
    return bytes(whole)


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        (TAR, b"<html>please log in</html>", "damaged"),
        (ZIP, b"<html>please log in</html>", "damaged"),
        (TAR, b"", "damaged"),
        (TAR, _half(FACADES, tar_of), "damaged"),
        (ZIP, _half(HORSES, zip_of), "damaged"),
        (ZIP, _flipped(), "damaged"),
        (TAR, _bad_checksum(), "damaged"),
        (TAR, gzipped(b"no tar in here" * 100), "damaged"),
        (TAR, tar_of({"facades/1.jpg": picture(RED, BLUE)}), "another layout"),
        (ZIP, zip_of({"trainA.jpg": picture(RED)}), "another layout"),
        (TAR, tar_of({"facades/train/1.jpg": picture(RED)}), "24 × 24 pixels, not two squares"),
        (TAR, tar_of({"facades/train/1.jpg": b"no picture"}), "No picture in"),
        (ZIP, zip_of({"horse2zebra/trainA/1.jpg": b"no picture"}), "No picture in"),
    ],
    # Archives hold the time they were made at: in a test's name it would differ between workers.
    ids=[
        "tar: a web page",
        "zip: a web page",
        "tar: empty",
        "tar: half",
        "zip: half",
        "zip: checksum",
        "tar: checksum",
        "gzip without tar",
        "tar: other folders",
        "zip: other folders",
        "tar: one picture, not two",
        "tar: no picture",
        "zip: no picture",
    ],
)
def test_a_useless_archive_is_not_kept(
    server: Server, cache: Path, path: str, content: bytes, message: str
) -> None:
    server.files[path] = content
    load = facades if path == TAR else horses
    with pytest.raises(DataError, match=message) as told:
        load()
    assert one_sentence(told.value) and "it was deleted" in str(told.value)
    assert kept(cache) == set() and not (cache / "datasets").exists()


def test_one_that_lay_there_already_is_not_deleted(cache: Path) -> None:
    path = cache / "published" / "pix2pix" / "facades.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(_half(FACADES, tar_of))
    with pytest.raises(DataError, match=r"damaged.*; delete .*facades\.tar\.gz to fetch it again"):
        facades()
    assert path.is_file()


def _entry(name: str, **facts: object) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    for key, value in facts.items():
        setattr(entry, key, value)
    return entry


def _link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> bytes:
    return tar_of(FACADES, _entry(name, type=kind, linkname=target))


def _zip_link() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("horse2zebra/trainA/1.jpg")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        tar_of({"../../evil.jpg": picture(RED, BLUE)}),
        tar_of({"facades/train/../../../evil.jpg": picture(RED, BLUE)}),
        tar_of({"/etc/evil.jpg": picture(RED, BLUE)}),
        tar_of({"C:\\evil.jpg": picture(RED, BLUE)}),
        tar_of({"facades\\..\\..\\evil.jpg": picture(RED, BLUE)}),
        _link("facades/train/9.jpg", "/etc/passwd"),
        _link("facades/train/9.jpg", "facades/train/1.jpg", tarfile.LNKTYPE),
        tar_of({}, _entry("facades/train/9.jpg", type=tarfile.CHRTYPE)),
    ],
)
def test_entries_that_reach_outside_a_tar_are_refused(
    server: Server, cache: Path, content: bytes
) -> None:
    server.files[TAR] = content
    with pytest.raises(DataError, match=r"refused: its entry .* (points outside|is a link)"):
        facades()
    assert kept(cache) == set()


@pytest.mark.parametrize(
    "content",
    [
        zip_of({"../evil.jpg": picture(RED)}),
        zip_of({"/etc/evil.jpg": picture(RED)}),
        zip_of({**HORSES, "horse2zebra/trainA/../../../evil.jpg": picture(RED)}),
        _zip_link(),
    ],
)
def test_entries_that_reach_outside_a_zip_are_refused(
    server: Server, cache: Path, content: bytes
) -> None:
    server.files[ZIP] = content
    with pytest.raises(DataError, match=r"refused: its entry .* (points outside|is a link)"):
        horses()
    assert kept(cache) == set()


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(archives, "MOST_BYTES", 100_000)
    return 100_000


def test_a_huge_entry_is_refused_before_it_is_read(server: Server, small_limit: int) -> None:
    bomb = bytes(small_limit + 1)
    server.files[TAR] = tar_of({"facades/train/1.jpg": bomb})
    server.files[ZIP] = zip_of({"horse2zebra/trainA/1.jpg": bomb})
    for load in (facades, horses):
        with pytest.raises(DataError, match="has 100,001 bytes, more than 100,000"):
            load()


def test_many_entries_that_grow_too_much_are_refused(server: Server, small_limit: int) -> None:
    bombs = {str(index): bytes(small_limit) for index in range(10)}
    server.files[TAR] = tar_of({f"facades/train/{name}.jpg": b for name, b in bombs.items()})
    server.files[ZIP] = zip_of({f"horse2zebra/trainA/{n}.jpg": b for n, b in bombs.items()})
    for load in (facades, horses):
        with pytest.raises(DataError, match=r"refused: .* more than 400,000 bytes"):
            load()


def test_a_tar_whose_header_is_the_bomb_is_refused(server: Server, small_limit: int) -> None:
    """A file name of a gigabyte, which tarfile would read into memory as a whole."""
    header = _entry("././@LongLink", type=tarfile.GNUTYPE_LONGNAME, size=10**9)
    server.files[TAR] = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(10**6))
    with pytest.raises(DataError, match="refused: it grows to more than"):
        facades()


def test_a_zip_that_lies_about_a_size_is_not_believed(server: Server, small_limit: int) -> None:
    whole = bytearray(zip_of({"horse2zebra/trainA/1.jpg": bytes(10**6)}))
    directory = whole.rfind(b"PK\x01\x02")
    for offset in (22, directory + 24):  # the size in the entry's header and in the directory
        whole[offset : offset + 4] = (1000).to_bytes(4, "little")
    server.files[ZIP] = bytes(whole)
    with pytest.raises(DataError, match="damaged"):
        horses()


def test_a_picture_of_too_many_pixels_is_left_out(
    server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 1000)
    large = picture(RED, BLUE, side=30)
    small = picture(GREEN, GREY, side=20)
    server.files[TAR] = tar_of({"facades/train/1.jpg": large, "facades/train/2.jpg": small})
    assert colours(facades()) == [GREEN]
    assert "1.jpg" in capsys.readouterr().out
