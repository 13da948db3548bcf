"""Who is it? A small network that is trained to look past glasses, beards, hair and pose.

The lecture's identity loss compares faces by the features of a network trained to recognise people
(there VGG-Face, Parkhi et al. 2015). This one is trained on rendered people, with the cosine margin
of Wang et al. 2018 (CosFace).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coursekit import dfi
from coursekit.core import checkpoints, runtime
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.estimates import Estimate
from coursekit.core.images import resize
from coursekit.core.losses import total_variation
from coursekit.core.optimise import PixelResult, optimise_pixels
from coursekit.core.recogniser import unit_images
from coursekit.datasets import base, faces_factors
from coursekit.datasets.base import Dataset, Fields

#: What makes a person: the bones, the skin and the eyes. All else can be changed in an afternoon
#: (hair, beard, glasses), in a second (expression) or by the photographer (pose, light).
PERSON = (
    *("face_width", "face_height", "jaw", "eye_size", "eye_spacing", "nose_width", "nose_length"),
    *("mouth_width", "lips", "lip_tint", "brow_width", "skin", "eye_colour"),
)


class IdentityNetwork(nn.Module):
    """Faces -> unit vectors: near each other for one person, far apart for two.

    Stride-2 convolutions with batch norm, then one weight for each position of each channel (the
    global depthwise convolution of MobileFaceNets, Chen et al. 2018): where things are is what
    tells rendered people apart, and an average over positions would forget it.

    Args:
        size: side in pixels at which it looks, a multiple of 16; other sizes are resized.
        width: channels of the first convolution; the last has four times as many.
        embedding: length of the vector.
        seed: of the initial weights.

    Attributes:
        about: what is known about its training, once loaded.
    """

    def __init__(
        self, *, size: int = 96, width: int = 24, embedding: int = 64, seed: int = 0
    ) -> None:
        super().__init__()
        self.size, self.about = size, dict[str, Any]()
        self.settings = {"size": size, "width": width, "embedding": embedding}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            # 96 -> 48 -> 24 -> 12 -> 6
            self.body = nn.Sequential(
                *_block(3, width, 2),
                *_block(width, 2 * width, 2),
                *_block(2 * width, 3 * width, 2),
                *_block(3 * width, 4 * width, 2),
                *_block(4 * width, 4 * width, 1),
            )
            side = size // 16
            self.place = nn.Conv2d(4 * width, 4 * width, side, groups=4 * width, bias=False)
            self.norm = nn.BatchNorm2d(4 * width)
            self.head = nn.Linear(4 * width, embedding)

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] -> what the head reads, (N, 4 · width).

        Raises:
            ShapeError: not (N, 3, H, W).
        """
        if images.dim() != 4 or images.shape[1] != 3:
            raise ShapeError(f"Expected faces (N, 3, H, W), got {tuple(images.shape)}.")
        if images.shape[-2:] != (self.size, self.size):
            images = resize(images, (self.size, self.size))
        return self.norm(self.place(self.body(2 * images - 1))).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) in [0, 1] -> unit vectors (N, embedding)."""
        return F.normalize(self.head(self.features(images)), dim=1)

    @torch.no_grad()
    def embed(self, images: Tensor, *, batch: int = 200) -> Tensor:
        """The vectors of many pictures (N, 3, H, W), float in [0, 1] or uint8, on the CPU."""
        self.eval()
        device = self.head.weight.device
        parts = [self(unit_images(part, 3).to(device)) for part in images.split(batch)]
        return torch.cat(parts).cpu()


def _block(inputs: int, outputs: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


#: The measures of a head among `PERSON`, for the auxiliary task of the recipe.
MEASURES = tuple(name for name in PERSON if faces_factors.FACTORS[name].kind == "continuous")


def standardised(data: Dataset) -> Tensor:
    """The `MEASURES` of each picture's person, on a scale from -1 to 1: (N, measures)."""
    columns = []
    for name in MEASURES:
        low, high = faces_factors.FACTORS[name].range
        columns.append(2 * (data.fields[name] - low) / (high - low) - 1)
    return torch.stack(columns, dim=1)


