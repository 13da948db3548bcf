"""Devices and presets that this machine does not have: one sentence wherever they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hard_trainers import bytes_of, pictures

from coursekit import cli, doctor, inversion, progan, stylegan2, stylegan2_adain
from coursekit.core import metrics, recognise, runtime, segmenter, training
from coursekit.core.errors import SettingError
from coursekit.datasets.crops import Crops
from coursekit.recipes import dcgan as dcgan_recipe

ENTRANCES: dict[str, Callable[[str], object]] = {
    "find_device": runtime.find_device,
    "a generator of random numbers": lambda device: runtime.generator(0, device),
    "batches": lambda device: training.Batches(torch.rand(4, 2), 2, device=device),
    "a data set": lambda device: pictures(2, 3, 4).batch([0], device),
    "crops": lambda device: Crops([torch.rand(1, 3, 8, 8)], 4).batch([0], device),
    "a recogniser to train": lambda device: recognise.fit(
        bytes_of(4, 1, 16, 16),
        {"side": torch.arange(4) % 2},
        {"side": 2},
        steps=1,
        batch=2,
        size=16,
        device=device,
    ),
    "a recogniser": lambda device: recognise.load("digits", device),
    "a segmenter": lambda device: segmenter.load(device=device),
    "features of VGG": lambda device: metrics.vgg_extractor(device=device),
    "features of digits": metrics.digit_extractor,
    "noise": lambda device: inversion.white_noise(8, device=device),
    "ProGAN": lambda device: progan.networks(
        progan.Widths(8, base=8, most=4), latent=4, device=device
    ),
    "StyleGAN2": lambda device: stylegan2_adain.make_game(
        stylegan2_adain.Variant(), stylegan2.Sizes(8, base=8, most=4), latent=4, device=device
    ),
}


@pytest.fixture
def cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that is built for CPUs alone."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)


@pytest.mark.usefixtures("cpu_alone")
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_a_device_that_is_not_there_is_one_sentence_at_every_entrance(entrance: str) -> None:
    cases = {
        "cuda": "'cuda' was asked for, but this torch is built for CPUs alone",
        "mps": "'mps' was asked for, but this torch sees no Apple GPU",
        "tpu": r"There is no device 'tpu'\. Choose one of cpu, cuda, mps",
        "cuda:x": r"There is no device 'cuda:x'\.",
    }
    for device, told in cases.items():
        with pytest.raises(SettingError, match=told):
            ENTRANCES[entrance](device)
    ENTRANCES[entrance]("cpu")


def test_a_cuda_build_without_a_gpu_says_another_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(SettingError, match="torch sees no GPU here"):
        runtime.find_device("cuda:1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert runtime.find_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(SettingError, match="there are 2 GPUs, counted from 0"):
        runtime.find_device("cuda:2")


@pytest.mark.parametrize("name", [None, 3.5, [], "gpu", ""])
def test_what_is_no_device_is_refused(name: object) -> None:
    with pytest.raises(SettingError, match=r"There is no device .*Choose one of"):
        runtime.find_device(name)  # type: ignore[arg-type]


@pytest.mark.usefixtures("cpu_alone")
def test_the_variable_chooses_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COURSEKIT_PRESET", raising=False)
    monkeypatch.setenv("COURSEKIT_DEVICE", "")
    assert runtime.best_device() == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert runtime.best_device().type == "cuda"
    monkeypatch.setenv("COURSEKIT_DEVICE", "cpu")
    assert runtime.best_device() == torch.device("cpu")
    assert runtime.setup(quiet=True).preset == "quick"
    monkeypatch.setenv("COURSEKIT_DEVICE", "gpu")
    with pytest.raises(SettingError, match="There is no device 'gpu'"):
        runtime.setup(quiet=True)
    found = doctor._device(torch)
    assert not found.ok and "'gpu'" in found.found and "COURSEKIT_DEVICE" in found.mend


@pytest.mark.usefixtures("cpu_alone")
def test_full_on_a_cpu_is_told_to_take_hours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COURSEKIT_DEVICE", raising=False)
    assert runtime.setup("full").preset == "full"
    assert "meant for a GPU, and this is a CPU" in capsys.readouterr().out
    runtime.setup("full", quiet=True)
    runtime.setup("quick")
    assert "meant for a GPU" not in capsys.readouterr().out


@pytest.mark.usefixtures("cpu_alone")
def test_the_command_says_it_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COURSEKIT_DEVICE", "tpu")
    for name, value in {"WIDTH": 2, "SIZE": 16, "BATCH": 4, "COUNT": 8}.items():
        monkeypatch.setattr(dcgan_recipe, name, value)
    command = ["train", "dcgan", "--steps", "1", "--folder", str(tmp_path)]
    assert cli.main(command) == 1
    assert capsys.readouterr().err == "There is no device 'tpu'. Choose one of cpu, cuda, mps.\n"
    assert not list(tmp_path.iterdir())
