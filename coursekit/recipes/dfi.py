"""The recipe of topic 06: a network that recognises rendered people."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from coursekit import dfi_identity as identity
from coursekit.core import checkpoints, runtime, training
from coursekit.core.recognise import Augmentation
from coursekit.datasets.base import Dataset

PEOPLE, PICTURES, SIZE, BATCH = 1000, 12, 96, 64
HELD_OUT = 250  # other people, four pictures each
RATE, MARGIN = 3e-3, 0.15
CENTRE_SIZE = 0.05  # small, so that Adam's steps can turn a centre


def course(folder: Path, *, steps: int = 2_500, seed: int = 0, progress: bool = True) -> list[Path]:
    """Train the identity network that notebook 06 loads.

    1,000 rendered people with 12 pictures each, in which hair, beard, moustache, glasses, pose,
    expression and light change; cosine-margin loss, its margin growing over the first quarter; Adam
    under a one-cycle schedule; the averaged network. A second head reads the measures of the head
    (`dfi_identity.MEASURES`) and is thrown away at the end: who it is among a thousand is little to
    learn from at first, and with that help the network gets going much sooner. A few minutes go
    into drawing the pictures before the first step.

    Args:
        folder: keeps ``checkpoint.pt`` while it trains, and the result.
        steps: training steps.
        seed: of people, weights and order.
        progress: show a progress bar.

    Returns:
        The checkpoint; its header holds the verification of 250 people that it never saw.
    """
    data = identity.people(PEOPLE, PICTURES, size=SIZE, seed=seed)
    network = identity.IdentityNetwork(size=SIZE, seed=seed).to(runtime.best_device())
    result, average = train(network, data, steps, seed, folder, progress)
    if result.interrupted:
        return []
    return [save(average, folder / "identity.safetensors", result.steps, seed)]


class Heads(nn.Module):
    """What is thrown away after training: a centre a person, and a reader of measures."""

    def __init__(self, network: identity.IdentityNetwork, people: int) -> None:
        super().__init__()
        start = torch.randn(people, network.head.out_features, generator=runtime.generator(1))
        self.centres = nn.Parameter(CENTRE_SIZE * start)
        self.measures = nn.Linear(network.head.in_features, len(identity.MEASURES))


def train(
    network: identity.IdentityNetwork,
    data: Dataset,
    steps: int,
    seed: int,
    folder: Path | None = None,
    progress: bool = True,
) -> tuple[training.TrainingResult, identity.IdentityNetwork]:
    """Fit ``network`` to the people of ``data``; returns the history and the averaged network."""
    device = network.head.weight.device
    network.to(memory_format=torch.channels_last)
    heads = Heads(network, 1 + int(data.fields["person"].max())).to(device)
    data = Dataset(data.info, {**data.fields, "measures": identity.standardised(data)})
    batches = training.Batches(data, BATCH, seed=seed, device=device)
    optimiser = torch.optim.Adam([*network.parameters(), *heads.parameters()], RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, RATE, total_steps=steps, pct_start=0.15
    )
    average, generator = training.EMA(network, 0.998), runtime.generator(seed)
    # Little of each: how large a head is says who it is.
    augment = Augmentation(shift=1, rotation=1, scale=0.005, noise=0.02)

    def step(number: int) -> training.Terms:
        network.train()
        batch = next(batches)
        features = network.features(augment.apply(batch["image"], generator))
        margin = MARGIN * min(1.0, 4 * number / steps)
        who = identity.cosine_margin_loss(
            network.head(features), heads.centres, batch["person"], margin=margin
        )
        measures = 4 * F.mse_loss(heads.measures(features), batch["measures"])
        optimiser.zero_grad()
        (who + measures).backward()
        optimiser.step()
        schedule.step()
        return {"who": who, "measures": measures}

    state = {"network": network, "heads": heads, "optimiser": optimiser, "average": average}
    state |= {"schedule": schedule, "batches": batches, "generator": generator}
    result = training.run(
        step, state, steps=steps, folder=folder, seed=seed, progress=progress, log_every=50
    )
    return result, average.module


def save(network: identity.IdentityNetwork, path: Path, steps: int, seed: int) -> Path:
    """Measure the network on people that it never saw, and write both down."""
    sets = {"people": {}, "people of one skin and eye colour": {"skin": 2, "eye_colour": 0}}
    network = network.half().float()  # as the file keeps it
    figures = {}
    for number, (name, fixed) in enumerate(sets.items()):
        unseen = identity.people(HELD_OUT, 4, size=SIZE, seed=seed + 1000 + number, **fixed)
        for kind, estimate in identity.verification(network, unseen).items():
            figures[f"{kind}, {name}"] = asdict(estimate)
            print(f"{name}: {estimate}", flush=True)
    about = {
        "recipe": "dfi course",
        "data": f"{PEOPLE:,} rendered people × {PICTURES} pictures, {SIZE}×{SIZE}",
        "steps": steps,
        "seed": seed,
        "settings": network.settings,
        "report": figures,
    }
    return checkpoints.save(network, path, about)
