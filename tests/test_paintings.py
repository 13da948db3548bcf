"""The paintings' cache against a server on this machine that behaves well, badly, or not at all."""

from __future__ import annotations

import hashlib
import io
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coursekit.core.errors import DataError
from coursekit.datasets import paintings, photos, styles


def picture(seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG")
    return buffer.getvalue()


GOOD = picture()


class Server:
    """Serves /good, /slow, /wrong (another file), /short (breaks off) and 404; counts requests."""

    def __init__(self) -> None:
        self.hits: Counter[str] = Counter()
        hits = self.hits

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hits[self.path] += 1
                if self.path == "/slow":
                    time.sleep(0.5)
                body = {"/good": GOOD, "/slow": GOOD, "/wrong": picture(1), "/short": GOOD}
                if self.path not in body:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(body[self.path])))
                self.end_headers()
                sent = body[self.path]
                self.wfile.write(sent[: len(sent) // 2] if self.path == "/short" else sent)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.setenv("COURSEKIT_CACHE", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("COURSEKIT_OFFLINE", raising=False)
    paintings.forget_failures()
    yield tmp_path
    paintings.forget_failures()


def serve(monkeypatch: pytest.MonkeyPatch, url: str, name: str = "starry_night") -> None:
    """Let the registry's entry point at ``url`` and expect the good file."""
    entry = replace(paintings.PAINTINGS[name], url=url, sha256=hashlib.sha256(GOOD).hexdigest())
    monkeypatch.setitem(paintings.PAINTINGS, name, entry)


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def left_over(cache: Path) -> set[str]:
    return {file.name for file in (cache / "paintings").iterdir() if file.suffix != ".lock"}


def test_a_painting_is_fetched_once_and_kept(
    server: Server, monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    serve(monkeypatch, server.address + "/good")
    assert not paintings.cached("starry_night")
    path = paintings.fetch("starry_night", progress=False)
    assert path.read_bytes() == GOOD and paintings.cached("starry_night")
    assert paintings.fetch("starry_night") == path
    assert server.hits["/good"] == 1
    assert left_over(empty_cache) == {"starry_night.jpg"}


def test_style_returns_the_painting_without_a_word(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, server.address + "/good")
    paintings.fetch("starry_night", progress=False)
    capsys.readouterr()
    found = paintings.style("starry_night", 32, crop=True)
    assert found.image.shape == (1, 3, 32, 32)
    assert (found.name, found.licence) == ("starry_night", "public domain")
    assert not found.painted_by_project and found.in_place_of is None
    assert found.caption == "The Starry Night (Vincent van Gogh, 1889)"
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("page", "reason"),
    [("/wrong", "has changed"), ("/short", "broke off"), ("/absent", "answers 404")],
)
def test_a_bad_answer_is_told_and_not_asked_for_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, empty_cache: Path, page: str, reason: str
) -> None:
    serve(monkeypatch, server.address + page)
    for _ in range(3):
        with pytest.raises(DataError, match=reason):
            paintings.fetch("starry_night", progress=False)
    assert server.hits[page] == 1
    assert left_over(empty_cache) == set()
    # The address failed, not the host: another painting from there still comes.
    serve(monkeypatch, server.address + "/good", "the_scream")
    assert paintings.fetch("the_scream", progress=False).read_bytes() == GOOD


def test_an_unreachable_host_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    address = closed_port()
    serve(monkeypatch, address + "/a")
    serve(monkeypatch, address + "/b", "the_scream")
    with pytest.raises(DataError, match="cannot be reached"):
        paintings.fetch("starry_night", progress=False)

    def refuse(*_: object) -> None:
        raise AssertionError("the host was tried again")

    monkeypatch.setattr(paintings, "_download", refuse)
    with pytest.raises(DataError, match="cannot be reached"):
        paintings.fetch("the_scream", progress=False)
    paintings.forget_failures()
    with pytest.raises(AssertionError, match="tried again"):
        paintings.fetch("the_scream", progress=False)


def test_a_damaged_file_is_set_aside_and_fetched_again(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, server.address + "/good")
    path = paintings.fetch("starry_night", progress=False)
    path.write_bytes(GOOD[:100])
    assert not paintings.cached("starry_night")
    assert paintings.fetch("starry_night", progress=False).read_bytes() == GOOD
    assert path.with_suffix(".corrupt").read_bytes() == GOOD[:100]
    assert "set aside" in capsys.readouterr().out


def test_offline_one_sentence_names_both_pictures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], empty_cache: Path
) -> None:
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    found = paintings.style("starry_night", 32)
    assert found.painted_by_project and found.name == "night_strokes"
    assert found.in_place_of == "The Starry Night" and found.licence == "CC BY 4.0"
    assert "in place of The Starry Night" in found.caption
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    for part in ("The Starry Night", found.title, "used in its place", "coursekit fetch paintings"):
        assert part in out
    assert str(empty_cache) not in out  # notebooks are committed with their outputs


