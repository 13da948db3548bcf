"""A training as a film: small sample grids and the losses beside them, kept in one file."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from coursekit.core import runtime
from coursekit.core.atomic import replacing
from coursekit.core.errors import DataError, SettingError
from coursekit.core.images import load_image, tile, to_pil
from coursekit.core.zips import grows

Frame = tuple[int, bytes, dict[str, float]]
_QUALITY = 88


def frame_steps(last: int, count: int) -> list[int]:
    """About ``count`` steps up to ``last``, denser at the beginning: last · (i / count)²."""
    return sorted({max(round(last * (i / count) ** 2), 1) for i in range(1, count + 1)})


@dataclass
class Timeline:
    """Sample grids along a training.

    Attributes:
        frames: (step, JPEG file, loss terms at that step), in order.
        about: what was trained on what.
    """

    frames: list[Frame] = field(default_factory=list)
    about: str = ""

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def steps(self) -> list[int]:
        """The step of each frame."""
        return [step for step, _, _ in self.frames]

    def add(self, step: int, pictures: Tensor, terms: dict[str, float]) -> None:
        """Append a frame: pictures (N, C, H, W) in [0, 1]. A step that is there already stays."""
        if self.frames and self.frames[-1][0] >= step:
            return
        buffer = io.BytesIO()
        to_pil(tile(pictures)).save(buffer, "jpeg", quality=_QUALITY)
        self.frames.append((step, buffer.getvalue(), dict(terms)))

    def picture(self, index: int) -> Tensor:
        """Frame ``index`` as a tensor (1, 3, H, W) in [0, 1]."""
        return load_image(Image.open(io.BytesIO(self.frames[index][1])))

    def pictures(self) -> list[Tensor]:
        """All frames as tensors (1, 3, H, W)."""
        return [self.picture(index) for index in range(len(self))]

    def thinned(self, count: int) -> Timeline:
        """At most ``count`` of the frames, evenly chosen, the first and the last among them.

        Raises:
            SettingError: a count below 1.
        """
        if count < 1:
            raise SettingError(f"{count=} leaves no frame; keep 1 or more.")
        if len(self) <= count:
            return self
        where = torch.linspace(0, len(self) - 1, count).round().int().tolist()
        return Timeline([self.frames[index] for index in where], self.about)

    def save(self, path: Path | str) -> Path:
        """Write one zip file: the JPEG files and ``timeline.json``.

        Raises:
            DataError: it cannot be written. An older file of that name is still there.
        """
        path = Path(path)
        try:
            with replacing(path) as half:
                self._write(half)
        except OSError as error:
            raise DataError(f"The timeline {path} cannot be written: {error}.") from error
        return path

    def _write(self, path: Path) -> None:
        entries = [{"step": step, "terms": terms} for step, _, terms in self.frames]
        about = json.dumps({"about": self.about, "frames": entries}, indent=1)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            # A fixed date: the same training gives the same file.
            archive.writestr(zipfile.ZipInfo("timeline.json"), about)
            for step, jpeg, _ in self.frames:
                archive.writestr(zipfile.ZipInfo(f"{step:08d}.jpg"), jpeg)

    @classmethod
    def load(cls, path: Path | str) -> Timeline:
        """Read what `save` wrote.

        Raises:
            DataError: there is no such file, or it is no timeline.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                if grows(archive):
                    raise zipfile.BadZipFile("larger inside than outside")
                content = json.loads(archive.read("timeline.json"))
                frames = [
                    (entry["step"], archive.read(f"{entry['step']:08d}.jpg"), entry["terms"])
                    for entry in content["frames"]
                ]
            return cls(frames, content["about"])
        except FileNotFoundError as error:
            raise DataError(f"There is no timeline {path}. Train the topic to make one.") from error
        except Exception as error:  # a damaged or foreign file can raise almost anything
            raise DataError(f"{path} is damaged or is no training timeline.") from error


def of_topic(topic: str, name: str = "course") -> Timeline:
    """The timeline that was written when the course's checkpoint of a topic was trained.

    Raises:
        DataError: the topic has none.
    """
    return Timeline.load(
        runtime.data_dir() / "checkpoints" / topic / f"{name}.timeline.zip",
    )
