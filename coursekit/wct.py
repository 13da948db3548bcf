r"""Universal style transfer by whitening and colouring (Li, Fang, Yang, Wang, Lu & Yang 2017).

A linear map of the features of one picture gives them mean and covariance of another's. No network
is trained for a style: a decoder that only learnt to reconstruct turns the features into a picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from coursekit.core import checks, runtime
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.features import FeatureExtractor
from coursekit.core.images import Source, check_images, load_image, resize, sides_of
from coursekit.texture import match_channel_statistics
from coursekit.wct_networks import LEVELS, Autoencoder, layer_of, load_decoder
from coursekit.wct_roots import FLOOR, least_variance, moments, root

COARSE_TO_FINE = tuple(reversed(LEVELS))
# (content features, style features) -> content features in the manner of the style.
Transform: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Features: TypeAlias = Any  # of one style, a tensor, or of several, a list

# --- Whitening and colouring ---------------------------------------------------------------------


def whiten(features: Tensor, *, method: str = "eigh", floor: float = FLOOR) -> Tensor:
    r"""Take mean and covariance away:
    :math:`\hat f = E\,D^{-1/2}\,E^\top (f - m)` (Li et al. 2017, eq. 2).

    Differs from Li et al. 2017: :math:`E D E^\top` is the covariance divided by the number of
    positions, here and in `colour`, so that pictures of different sizes fit together.

    Args:
        features: :math:`f`, (N, C, H, W).
        method: how the root is computed, one of `coursekit.wct_roots.METHODS`.
        floor: directions with a smaller share of the largest variance are left out.

    Returns:
        (N, C, H, W) with mean 0 and covariance 1; with fewer than C + 1 positions, or where
        directions were left out, the projector on those that are there. Flat features become 0.

    Raises:
        ShapeError: not four dimensions.
        SettingError: another method.
    """
    wide = _wide(features)
    mean, covariance = moments(wide)
    whitening = root(covariance, -0.5, method, floor=floor, least=least_variance(mean, covariance))
    return (whitening @ (wide.flatten(2) - mean)).view_as(features).to(features)


def colour(whitened: Tensor, style: Tensor, *, method: str = "eigh") -> Tensor:
    r"""Give white features mean and covariance of a style:
    :math:`\hat f_{cs} = E_s D_s^{1/2} E_s^\top \hat f + m_s` (Li et al. 2017, eq. 3).

    Args:
        whitened: :math:`\hat f`, (N, C, H, W) from `whiten`.
        style: features of the style image, (N or 1, C, h, w), of any size.
        method: see `whiten`.

    Returns:
        (N, C, H, W).

    Raises:
        ShapeError: not four dimensions, or channels or batches that do not match.
    """
    _check_maps(whitened, style)
    mean, covariance = moments(_wide(style))
    rows = root(covariance, 0.5, method) @ _wide(whitened).flatten(2) + mean
    return rows.view_as(whitened).to(whitened)


def blend(transformed: Tensor, content: Tensor, strength: float) -> Tensor:
    r""":math:`\alpha \hat f_{cs} + (1 - \alpha) f_c` (Li et al. 2017, eq. 4).

    Args:
        transformed: :math:`\hat f_{cs}`, (N, C, H, W).
        content: :math:`f_c`, (N, C, H, W), features of the content image as they were.
        strength: :math:`\alpha`: 0 keeps the content, 1 is the whole style.

    Raises:
        ShapeError: the two differ in shape.
        SettingError: a strength that is not a finite number.
    """
    _check_strength(strength)
    if transformed.shape != content.shape:
        raise ShapeError(f"Cannot blend {tuple(transformed.shape)} with {tuple(content.shape)}.")
    return strength * transformed + (1 - strength) * content


def wct(
    content: Tensor,
    style: Tensor,
    strength: float = 1.0,
    *,
    method: str = "eigh",
    floor: float = FLOOR,
    weights: Tensor | None = None,
) -> Tensor:
    """Whitening and colouring transform: `whiten`, `colour` and `blend` in one product.

    Li et al. 2017, eq. 2 to 4. The two maps are multiplied first, so that the features are read
    once.

    Args:
        content: (N, C, H, W).
        style: (N or 1, C, h, w), of any size.
        strength: α, see `blend`.
        method, floor: see `whiten`.
        weights: how much each position counts for the content's own mean and covariance,
            (1, 1, H, W); all alike by default. Every position is transformed.

    Returns:
        (N, C, H, W) in the content's type.

    Raises:
        ShapeError: shapes that do not match.
        SettingError: another method, or a strength that is not a finite number.
    """
    _check_strength(strength)
    matrix, shift = transfer_map(content, style, method=method, floor=floor, weights=weights)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    mixed = strength * matrix + (1 - strength) * identity
    rows = torch.baddbmm(strength * shift, mixed, _wide(content).flatten(2))
    return rows.view_as(content).to(content)


def transfer_map(
    content: Tensor,
    style: Tensor,
    *,
    method: str = "eigh",
    floor: float = FLOOR,
    weights: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    r"""The whole transform as one affine map: :math:`A = \Sigma_s^{1/2} \Sigma_c^{-1/2}` (N, C, C)
    and :math:`b = m_s - A m_c` (N, C, 1), eq. 2 and 3 in one. Arguments and errors as for `wct`."""
    _check_maps(content, style)
    wide = _wide(content)
    mean, covariance = moments(wide, weights)
    style_mean, style_covariance = moments(_wide(style))
    whitening = root(covariance, -0.5, method, floor=floor, least=least_variance(mean, covariance))
    matrix = root(style_covariance, 0.5, method) @ whitening
    return matrix, style_mean - matrix @ mean


def adain(content: Tensor, style: Tensor, strength: float = 1.0) -> Tensor:
    r"""Adaptive instance normalisation (Huang & Belongie 2017, eq. 8): WCT with both covariance
    matrices cut down to their diagonals. Feature maps and errors as for `wct`."""
    _check_maps(content, style)
    return blend(match_channel_statistics(content, style), content, strength)


def colour_only(content: Tensor, style: Tensor) -> Tensor:
    """What comes out without whitening: the laboratory of notebook 05.

    Feature maps and errors as for `wct`.
    """
    _check_maps(content, style)
    return colour(content - content.mean((2, 3), keepdim=True), style)


def _check_strength(strength: float) -> None:
    if not -1e6 < strength < 1e6:
        raise SettingError(f"strength={strength} is no share; 0 is the content, 1 the style.")


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _check_maps(content: Tensor, style: Tensor) -> None:
    if content.dim() != 4 or style.dim() != 4 or content.shape[1] != style.shape[1]:
        raise ShapeError(
            f"Expected two stacks of maps (N, C, H, W) with the same C, got "
            f"{tuple(content.shape)} and {tuple(style.shape)}."
        )
    if style.shape[0] not in (1, content.shape[0]):
        raise ShapeError(
            f"{style.shape[0]} styles for {content.shape[0]} pictures; give one, or one for each."
        )


# --- Several styles ------------------------------------------------------------------------------


def mix_styles(transformed: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    r"""Interpolate styles: :math:`\sum_k \beta_k \hat f_{cs_k}`, the shares scaled to sum 1
    (Li et al. 2017, section 4: features are blended, not pixels and not covariances).

    Args:
        transformed: the content's features in the manner of each style, all (N, C, H, W).
        shares: :math:`\beta_k`, one of 0 or more for each.

    Raises:
        SettingError: not one share a style, negative ones, or all of them 0.
        ShapeError: features of different shapes.
    """
    parts_of_one = checks.shares(shares, len(transformed), "share")
    shapes = sorted({tuple(each.shape) for each in transformed})
    if len(shapes) != 1:
        raise ShapeError(f"The features differ: {shapes}. Mix those of one content picture.")
    parts = [part * each for part, each in zip(parts_of_one, transformed, strict=True)]
    return torch.stack(parts).sum(0)


def mix_by_mask(inside: Tensor, outside: Tensor, mask: Tensor) -> Tensor:
    """One set of features where the mask is 1, another where it is 0, between them a blend.

    Spatial control (Li et al. 2017, section 4).

    Args:
        inside, outside: (N, C, H, W).
        mask: (1, 1, h, w) in [0, 1], of any size; it is resized to the maps by averaging.

    Raises:
        ShapeError: features of different shapes, a mask that is not (1, 1, h, w), or NaN in it.
    """
    proper = mask.dim() == 4 and mask.shape[:2] == (1, 1) and mask.numel() > 0
    if inside.shape != outside.shape or not proper:
        raise ShapeError(
            f"Expected features of one shape and a mask (1, 1, h, w), got {tuple(inside.shape)}, "
            f"{tuple(outside.shape)} and {tuple(mask.shape)}."
        )
    if mask.isnan().any():
        raise ShapeError("The mask has NaN values; give 1 inside, 0 outside, or a share between.")
    height, width = inside.shape[-2:]
    share = resize(mask.to(inside), (height, width)).clamp(0, 1)
    return share * inside + (1 - share) * outside


def as_mask(mask: Source) -> Tensor:
    """A mask (1, 1, H, W) in [0, 1] from an array or tensor (H, W), an image, or its path.

    Colours are averaged; white is 1.

    Raises:
        ImageError: no picture, or values outside of 0 … 1.
    """
    if isinstance(mask, Tensor):
        mask = mask.float() if mask.dtype == torch.bool else mask
        mask = mask[None] if mask.dim() == 2 else mask
    return load_image(mask)[:1].mean(1, keepdim=True)


# --- Pictures ------------------------------------------------------------------------------------


class Universal(nn.Module):
    """Encoders and decoders of several levels (section 3.3): all that any style needs.

    Args:
        autoencoders: ``{level: Autoencoder}``. They come to share the encoder of the deepest
            level, so that VGG-16 lies in memory once.

    Raises:
        SettingError: no autoencoder, or one under another level than its own.
    """

    def __init__(self, autoencoders: Mapping[int, Autoencoder]) -> None:
        super().__init__()
        if not autoencoders or any(n != each.level for n, each in autoencoders.items()):
            raise SettingError("Give the autoencoders by their levels, such as {4: …, 5: …}.")
        self.levels = tuple(sorted(autoencoders))
        deepest = autoencoders[self.levels[-1]].encoder
        self.style_encoder = FeatureExtractor(
            "vgg16", [layer_of(level) for level in self.levels], padding="reflect"
        )
        for each in autoencoders.values():
            _share(each.encoder, deepest)
        _share(self.style_encoder, deepest)
        self.autoencoders = nn.ModuleDict({str(n): each for n, each in autoencoders.items()})

    def autoencoder(self, level: int) -> Autoencoder:
        """The autoencoder of one of ``levels``."""
        return cast(Autoencoder, self.autoencoders[str(level)])

    def style_features(self, style: Tensor) -> dict[int, Tensor]:
        """Features (N, C, h, w) of a style image (N, 3, H, W) in [0, 1], by level, from one pass.

        Raises:
            ImageError: the image is too small for the deepest level.
        """
        found = self.style_encoder(style)
        return {level: found[layer_of(level)] for level in self.levels}


def _share(encoder: FeatureExtractor, deeper: FeatureExtractor) -> None:
    shared = {n: each for n, each in deeper.body.named_children() if isinstance(each, nn.Conv2d)}
    for name, layer in encoder.body.named_children():
        if isinstance(layer, nn.Conv2d):
            layer.weight, layer.bias = shared[name].weight, shared[name].bias


def load(levels: Iterable[int] = LEVELS, folder: Path | str | None = None) -> Universal:
    """The course's trained decoders, or those that a recipe wrote to ``folder``.

    Raises:
        SettingError: a level that does not exist.
        WeightsError: a checkpoint, or VGG-16, is not to be had.
    """
    paths = {level: folder and Path(folder) / f"level{level}.safetensors" for level in levels}
    return Universal({n: Autoencoder(load_decoder(n, path)) for n, path in paths.items()})


def level_by_level(
    content: Tensor,
    styles: Mapping[int, Features],
    encode: Callable[[Tensor, int], Tensor],
    decode: Callable[[Tensor, int], Tensor],
    transform: Callable[[Tensor, Features], Tensor] = wct,
    levels: Sequence[int] = COARSE_TO_FINE,
) -> Tensor:
    """Transfer at every level, each one beginning with the picture that the one before it made
    (Li et al. 2017, section 3.3).

    Args:
        content: (N, 3, H, W) in [0, 1].
        styles: ``{level: features of the style image}``, computed once.
        encode: (picture, level) -> features.
        decode: (features, level) -> picture.
        transform: (content features, style features) -> features.
        levels: in the order to go through: the deep ones first.

    Returns:
        The last picture, (N, 3, H, W). Every picture on the way is clamped to [0, 1].
    """
    picture = content
    for level in levels:
        features = transform(encode(picture, level), styles[level])
        picture = decode(features, level).clamp(0, 1)
    return picture


@torch.no_grad()
def stylise(
    model: Universal,
    content: Tensor,
    style: Tensor | Sequence[Tensor],
    *,
    levels: Sequence[int] = COARSE_TO_FINE,
    strength: float = 1.0,
    shares: Sequence[float] | None = None,
    mask: Source | None = None,
    transform: Transform = wct,
    steps: list[Tensor] | None = None,
) -> Tensor:
    """Give a picture the statistics of a style, level after level (Li et al. 2017, section 3.3).

    Each level encodes what the one before it decoded; the style is encoded once.

    Args:
        model: from `load`.
        content: (1, 3, H, W) in [0, 1]; the result has its size.
        style: a style image (1, 3, h, w) of any size, or several.
        levels: in this order; coarse to fine as published. One alone is a single-level transfer.
        strength: α at every level, see `blend`.
        shares: how much of each of several styles, see `mix_styles`; equal ones by default.
        mask: with two styles: the first where it is 1, the second where it is 0. Anything that
            `as_mask` takes, of any size. Each region is whitened by its own statistics.
        transform: what is done to the features, `wct` or another, such as `adain`.
        steps: a list that is given the picture after each level.

    Returns:
        (1, 3, H, W) in [0, 1].

    Raises:
        ImageError: a picture that is none, or too small for the deepest level.
        SettingError: no level, a level that the model lacks, shares or a mask that do not fit
            the number of styles, or a strength that is not a finite number.
    """
    styles = [style] if isinstance(style, Tensor | str) else list(style)
    for name, each in [("content", content), *(("style", each) for each in styles)]:
        check_images(each, name)
    parts, whole = _check_mixing(len(styles), shares, mask, transform)
    if not levels or any(level not in model.levels for level in levels):
        raise SettingError(f"levels={list(levels)}: choose one or more of {model.levels}.")
    wanted = [model.style_features(each) for each in styles]
    size = content.shape[-2:]

    def in_their_manner(features: Tensor, targets: Sequence[Tensor]) -> Tensor:
        found = _in_the_manner_of(features, targets, transform, parts, whole)
        return blend(found, features, strength)

    def decode(features: Tensor, level: int) -> Tensor:
        picture = model.autoencoder(level).decode(features, size)
        if steps is not None:
            steps.append(picture.clamp(0, 1))
        return picture

    return level_by_level(
        content,
        {level: [each[level] for each in wanted] for level in model.levels},
        lambda picture, level: model.autoencoder(level).encode(picture),
        decode,
        in_their_manner,
        levels,
    )


def _check_mixing(
    count: int, shares: Sequence[float] | None, mask: Source | None, transform: Transform
) -> tuple[Sequence[float], Tensor | None]:
    """The shares of the styles, or the mask, once they are known to fit the number of styles."""
    parts = [1.0] * count if shares is None else list(shares)
    mix_styles([torch.zeros(1)] * count, parts)
    if mask is None:
        return parts, None
    if count != 2 or shares is not None or transform is not wct:
        raise SettingError(
            f"A mask is for two styles, without shares, and for wct; got {count} styles."
        )
    return parts, as_mask(mask)


def _in_the_manner_of(
    content: Tensor,
    styles: Sequence[Tensor],
    transform: Transform,
    shares: Sequence[float],
    mask: Tensor | None,
) -> Tensor:
    """Features for several styles, mixed by shares or by a mask."""
    if mask is None:
        return mix_styles([transform(content, style) for style in styles], shares)
    height, width = content.shape[-2:]
    region = resize(mask.to(content), (height, width)).clamp(0, 1)
    inside = wct(content, styles[0], weights=region)
    return mix_by_mask(inside, wct(content, styles[1], weights=1 - region), region)


def texture(
    model: Universal,
    style: Tensor | Sequence[Tensor],
    size: int | tuple[int, int] = 256,
    *,
    seed: int = 0,
    **settings: Any,
) -> Tensor:
    """A new texture: noise in place of the content (Li et al. 2017, section 4).

    Args:
        model: from `load`.
        style: the texture, or several; how large it is decides how large its parts come out.
        size: height and width of the result in pixels, or one number for both.
        seed: of the noise.
        settings: those of `stylise`.

    Returns:
        (1, 3, H, W) in [0, 1].

    Raises:
        ImageError: a size that is none, and else as `stylise`.
        SettingError: as `stylise`.
    """
    device = next(model.parameters()).device
    noise = torch.rand(1, 3, *sides_of(size), generator=runtime.generator(seed)).to(device)
    return stylise(model, noise, style, **settings)
