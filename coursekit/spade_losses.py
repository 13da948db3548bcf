"""The loss terms of SPADE (Park et al. 2019, appendix A): hinge, feature matching, VGG, KL.

The discriminator judges at several scales and shows what every layer made: here that is called its
*opinion*, a list over the scales of lists over the layers, the logits last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from coursekit.core import checks
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.features import FeatureExtractor

Opinion = Sequence[Sequence[Tensor]]


def hinge_discriminator(real: Opinion, fake: Opinion) -> Tensor:
    """E[max(0, 1 − D(m, x))] + E[max(0, 1 + D(m, G(m)))], the mean over scales.

    Park et al. 2019, §3, after Lim & Ye 2017: a logit that is right by a margin of 1 is left
    alone.

    Args:
        real, fake: opinions of the discriminator; only the logits (N, 1, h, w) of each scale count.

    Raises:
        ShapeError: opinions at no scale, or at different numbers of scales.
    """
    parts = [
        F.relu(1 - ours[-1]).mean() + F.relu(1 + theirs[-1]).mean()
        for ours, theirs in _scales(real, fake)
    ]
    return torch.stack(parts).mean()


def hinge_generator(fake: Opinion) -> Tensor:
    """−E[D(m, G(m))], the mean over scales (§3): no margin, the generator is never done.

    A scalar, of opinions as for `hinge_discriminator`.
    """
    return torch.stack([-each[-1].mean() for each in fake]).mean()


def feature_matching(real: Opinion, fake: Opinion) -> Tensor:
    """Σ over layers of the mean |Dᵢ(m, x) − Dᵢ(m, G(m))|, the mean over scales (logits excluded).

    Wang et al. 2018 (pix2pixHD), section 3.2. No gradient goes through the real side: the true
    picture is the target.

    Args:
        real, fake: opinions on true and generated pictures of the same maps, each layer's features
            (N, C, h, w), the logits last.

    Raises:
        ShapeError: opinions whose layers do not match one to one.
    """
    for ours, theirs in _scales(real, fake):
        if [x.shape for x in ours] != [y.shape for y in theirs]:
            raise ShapeError(
                f"Layers {[tuple(x.shape) for x in ours]} on the true side, "
                f"{[tuple(y.shape) for y in theirs]} on the other: take both from one "
                "discriminator, for the same maps."
            )
    parts = [
        torch.stack([F.l1_loss(y, x.detach()) for x, y in zip(ours[:-1], theirs[:-1], strict=True)])
        for ours, theirs in zip(real, fake, strict=True)
    ]
    return torch.stack([each.sum() for each in parts]).mean()


def _scales(real: Opinion, fake: Opinion) -> Iterator[tuple[Sequence[Tensor], Sequence[Tensor]]]:
    if not real or len(real) != len(fake):
        raise ShapeError(
            f"Opinions at {len(real)} scales and at {len(fake)}; expected equally many, from 1."
        )
    return zip(real, fake, strict=True)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, σ²) ‖ N(0, 1)) = ½ Σ (μ² + σ² − log σ² − 1), summed over z, the mean over pictures.

    Kingma & Welling 2014, appendix B. Differs from the authors' code of SPADE, which sums over the
    batch as well: there the weight depends on the batch size.

    Args:
        mean, log_variance: (N, latent) each.

    Raises:
        ShapeError: the two differ, or are not (N, latent).
    """
    if mean.dim() != 2 or mean.shape != log_variance.shape or not mean.numel():
        raise ShapeError(
            f"Mean {tuple(mean.shape)} and log-variance {tuple(log_variance.shape)} must both be "
            "(N, latent)."
        )
    return (mean.square() + log_variance.exp() - log_variance - 1).sum(dim=1).mean() / 2


def reparameterise(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """z = μ + σ · ε, ε ~ N(0, 1): gradients pass through the draw (Kingma & Welling 2014, §2.4).

    Raises:
        ShapeError: not (N, latent) each, with one latent.
    """
    checks.same_width(mean=mean, log_variance=log_variance, noise=noise)
    return mean + (log_variance / 2).exp() * noise


class PerceptualLoss(nn.Module):
    """Σ wᵢ · mean |φᵢ(x) − φᵢ(y)| over layers of VGG (Park et al. 2019, appendix A).

    Differs from Park et al. 2019, who take relu1_1 … relu5_1 of VGG-19 with the weights 1/32, 1/16,
    1/8, 1/4, 1: the course has VGG-16, and at 64 pixels relu5_1 would be 4×4.

    Args:
        layers: of VGG-16, and their weights.
        precision: as in `core.features.FeatureExtractor`.
        weights: ``"random"`` for tests without the network's file.

    Raises:
        SettingError: no layers.
        WeightsError: VGG-16 is not to be had.
    """

    def __init__(
        self,
        layers: dict[str, float] | None = None,
        *,
        precision: str = "auto",
        weights: str = "imagenet",
    ) -> None:
        super().__init__()
        self.weights = dict(LAYERS if layers is None else layers)
        if not self.weights:
            raise SettingError("A perceptual loss needs a layer to compare.")
        self.network = FeatureExtractor(
            "vgg16", tuple(self.weights), precision=precision, weights=weights
        )

    def forward(self, images: Tensor, target: Tensor) -> Tensor:
        """One number for pictures (N, 3, H, W) in [-1, 1]; the target gets no gradient.

        Raises:
            ShapeError: the two differ in shape.
        """
        checks.one_shape("(N, 3, H, W)", 4, images=images, target=target)
        with torch.no_grad():
            wanted = self.network((target + 1) / 2)
        found = self.network((images + 1) / 2)
        terms = [
            weight * F.l1_loss(found[layer].float(), wanted[layer].float())
            for layer, weight in self.weights.items()
        ]
        return torch.stack(terms).sum()


LAYERS = {"relu1_1": 1 / 4, "relu2_1": 1 / 2, "relu3_1": 1.0}