def test_offline_a_cached_painting_is_used(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(monkeypatch, server.address + "/good")
    paintings.fetch("starry_night", progress=False)
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    assert paintings.style("starry_night", 32).name == "starry_night"
    assert capsys.readouterr().out == ""


def test_the_error_names_the_two_ways_out(
    monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    with pytest.raises(paintings.MissingPainting) as caught:
        paintings.fetch("great_wave")
    assert "connect to the internet once" in str(caught.value)
    assert str(empty_cache / "paintings" / "great_wave.jpg") in str(caught.value)


def test_a_cache_that_cannot_be_written_is_a_named_error(
    monkeypatch: pytest.MonkeyPatch, empty_cache: Path
) -> None:
    (empty_cache / "paintings").write_text("a file where the folder should be")
    serve(monkeypatch, closed_port() + "/a")
    with pytest.raises(DataError, match="cannot be written"):
        paintings.fetch("starry_night", progress=False)
    assert paintings.style("starry_night", 32).painted_by_project


def test_two_processes_fetch_it_once(server: Server, empty_cache: Path, checkout: Path) -> None:
    script = (
        "from dataclasses import replace; from coursekit.datasets import paintings as p; "
        "p.PAINTINGS['starry_night'] = replace(p.PAINTINGS['starry_night'], "
        f"url={server.address + '/slow'!r}, sha256={hashlib.sha256(GOOD).hexdigest()!r}); "
        "p.fetch('starry_night', progress=False)"
    )
    both = [subprocess.Popen([sys.executable, "-c", script], cwd=checkout) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert server.hits["/slow"] == 1
    assert left_over(empty_cache) == {"starry_night.jpg"}


def test_content_stands_in_with_a_photograph(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COURSEKIT_OFFLINE", "1")
    found = paintings.content("tubingen", 32)
    assert (found.name, found.painted_by_project) == ("china", False)
    assert "Neckarfront" in capsys.readouterr().out
    assert paintings.content("cat", 32).name == "chelsea"
    assert capsys.readouterr().out == ""


def test_names_of_the_project_work_as_styles(capsys: pytest.CaptureFixture[str]) -> None:
    found = paintings.style("pebbles", 32)
    assert found.painted_by_project and found.in_place_of is None
    assert capsys.readouterr().out == ""


def test_unknown_names_list_what_there_is() -> None:
    with pytest.raises(DataError, match=r"'mona_lisa'.*starry_night.*night_strokes"):
        paintings.style("mona_lisa")
    with pytest.raises(DataError, match=r"'dog'.*tubingen.*chelsea"):
        paintings.content("dog")
    with pytest.raises(DataError, match="starry_night"):
        paintings.cached("mona_lisa")


@pytest.mark.parametrize("entry", paintings.PAINTINGS.values(), ids=lambda entry: entry.name)
def test_every_entry_is_complete(entry: paintings.Painting) -> None:
    assert entry.url.startswith("https://") and entry.url.endswith(".jpg")
    assert len(entry.sha256) == 64 and int(entry.sha256, 16)
    assert entry.licence in ("public domain", "CC BY 3.0")
    assert entry.stand_in in (styles.STYLES if entry.kind == "painting" else photos.PHOTOS)
