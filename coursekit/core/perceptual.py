"""LPIPS: a distance between images that agrees with people better than pixels do.

Zhang, Isola, Efros, Shechtman & Wang 2018, "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric", version 0.1 with its calibrated heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from coursekit.core import weights
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.features import FeatureExtractor

_LAYERS = {
    "alex": ("alexnet", ("relu1", "relu2", "relu3", "relu4", "relu5")),
    "vgg": ("vgg16", ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")),
}
# The paper's code normalises with these, rounded and for images in [-1, 1].
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class _LPIPSFeatures(FeatureExtractor):
    """The course's extractor, with the normalisation that the LPIPS heads were calibrated on."""

    def normalise(self, images: Tensor) -> Tensor:
        shift = images.new_tensor(_SHIFT).view(1, 3, 1, 1)
        scale = images.new_tensor(_SCALE).view(1, 3, 1, 1)
        return (2 * images - 1 - shift) / scale


class LPIPS(nn.Module):
    r"""Learned perceptual image patch similarity, eq. 1 of the paper:

    :math:`d(x, x_0) = \sum_l \frac{1}{H_l W_l} \sum_{hw} \| w_l \odot (\hat y^l_{hw} - \hat
    y^l_{0hw}) \|_2^2`, with :math:`\hat y` the features scaled to unit length at each position.

    Args:
        network: ``"alex"`` (the authors' choice for a metric) or ``"vgg"``.
        spatial: return a map (N, 1, H, W) instead of one number an image.

    Raises:
        SettingError: another network.
        WeightsError: the weights are neither in the cache nor to be had.
    """

    def __init__(self, network: str = "alex", spatial: bool = False) -> None:
        super().__init__()
        if network not in _LAYERS:
            raise SettingError(f"LPIPS has no network {network!r}. Choose 'alex' or 'vgg'.")
        name, layers = _LAYERS[network]
        self.features = _LPIPSFeatures(name, layers)
        self.spatial = spatial
        heads = weights.load(f"lpips_{network}")
        for index, layer in enumerate(layers):
            self.register_buffer(f"head_{layer}", heads[f"lin{index}"].view(1, -1, 1, 1))

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Distances (N,) between two batches (N, 3, H, W) in [0, 1]; 0 for twins.

        Raises:
            ShapeError: the batches differ in size.
        """
        if images.shape != others.shape:
            raise ShapeError(f"Sizes differ: {tuple(images.shape)} and {tuple(others.shape)}.")
        found, reference = self.features(images), self.features(others)
        maps = [self._layer(name, found[name], reference[name]) for name in self.features.layers]
        if self.spatial:
            size = images.shape[-2:]
            parts = [F.interpolate(each, size, mode="bilinear") for each in maps]
        else:
            parts = [each.mean(dim=(1, 2, 3)) for each in maps]
        return sum(parts, start=torch.zeros_like(parts[0]))

    def _layer(self, name: str, found: Tensor, reference: Tensor) -> Tensor:
        difference = (_unit(found) - _unit(reference)).square()
        return (difference * getattr(self, f"head_{name}")).sum(dim=1, keepdim=True)


def _unit(features: Tensor, epsilon: float = 1e-10) -> Tensor:
    """Scale the feature vector at each position to length 1."""
    # The root is taken of a positive number, so that its gradient is finite at black corners.
    length = (features.square().sum(dim=1, keepdim=True) + epsilon**2).sqrt()
    return features / (length + epsilon)
