"""How the networks of topic 09 hear a label: beside z, as planes, or by projection.

A label as numbers, and DCGAN's two networks with it: by concatenation (Mirza & Osindero 2014) or by
projection (Miyato & Koyama 2018). The game that they play is in `coursekit.cgan`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit import dcgan
from coursekit.core import training
from coursekit.core.errors import SettingError, ShapeError

CLASSES = 10
LATENT = 32  # dimensions of z: a digit of a known class needs fewer than a bedroom
SIZE = 32  # of an image in pixels: digits with a black border, because DCGAN doubles from 4
WAYS = ("projection", "concatenation", "none")


# --- A label as numbers --------------------------------------------------------------------------


def label_weights(label: Tensor, classes: int = CLASSES) -> Tensor:
    """A label y as one row of weights over the classes (Mirza & Osindero 2014, section 3.2).

    Args:
        label: class indices int64 (N,), or weights float (N, classes), which come back as they
            are: a mixture of classes is how one walks from one to another.
        classes: how many there are.

    Returns:
        float32 (N, classes); one-hot rows for indices.

    Raises:
        ShapeError: another shape or type.
        SettingError: an index that is no class.
    """
    if not isinstance(label, Tensor):
        raise ShapeError(f"The label {label!r} is no tensor; give torch.tensor([0, 1, 2]).")
    if label.dim() == 2 and label.shape[1] == classes and label.is_floating_point():
        return label
    if label.dim() != 1 or label.dtype != torch.long:
        raise ShapeError(
            f"The label is {label.dtype} {tuple(label.shape)}; give class indices int64 (N,), or "
            f"weights float (N, {classes})."
        )
    low, high = (int(label.min()), int(label.max())) if len(label) else (0, 0)
    if low < 0 or high >= classes:
        last = classes - 1
        raise SettingError(f"Labels run from {low} to {high}; classes count from 0 to {last}.")
    return F.one_hot(label, classes).float()


def join_latent(latent: Tensor, label: Tensor, classes: int = CLASSES) -> Tensor:
    """The generator's input [z, y]: (N, latent) and a label → (N, latent + classes).

    Mirza & Osindero 2014, section 3.2.

    Raises:
        ShapeError: not as many labels as vectors, or a label as in `label_weights`.
    """
    weights = label_weights(label, classes)
    check_count(latent, weights, 2)
    return torch.cat([latent, weights], dim=1)


def join_planes(images: Tensor, label: Tensor, classes: int = CLASSES) -> Tensor:
    """Images with the label as further channels: (N, C, H, W) → (N, C + classes, H, W).

    Mirza & Osindero 2014, section 3.2, for convolutions: plane k is filled with the weight of class
    k, all 1 for the image's class, 0 for the others.

    Raises:
        ShapeError: not as many labels as images, or a label as in `label_weights`.
    """
    weights = label_weights(label, classes)
    check_count(images, weights, 4)
    planes = weights[:, :, None, None].expand(-1, -1, *images.shape[2:])
    return torch.cat([images, planes.to(images.dtype)], dim=1)


def class_path(first: int, second: int, steps: int, classes: int = CLASSES) -> Tensor:
    """Weights (steps, classes) from one class to another in equal steps, both ends included.

    Raises:
        SettingError: fewer than two steps, or no such class.
    """
    if steps < 2:
        raise SettingError(f"A path needs its two ends; steps={steps} is too few.")
    start, end = label_weights(torch.tensor([first, second]), classes)
    share = torch.linspace(0, 1, steps)[:, None]
    return (1 - share) * start + share * end


def check_count(things: Tensor, weights: Tensor, dims: int) -> None:
    """Refuse labels that are not as many as the things beside them.

    Args:
        things: latent vectors (N, latent) or images (N, C, H, W).
        weights: of the labels, (N, classes).
        dims: dimensions that the things have.

    Raises:
        ShapeError: another number of dimensions, or of entries.
    """
    if things.dim() != dims:
        raise ShapeError(
            f"Expected {dims} dimensions beside the labels, got {tuple(things.shape)}."
        )
    if len(things) != len(weights):
        raise ShapeError(f"There are {len(weights)} labels for {len(things)} entries.")


def projection_logit(features: Tensor, weights: Tensor, embedding: Tensor, psi: Tensor) -> Tensor:
    """yᵀVφ(x) + ψ(φ(x)), one logit an image (Miyato & Koyama 2018, figure 1d).

    Args:
        features: φ(x), (N, D).
        weights: y, (N, classes), one-hot or a mixture.
        embedding: V, (classes, D).
        psi: ψ(φ(x)), (N,): how real the image is, whatever its class.

    Returns:
        (N,).
    """
    return ((weights @ embedding) * features).sum(dim=1) + psi


# --- Networks ------------------------------------------------------------------------------------


class Generator(nn.Module):
    """DCGAN's generator with the label beside z: (N, latent), label → (N, channels, size, size).

    Mirza & Osindero 2014, figure 1.

    Args:
        latent: dimensions of z.
        width: as in `dcgan.Generator`.
        size: of the image in pixels, 4 · 2ⁿ.
        channels: of the image.
        classes: how many labels there are.
        precision: of the forward pass, as in `core.training.autocast`.
    """

    def __init__(
        self,
        latent: int = LATENT,
        width: int = 24,
        size: int = SIZE,
        channels: int = 1,
        classes: int = CLASSES,
        *,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        self.latent, self.classes = latent, classes
        self.network = dcgan.Generator(latent + classes, width, size, channels, precision=precision)

    def forward(self, latent: Tensor, label: Tensor) -> Tensor:
        """Images in [-1, 1].

        Args:
            latent: z, (N, latent).
            label: class indices (N,), or weights (N, classes).

        Raises:
            ShapeError: vectors of another length, or a label as in `label_weights`.
            SettingError: an index that is no class.
        """
        if latent.dim() != 2 or latent.shape[1] != self.latent:
            raise ShapeError(
                f"Latent vectors have the shape {tuple(latent.shape)}; this generator takes "
                f"(N, {self.latent}) and adds the label itself."
            )
        return self.network(join_latent(latent, label, self.classes))


class Discriminator(nn.Module):
    """Image and label (N, channels, size, size), (N,) → one logit (N,): is this a real *pair*?

    Miyato & Koyama 2018, figure 1, compare the ways.

    Args:
        way: how the label comes in. ``"concatenation"``: planes beside the image's channels;
            ``"projection"``: an inner product with the last features; ``"none"``: not at all, and
            the discriminator judges the image alone.
        width: as in `dcgan.Discriminator`.
        size, channels, classes, precision: as in `Generator`.

    Raises:
        SettingError: no such way.
    """

    def __init__(
        self,
        way: str = "projection",
        width: int = 24,
        size: int = SIZE,
        channels: int = 1,
        classes: int = CLASSES,
        *,
        precision: str = "float32",
    ) -> None:
        super().__init__()
        if way not in WAYS:
            raise SettingError(f"There is no way {way!r} to condition; use one of {WAYS}.")
        self.way, self.classes, self.shape = way, classes, (channels, size, size)
        seen = channels + classes if way == "concatenation" else channels
        self.network = dcgan.Discriminator(width, size, seen, precision=precision)
        if way == "projection":
            # Differs from Miyato & Koyama 2018, who sum φ over positions: here φ is the whole 4×4
            # map, as it is for DCGAN's own last layer ψ, because where a stroke is matters.
            (last,) = self.network.blocks[-1].parameters()
            self.embedding = nn.Parameter(0.02 * torch.randn(classes, last.numel()))

    def forward(self, images: Tensor, label: Tensor) -> Tensor:
        """Logits (N,).

        Raises:
            ShapeError: images of another size, or a label as in `label_weights`.
            SettingError: an index that is no class.
        """
        weights = label_weights(label, self.classes)
        check_count(images, weights, 4)
        self._check(images)
        if self.way == "concatenation":
            return self.network(join_planes(images, weights, self.classes))
        if self.way == "none":
            return self.network(images)
        features = self.features(images)
        (last,) = self.network.blocks[-1].parameters()
        psi = features @ last.flatten()
        return projection_logit(features, weights, self.embedding, psi)

    def features(self, images: Tensor) -> Tensor:
        """φ(x): what DCGAN's last layer looks at, the 4×4 map as one vector, (N, 16 · channels)."""
        with training.autocast(images.device, self.network.precision):
            maps = self.network.blocks[:-1](images.contiguous(memory_format=torch.channels_last))
        return maps.float().flatten(1)

    def _check(self, images: Tensor) -> None:
        if images.dim() != 4 or tuple(images.shape[1:]) != self.shape:
            raise ShapeError(
                f"Images have the shape {tuple(images.shape)}; this discriminator takes "
                f"(N, {', '.join(map(str, self.shape))})."
            )