def cosine_margin_loss(
    embeddings: Tensor, centres: Tensor, labels: Tensor, *, scale: float = 24.0, margin: float = 0.2
) -> Tensor:
    r"""Cross-entropy of scaled cosines, the right one less a margin (Wang et al. 2018, eq. 4).

    .. math:: -\frac1N \sum_i \log \frac{e^{s(\cos\theta_{y_i} - m)}}
              {e^{s(\cos\theta_{y_i} - m)} + \sum_{j \ne y_i} e^{s\cos\theta_j}}

    Args:
        embeddings: (N, D), of any length: they are scaled to unit length here.
        centres: (K, D), one direction for each of K people.
        labels: (N,) int64, who it is.
        scale: :math:`s`.
        margin: :math:`m`, by which the right cosine is lowered.

    Raises:
        ShapeError: vectors of different lengths.
        SettingError: a label that is nobody's.
    """
    if embeddings.shape[1] != centres.shape[1]:
        raise ShapeError(f"Vectors of {embeddings.shape[1]} against {centres.shape[1]} numbers.")
    if not len(labels) or labels.shape != embeddings.shape[:1]:
        raise ShapeError(
            f"Labels {tuple(labels.shape)} for {len(embeddings)} vectors; give one each."
        )
    if not 0 <= int(labels.min()) <= int(labels.max()) < len(centres):
        raise SettingError(
            f"Labels run from {int(labels.min())} to {int(labels.max())}; there are "
            f"{len(centres)} people, counted from 0."
        )
    cosines = F.normalize(embeddings, dim=1) @ F.normalize(centres, dim=1).T
    lowered = cosines - margin * F.one_hot(labels, len(centres))
    return F.cross_entropy(scale * lowered, labels)


def mixed_loss(
    features: Tensor, target: Tensor, vectors: Tensor, wanted: Tensor, share: float
) -> Tensor:
    r"""Perceptual and identity loss, mixed (the lecture's last slide on faces):

    :math:`(1 - m) \frac{1}{2D} \lVert \varphi(z) - t \rVert^2 + m (1 - \cos(g(z), g(x)))`.

    Args:
        features: :math:`\varphi(z)`, (N, D).
        target: t, where they should be, (N, D); no gradient goes there.
        vectors: :math:`g(z)`, (N, E), of any length.
        wanted: :math:`g(x)` of the face that it should still be, (N, E); no gradient goes there.
        share: m, from 0 (perceptual alone) to 1 (identity alone).

    Returns:
        A scalar, the mean over the batch.

    Raises:
        ShapeError: the two sides of a distance differ in shape.
    """
    if features.shape != target.shape or vectors.shape != wanted.shape:
        raise ShapeError("Features and target, vectors and wanted must be of one shape each.")
    perceptual = (features - target.detach()).square().mean() / 2
    identity = (1 - F.cosine_similarity(vectors, wanted.detach(), dim=1)).mean()
    return (1 - share) * perceptual + share * identity


def reconstruct_mixed(
    space: Callable[[Tensor], Tensor],
    network: IdentityNetwork,
    target: Tensor,
    start: Tensor,
    share: float,
    *,
    tv_weight: float = dfi.TV_WEIGHT,
    **optimisation: Any,
) -> PixelResult:
    """`dfi.reconstruct` with `mixed_loss`: edit the face, and let it be the same person.

    Args:
        space: φ.
        network: g, frozen.
        target: (N, D), from `dfi.shift`.
        start: the faces themselves, (N, 3, H, W): who it should stay.
        share: m of `mixed_loss`.
        tv_weight, optimisation: as for `dfi.reconstruct`.
    """
    with torch.no_grad():
        wanted = network(start)

    def loss(images: Tensor) -> dict[str, Tensor]:
        mixed = mixed_loss(space(images), target, network(images), wanted, share)
        return {"mixed": mixed, "tv": tv_weight * total_variation(images) / images[0].numel()}

    return optimise_pixels(loss, start, **{"steps": dfi.STEPS, **optimisation})


