r"""Neural style transfer (Gatys, Ecker & Bethge 2015, 2016).

An image that has the content features of one picture and the Gram matrices of another:
:math:`L(x) = \alpha\,L_{content}(p, x) + \beta\,L_{style}(a, x)`, minimised over the pixels of x.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from coursekit.core import checks, runtime
from coursekit.core.errors import LayerError, SettingError, ShapeError
from coursekit.core.features import FeatureExtractor, of_layers
from coursekit.core.images import check_images, resize
from coursekit.core.losses import content_loss, total_variation
from coursekit.core.optimise import Loss, PixelResult, coarse_to_fine, optimise_pixels
from coursekit.texture import (
    balanced_weights,
    gram_targets,
    match_covariance,
    rgb_to_yiq,
    texture_loss,
    yiq_to_rgb,
)

CONTENT_LAYERS = ("relu4_2",)
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


@torch.no_grad()
def content_targets(
    extractor: FeatureExtractor, content: Tensor, layers: Sequence[str] = CONTENT_LAYERS
) -> dict[str, Tensor]:
    """Content features :math:`P^l` (Gatys et al. 2015, eq. 1): ``{layer: (1, C, H, W)}``.

    Raises:
        LayerError: the extractor was not asked for these layers.
    """
    features = of_layers(extractor(content), layers)
    return {name: each.clone() for name, each in features.items()}


def content_energies(targets: Mapping[str, Tensor]) -> dict[str, float]:
    r"""What the content loss of each layer is for an image without features:
    :math:`\frac12 \lVert P^l \rVert^2`, at least a tiny number. Targets are (N, C, h, w)."""
    empty = {name: torch.zeros_like(target) for name, target in targets.items()}
    return {name: float(content_loss(empty[name], p)) or 1e-12 for name, p in targets.items()}


def mix_grams(grams: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    r"""Targets for several styles at once: :math:`\sum_i w_i A_i` with the weights scaled to sum 1.

    The mean of the squared distances to each style's Gram matrix has its minimum where the
    distance to the mean Gram matrix has, so that mixing the targets mixes the styles. Each style
    has ``{layer: (N, C, C)}``.

    Raises:
        SettingError: not one weight a style, or weights that are negative or all zero.
        LayerError: the styles were measured at different layers.
    """
    shares = checks.shares(weights, len(grams), "weight")
    if any(each.keys() != grams[0].keys() for each in grams):
        raise LayerError("The styles were measured at different layers; take the same for all.")
    return {
        name: torch.stack(
            [share * each[name] for share, each in zip(shares, grams, strict=True)]
        ).sum(0)
        for name in grams[0]
    }


def transfer_loss(
    extractor: FeatureExtractor,
    content: Tensor,
    grams: Mapping[str, Tensor],
    *,
    content_weight: float = 1.0,
    style_weight: float = 10.0,
    content_layers: Sequence[str] = CONTENT_LAYERS,
    smoothness_weight: float = 0.0,
) -> Loss:
    r"""The loss of the paper as a function of the image (eq. 7), its targets computed once.

    Differs from Gatys et al. 2015: each term is divided by what it is for an image without any
    features (`content_energies`; the weights :math:`w_l` of `balanced_weights` sum up to that), so
    that :math:`\alpha/\beta` means the same at every size, layer and pooling. The paper had
    rescaled its network for that.

    Args:
        extractor: a network that returns the content layers and the layers of ``grams``.
        content: the content image :math:`p`, (1, 3, H, W) in [0, 1].
        grams: Gram matrices of the style image :math:`a` (`coursekit.texture.gram_targets`).
        content_weight: :math:`\alpha`.
        style_weight: :math:`\beta`.
        content_layers: where content is compared.
        smoothness_weight: of the total variation per pixel, which the paper does not have.

    Returns:
        A function image -> ``{"content": αL_content, "style": βL_style}``.

    Raises:
        SettingError: a weight below 0.
        LayerError: a content layer that the extractor does not give.
    """
    weights = {"content_weight": content_weight, "style_weight": style_weight}
    checks.at_least(0, **weights, smoothness_weight=smoothness_weight)
    targets = content_targets(extractor, content, content_layers)
    energies, layer_weights = content_energies(targets), balanced_weights(grams, total=1.0)

    def loss(image: Tensor) -> dict[str, Tensor]:
        features = extractor(image)
        content = torch.zeros((), device=image.device)
        for name, p in targets.items():
            content = content + content_loss(features[name], p) / energies[name]
        style = texture_loss(features, grams, layer_weights)
        terms = {"content": content_weight * content, "style": style_weight * style}
        if smoothness_weight:
            terms["smoothness"] = smoothness_weight * total_variation(image) / image[0].numel()
        return terms

    return loss


def starting_image(content: Tensor, start: str | Tensor = "content", seed: int = 0) -> Tensor:
    """Where the optimisation begins: the content image, white noise, or an image of yours.

    Gatys et al. 2016, section 3.3, compare them. All are (N, 3, H, W) in [0, 1].

    Raises:
        SettingError: ``start`` is neither ``"content"``, ``"noise"`` nor a tensor of that size.
    """
    if isinstance(start, Tensor) and start.shape == content.shape:
        return start.to(content.device)
    if start == "content":
        return content.clone()
    if start == "noise":
        noise = torch.randn(content.shape, generator=runtime.generator(seed))
        return (0.5 + 0.1 * noise).clamp(0, 1).to(content.device)
    given = f"{tuple(start.shape)}" if isinstance(start, Tensor) else repr(start)
    raise SettingError(
        f"The start is {given}. Give 'content', 'noise', or an image {tuple(content.shape)}, as "
        "large as the content image."
    )


def stylise(
    content: Tensor,
    style: Tensor | Sequence[Tensor],
    *,
    mix: Sequence[float] | None = None,
    content_weight: float = 1.0,
    style_weight: float = 10.0,
    content_layers: Sequence[str] = CONTENT_LAYERS,
    style_layers: Sequence[str] = STYLE_LAYERS,
    smoothness_weight: float = 0.0,
    start: str | Tensor = "content",
    seed: int = 0,
    sizes: Sequence[int] | None = None,
    network: Mapping[str, Any] | None = None,
    **optimisation: Any,
) -> PixelResult:
    """Paint ``content`` in the manner of ``style``.

    Args:
        content: (1, 3, H, W) in [0, 1]; the result has its size.
        style: the style image, or several of them with their shares in ``mix``. How large a
            style image is decides how large its brush strokes come out.
        mix: one share a style; equal ones by default.
        sizes: shorter sides to go through from coarse to fine; the last one is that of the result.
            Style images are scaled along, so that strokes grow with the picture.
        network: arguments for `FeatureExtractor` (``pool``, ``precision`` …). Pooling is average by
            default, as in the paper (2016, section 2): the picture is smoother and comes sooner.
        content_weight, style_weight, content_layers, smoothness_weight: see `transfer_loss`.
        style_layers: those whose Gram matrices are compared.
        start, seed: see `starting_image`.
        optimisation: arguments for `optimise_pixels` (``steps``, ``method``, ``snapshots`` …).

    Returns:
        The best image, its history and its snapshots.

    Raises:
        SettingError, ImageError, LayerError, WeightsError: as the functions it calls.
    """
    styles = [style] if isinstance(style, Tensor | str) else list(style)
    check_images(content, "content")
    for each in styles:
        check_images(each, "style")
    shares = [1.0] * len(styles) if mix is None else mix
    layers = dict.fromkeys([*style_layers, *content_layers])
    network = {"pool": "avg", **(network or {})}
    extractor = FeatureExtractor(layers=layers, **network).to(content.device)
    style_extractor = FeatureExtractor(layers=style_layers, **network).to(content.device)

    def make_loss(scale: float, target: Tensor) -> Loss:
        grams = [gram_targets(style_extractor, _scaled(each, scale)) for each in styles]
        return transfer_loss(
            extractor,
            target,
            mix_grams(grams, shares),
            content_weight=content_weight,
            style_weight=style_weight,
            content_layers=content_layers,
            smoothness_weight=smoothness_weight,
        )

    image = starting_image(content, start, seed)
    if sizes is None:
        return optimise_pixels(make_loss(1.0, content), image, **optimisation)
    return coarse_to_fine(
        lambda size: make_loss(size / sizes[-1], resize(content, size)),
        image,
        sizes,
        **optimisation,
    )


def _scaled(image: Tensor, scale: float) -> Tensor:
    return image if scale == 1 else resize(image, max(round(min(image.shape[-2:]) * scale), 1))


def keep_colours(result: Tensor, content: Tensor) -> Tensor:
    """Luminance of ``result``, colours of ``content`` (Gatys et al. 2016b, "luminance-only").

    Both (N, 3, H, W) in [0, 1]; computed in YIQ, clamped to [0, 1].

    Raises:
        ShapeError: not two pictures of one size.
    """
    if result.shape != content.shape:
        raise ShapeError(
            f"The result {tuple(result.shape)} and the content "
            f"{tuple(content.shape)} must be of one size."
        )
    yiq = torch.cat([rgb_to_yiq(result)[:, :1], rgb_to_yiq(content)[:, 1:]], dim=1)
    return yiq_to_rgb(yiq).clamp(0, 1)


def luminance(image: Tensor) -> Tensor:
    """The grey version of (N, 3, H, W) in [0, 1]: YIQ luminance in all three channels."""
    return rgb_to_yiq(image)[:, :1].expand(-1, 3, -1, -1).contiguous()


def match_luminance(style: Tensor, content: Tensor) -> Tensor:
    """Give the grey ``style`` the mean and deviation of the grey ``content``.

    Gatys et al. 2016b. Both are (1, 3, H, W) in [0, 1], of any two sizes.
    """
    mean, std = content.mean(), content.std()
    return ((style - style.mean()) / style.std().clamp_min(1e-6) * std + mean).clamp(0, 1)


def stylise_keeping_colours(
    content: Tensor, style: Tensor, *, way: str = "luminance", **settings: Any
) -> PixelResult:
    """Style transfer that keeps the colours of the content (Gatys et al. 2016b).

    Args:
        content: (1, 3, H, W) in [0, 1].
        style: (1, 3, H, W) in [0, 1].
        way: ``"luminance"`` transfers brightness alone and puts the colours back; ``"matched"``
            first gives the style image the colour mean and covariance of the content.
        settings: arguments of `stylise`.

    Raises:
        SettingError: another ``way``.
    """
    if way == "matched":
        return stylise(content, match_covariance(style, content).clamp(0, 1), **settings)
    if way != "luminance":
        raise SettingError(f"way={way!r} is not known. Choose 'luminance' or 'matched'.")
    grey = luminance(content)
    result = stylise(grey, match_luminance(luminance(style), grey), **settings)
    result.image = keep_colours(result.image, content)
    return result