def people(count: int, pictures: int, *, size: int = 96, seed: int = 0, **fixed: object) -> Dataset:
    """``pictures`` portraits each of ``count`` people, drawn once and then read from the cache.

    A person's pictures agree in `PERSON`; everything else is drawn anew for each. Fields: ``image``
    uint8 (count · pictures, 3, size, size), ``person`` int64, and the factors of `PERSON`.

    Args:
        count, pictures: how many people, and pictures of each.
        size: pixels a side.
        seed: of the people and of their pictures; another seed gives other people.
        fixed: factors of all pictures, as in `faces.sample_factors`.
    """
    from coursekit.datasets.faces import VERSION, render

    who = torch.arange(count).repeat_interleave(pictures)
    drawn = faces_factors.sample_factors(count, seed=seed)
    person = {name: drawn[name][who] for name in PERSON}
    # Another seed than the people's: factors drawn alike would tie a nose to a shirt.
    factors = faces_factors.sample_factors(len(who), seed=seed + 500_000, **{**person, **fixed})

    def draw() -> Fields:
        parts = [
            (render({name: values[some] for name, values in factors.items()}, size).image * 255)
            for some in torch.arange(len(who)).split(512)
        ]
        image = torch.cat([part.round().to(torch.uint8) for part in parts])
        return {"image": image, "person": who, **{name: factors[name] for name in PERSON}}

    key = {"version": VERSION, "size": size, "factors": base.digest({**factors, "who": who})}
    info = base.Info(
        "people", "people with several pictures each", "MIT", True, "drawn by the course"
    )
    return base.Dataset(info, base.cached("people", key, draw))


def verification(
    network: IdentityNetwork, unseen: Dataset, *, resamples: int = 200, seed: int = 0
) -> dict[str, Estimate]:
    """Same person or not? Measured on every pair of these pictures.

    Args:
        network: trained.
        unseen: several pictures each of `people` that it never saw.
        resamples: random halves of the people, for the interval of the AUC.
        seed: of the halves.

    Returns:
        ``AUC``: how often a pair of one person is nearer than a pair of two; ``accuracy``: with the
        threshold that is best on the other half of the people, both kinds of pair counting alike.
    """
    vectors, who = network.embed(unseen.fields["image"]), unseen.fields["person"]
    cosines = vectors @ vectors.T
    same = who[:, None] == who[None]
    people_there = who.unique()
    generator = runtime.generator(seed)
    # Half of the people, drawn without putting back: scatters as much as another set of them would.
    draws = [
        people_there[torch.randperm(len(people_there), generator=generator)[::2]]
        for _ in range(resamples)
    ]
    auc = _auc(cosines, same, who, people_there)
    spread = torch.tensor([_auc(cosines, same, who, drawn) for drawn in draws])
    low, high = spread.quantile(torch.tensor([0.025, 0.975])).tolist()
    count = len(people_there)
    halves = people_there[::2], people_there[1::2]
    accuracy = sum(
        _accuracy(cosines, same, who, test, _threshold(cosines, same, who, train))
        for train, test in (halves, halves[::-1])
    )
    return {
        "AUC": Estimate("AUC", auc, (low, high), count),
        "accuracy": Estimate("balanced accuracy", accuracy / 2, None, count),
    }


def _pairs(cosines: Tensor, same: Tensor, who: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines of the pairs of one person and of two among the people chosen."""
    there = torch.isin(who, chosen).nonzero()[:, 0]
    above = torch.ones(len(there), len(there)).triu(1).bool()
    block, alike = cosines[there][:, there], same[there][:, there]
    return block[above & alike], block[above & ~alike]


def _auc(cosines: Tensor, same: Tensor, who: Tensor, chosen: Tensor) -> float:
    one, two = _pairs(cosines, same, who, chosen)
    below = torch.searchsorted(two.sort().values, one)
    return float(below.float().mean()) / len(two)


def _threshold(cosines: Tensor, same: Tensor, who: Tensor, chosen: Tensor) -> float:
    one, two = _pairs(cosines, same, who, chosen)
    tries = torch.linspace(-1, 1, 401)
    right = [float((one >= t).float().mean() + (two < t).float().mean()) for t in tries]
    return float(tries[max(range(len(tries)), key=right.__getitem__)])


def _accuracy(
    cosines: Tensor, same: Tensor, who: Tensor, chosen: Tensor, threshold: float
) -> float:
    one, two = _pairs(cosines, same, who, chosen)
    return float(((one >= threshold).float().mean() + (two < threshold).float().mean()) / 2)


def load_identity(name: str = "identity") -> IdentityNetwork:
    """The course's identity network, frozen, with the facts of its training in ``.about``.

    Raises:
        WeightsError: the file is missing, damaged, or holds something else.
    """
    found = checkpoints.load("dfi", name)
    network = found.network(IdentityNetwork, "identity network")
    network.about = found.about
    return network
