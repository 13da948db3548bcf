"""Topic 02, textures: colour statistics, Gram matrices, synthesis from noise.

Reinhard et al. 2001, "Color transfer between images"; Gatys, Ecker & Bethge 2015, "Texture
synthesis using convolutional neural networks" (NIPS). Equations of the latter are numbered as in
their "A neural algorithm of artistic style" of the same year.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from coursekit.core import checks
from coursekit.core.errors import LayerError, SettingError, ShapeError
from coursekit.core.features import FeatureExtractor
from coursekit.core.images import check_images, resize, sides_of
from coursekit.core.losses import channel_statistics, gram_matrix, style_loss
from coursekit.core.optimise import PixelResult, coarse_to_fine
from coursekit.core.runtime import generator

# The five depths of the lecture's slide: every pooling layer, and the first convolution.
_DEPTHS = ("conv1_1", "pool1", "pool2", "pool3", "pool4")
LAYERS_UP_TO: dict[str, tuple[str, ...]] = {
    name: _DEPTHS[: index + 1] for index, name in enumerate(_DEPTHS)
}
SPACES = ("rgb", "lalphabeta", "covariance")

# --- Colour spaces -------------------------------------------------------------------------------

# Reinhard et al. 2001, eq. 4: display RGB to the responses of the eye's three kinds of cones.
_RGB_TO_LMS = (
    (0.3811, 0.5783, 0.0402),
    (0.1967, 0.7244, 0.0782),
    (0.0241, 0.1288, 0.8444),
)
# Ruderman et al. 1998 (Reinhard et al. 2001, eq. 6): the axes along which natural images vary
# independently: light-dark, yellow-blue, red-green.
_LMS_TO_LALPHABETA = (
    (3**-0.5, 3**-0.5, 3**-0.5),
    (6**-0.5, 6**-0.5, -2 * 6**-0.5),
    (2**-0.5, -(2**-0.5), 0.0),
)
# NTSC 1953, with the digits that make the rows of chroma sum to zero.
_RGB_TO_YIQ = (
    (0.299, 0.587, 0.114),
    (0.59590059, -0.27455667, -0.32134392),
    (0.21153661, -0.52273617, 0.31119955),
)
# Differs from Reinhard et al. 2001: one grey level is added before the logarithm, because black
# pixels would have none.
_DARKEST = 1 / 255


def rgb_to_lalphabeta(images: Tensor) -> Tensor:
    r"""RGB to the decorrelated space :math:`l\alpha\beta` (Reinhard et al. 2001, eqs. 4–6).

    Args:
        images: (N, 3, H, W) in [0, 1]. Their values are taken as they are, as in the paper; the
            display's gamma is not undone.

    Returns:
        (N, 3, H, W): lightness l, yellow-blue α, red-green β, in decades of cone response.

    Raises:
        ShapeError: not (N, 3, H, W).
    """
    cones = _mix(_matrix(_RGB_TO_LMS, images), images) + _DARKEST
    return _mix(_matrix(_LMS_TO_LALPHABETA, images), cones.clamp_min(_DARKEST * 1e-3).log10())


def lalphabeta_to_rgb(images: Tensor) -> Tensor:
    """The inverse of `rgb_to_lalphabeta` (Reinhard et al. 2001), not clamped.

    Raises:
        ShapeError: not (N, 3, H, W).
    """
    cones = 10 ** _mix(_matrix(_LMS_TO_LALPHABETA, images, inverse=True), images) - _DARKEST
    return _mix(_matrix(_RGB_TO_LMS, images, inverse=True), cones)


def rgb_to_yiq(images: Tensor) -> Tensor:
    """RGB (N, 3, H, W) in [0, 1] to NTSC's luminance Y and chroma I, Q.

    Raises:
        ShapeError: not (N, 3, H, W).
    """
    return _mix(_matrix(_RGB_TO_YIQ, images), images)


def yiq_to_rgb(images: Tensor) -> Tensor:
    """The inverse of `rgb_to_yiq`, not clamped: inside [0, 1] for what came from there.

    Raises:
        ShapeError: not (N, 3, H, W).
    """
    return _mix(_matrix(_RGB_TO_YIQ, images, inverse=True), images)


def _matrix(rows: Sequence[Sequence[float]], like: Tensor, *, inverse: bool = False) -> Tensor:
    matrix = torch.tensor(rows, dtype=torch.float64)
    return (torch.linalg.inv(matrix) if inverse else matrix).to(like)


def _mix(matrix: Tensor, images: Tensor) -> Tensor:
    """Multiply each pixel of (N, 3, H, W) by a matrix (3, 3) or (N, 3, 3)."""
    _check_rgb(images)
    return (matrix @ images.flatten(2)).view_as(images)


def _check_rgb(*images: Tensor) -> None:
    for each in images:
        if each.dim() != 4 or each.shape[1] != 3 or not each.is_floating_point():
            raise ShapeError(
                f"Expected images of floats (N, 3, H, W), got {tuple(each.shape)} of {each.dtype}."
            )


# --- Colour transfer -----------------------------------------------------------------------------

# A channel with a smaller deviation counts as flat: dividing by it would blow up rounding errors.
_FLAT = 1e-4


def match_channel_statistics(image: Tensor, reference: Tensor) -> Tensor:
    r"""Give each channel of ``image`` the mean and standard deviation of the reference's channel:
    :math:`\sigma_r (x - \mu) / \sigma + \mu_r` (Reinhard et al. 2001, eqs. 10–11).

    Args:
        image: (N, C, H, W), in any colour space and any range, or feature maps.
        reference: (N or 1, C, h, w) of the same kind; its size need not be the image's.

    Returns:
        (N, C, H, W), not clamped. A flat channel becomes the reference's mean.

    Raises:
        ShapeError: not four dimensions, or different channels.
    """
    _check_pair(image, reference)
    mean, std = channel_statistics(image)
    reference_mean, reference_std = channel_statistics(reference)
    return (image - mean) / std.clamp_min(_FLAT) * reference_std + reference_mean


def colour_covariance(images: Tensor) -> Tensor:
    r"""Covariance of the channels, :math:`\frac1M \sum_k (x_k - \mu)(x_k - \mu)^\top`.

    Args:
        images: (N, C, H, W) in any range; M = H·W.

    Returns:
        (N, C, C): the Gram matrix of the images less their mean.

    Raises:
        ShapeError: not four dimensions.
    """
    if images.dim() != 4:
        raise ShapeError(f"Expected images (N, C, H, W), got {tuple(images.shape)}.")
    return _second_moment(images - images.mean(dim=(2, 3), keepdim=True))


def _second_moment(images: Tensor) -> Tensor:
    rows = images.flatten(2)
    return rows @ rows.mT / rows.shape[2]


def match_covariance(image: Tensor, reference: Tensor) -> Tensor:
    r"""Give ``image`` the mean and the whole covariance of the reference's channels:
    :math:`\Sigma_r^{1/2}\, \Sigma^{-1/2} (x - \mu) + \mu_r` with symmetric square roots
    (Hertzmann et al. 2001; Gatys et al. 2017, sec. 5.2).

    Args:
        image: (N, C, H, W) in any range.
        reference: (N or 1, C, h, w) in the same.

    Returns:
        (N, C, H, W), not clamped. Directions in which the image does not vary at all (a grey
        picture has two of them) stay flat.

    Raises:
        ShapeError: not four dimensions, or different channels.
    """
    _check_pair(image, reference)
    # In double precision: the covariance of a nearly grey picture is nearly singular. On the
    # CPU: Apple's GPUs have no double precision.
    source, target = image.cpu().double(), reference.cpu().double()
    move = _power(colour_covariance(target), 0.5) @ _power(colour_covariance(source), -0.5)
    centred = (source - source.mean(dim=(2, 3), keepdim=True)).flatten(2)
    matched = (move @ centred).view_as(source) + target.mean(dim=(2, 3), keepdim=True)
    return matched.to(image)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Symmetric power of a positive semi-definite matrix (N, C, C); null directions stay null."""
    if not torch.isfinite(matrix).all():
        raise ShapeError("The colours hold NaN or infinite values; they have no covariance.")
    values, vectors = torch.linalg.eigh(matrix)
    return eigen_power(values, vectors, exponent, 1e-10 * values[..., -1:])


def eigen_power(values: Tensor, vectors: Tensor, exponent: float, floor: Tensor) -> Tensor:
    r"""The symmetric power :math:`V \Lambda^p V^\top` of a matrix with these eigenpairs.

    Args:
        values: eigenvalues (N, C).
        vectors: the eigenvectors in the columns of (N, C, C).
        exponent: p, also negative.
        floor: (N, 1); directions whose eigenvalue is not larger stay null.
    """
    floor = floor.clamp_min(torch.finfo(values.dtype).tiny)
    powers = torch.where(values > floor, values.clamp_min(floor) ** exponent, 0)
    return vectors @ (powers[..., None] * vectors.mT)


def _check_pair(image: Tensor, reference: Tensor) -> None:
    maps = all(each.dim() == 4 and each.numel() for each in (image, reference))
    if not maps or image.shape[1] != reference.shape[1]:
        raise ShapeError(
            f"Expected two stacks (N, C, H, W) with the same C, got {tuple(image.shape)} and "
            f"{tuple(reference.shape)}."
        )
    if reference.shape[0] not in (1, image.shape[0]):
        raise ShapeError(
            f"{reference.shape[0]} references for {image.shape[0]} images; give one, or one each."
        )


def colour_transfer(image: Tensor, reference: Tensor, space: str = "rgb") -> Tensor:
    """Paint ``image`` (N, 3, H, W) in the palette of ``reference`` (N or 1, 3, h, w).

    Reinhard et al. 2001, or Hertzmann et al. 2001 with the whole covariance.

    Args:
        image: in [0, 1].
        reference: in [0, 1].
        space: ``"rgb"`` matches mean and deviation of R, G and B each for itself; ``"lalphabeta"``
            does so in Reinhard's decorrelated space; ``"covariance"`` matches mean and the whole
            3×3 covariance of RGB.

    Returns:
        (N, 3, H, W), clamped to [0, 1].

    Raises:
        SettingError: another space.
        ImageError: not RGB pictures in [0, 1].
    """
    check_images(image, "image")
    check_images(reference, "reference")
    transfers: dict[str, Callable[[], Tensor]] = {
        "rgb": lambda: match_channel_statistics(image, reference),
        "lalphabeta": lambda: lalphabeta_to_rgb(
            match_channel_statistics(rgb_to_lalphabeta(image), rgb_to_lalphabeta(reference))
        ),
        "covariance": lambda: match_covariance(image, reference),
    }
    if space not in transfers:
        raise SettingError(f"There is no space {space!r}. Choose one of {', '.join(SPACES)}.")
    return transfers[space]().clamp(0, 1)


# --- The texture loss ----------------------------------------------------------------------------


@torch.no_grad()
def gram_targets(extractor: FeatureExtractor, image: Tensor) -> dict[str, Tensor]:
    """Gram matrices of a texture (Gatys et al. 2015, eq. 3), computed once before an optimisation.

    Args:
        extractor: the network with the wanted layers.
        image: (N, 3, H, W) in [0, 1].

    Returns:
        ``{layer: (N, C, C)}``, divided by the number of positions, in the extractor's order.
    """
    features = extractor(image)
    return {layer: gram_matrix(features[layer]) for layer in extractor.layers}


def texture_loss(
    features: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    layer_weights: Mapping[str, float] | None = None,
) -> Tensor:
    r"""Weighted sum of the layers' style losses, :math:`\sum_l w_l E_l` (Gatys et al. 2015, eq. 5).

    Args:
        features: ``{layer: (N, C, H, W)}`` of the image being made; more layers may be there.
        targets: ``{layer: (N or 1, C, C)}`` from `gram_targets`.
        layer_weights: :math:`w_l`, one for each layer of ``targets``; by default equal weights
            that sum to 1.

    Returns:
        A scalar.

    Raises:
        LayerError: a layer of ``targets`` is missing among the features.
        SettingError: the weights do not name the layers of ``targets``.
    """
    missing = [layer for layer in targets if layer not in features]
    if missing or not targets:
        asked = ", ".join(missing) or "any layer of the empty targets"
        raise LayerError(f"No features for {asked}. There are features of {', '.join(features)}.")
    weights = _layer_weights(tuple(targets), layer_weights)
    losses = [
        weights[layer] * style_loss(gram_matrix(features[layer]), target)
        for layer, target in targets.items()
    ]
    return torch.stack(losses).sum()


def _layer_weights(
    layers: tuple[str, ...], layer_weights: Mapping[str, float] | None
) -> Mapping[str, float]:
    if layer_weights is None:
        return dict.fromkeys(layers, 1 / len(layers))
    if set(layer_weights) != set(layers):
        raise SettingError(
            f"The weights name {', '.join(layer_weights)}, the layers are {', '.join(layers)}. "
            "Give each layer one weight."
        )
    checks.at_least(0, **layer_weights)
    return layer_weights


def balanced_weights(targets: Mapping[str, Tensor], total: float = 1e4) -> dict[str, float]:
    r"""Weights with which no layer decides alone:
    :math:`w_l \propto 1 / \sqrt{E_l^0}`, where :math:`E_l^0 = \lVert A_l \rVert^2 / 4 N_l^2` is the
    loss of a picture without any features.

    Differs from Gatys et al. 2015: they rescaled the network so that every channel averages 1 and
    used equal weights. Here the network stays as it was trained. Equal weights would leave pool4
    about a thousandth of the loss; weights 1 / E would leave a hatch of noise in the pixels.

    Args:
        targets: ``{layer: (N, C, C)}`` from `gram_targets`.
        total: the whole loss of a picture without features; 0.01 % of it is then 1.

    Raises:
        SettingError: a total that is not above 0.
        ShapeError: a layer that is zero everywhere.
    """
    if not total > 0:
        raise SettingError(f"total={total}: the weights are divided out of a number above 0.")
    empty = {
        name: float(target.cpu().double().square().mean(0).sum()) / (4 * target.shape[1] ** 2)
        for name, target in targets.items()
    }
    dead = [name for name, value in empty.items() if not value > 0]
    if dead:
        raise ShapeError(f"The features of {', '.join(dead)} are zero or not finite; no weight.")
    whole = sum(value**0.5 for value in empty.values())
    return {name: total / (value**0.5 * whole) for name, value in empty.items()}


# --- Synthesis -----------------------------------------------------------------------------------


def texture_noise(texture: Tensor, size: int | tuple[int, int], seed: int = 0) -> Tensor:
    """White noise with the mean and the colour covariance of a texture: where synthesis starts.

    Differs from Gatys et al. 2015 in that: theirs has no colours of the texture.

    Args:
        texture: (1, 3, h, w) in [0, 1].
        size: height and width in pixels, or one number for both.
        seed: of the noise.

    Returns:
        (1, 3, H, W) in [0, 1].

    Raises:
        ImageError: a size that is none.
        ShapeError: a texture that is no picture.
    """
    height, width = sides_of(size)
    noise = torch.randn(1, 3, height, width, generator=generator(seed)).to(texture)
    return match_covariance(noise, texture).clamp(0, 1)


def synthesise(
    texture: Tensor,
    up_to: str | Iterable[str] = "pool4",
    size: int | None = None,
    *,
    steps: int = 120,
    coarse_steps: int = 60,
    seed: int = 0,
    network: str = "vgg16",
    weights: str = "imagenet",
    pool: str = "avg",
    padding: str = "zeros",
    precision: str = "float32",
    layer_weights: Mapping[str, float] | None = None,
    match_colours: bool = True,
    method: str = "lbfgs",
    snapshots: int = 0,
    progress: bool = True,
) -> PixelResult:
    """Make a new picture with the Gram matrices of ``texture`` (Gatys et al. 2015), from noise.

    Args:
        texture: the original, (1, 3, h, w) in [0, 1].
        up_to: a key of `LAYERS_UP_TO` ("conv1_1", "pool1", … "pool4"), or the layers by name.
        size: side of the new picture in pixels; by default the texture's shorter side.
        steps: evaluations of the loss at that size.
        coarse_steps: evaluations at half of that size, before; 0 for none. Large structures are
            small there, and the network sees them whole.
        seed: of the noise, and of the network if its weights are random.
        network, weights, pool, padding, precision: see `FeatureExtractor`.
        layer_weights: one for each layer; by default `balanced_weights`.
        match_colours: give the result the mean and colour covariance of the texture at the end.
        method, snapshots, progress: see `optimise_pixels`.

    Returns:
        The picture and its history.

    Raises:
        LayerError: ``up_to`` is neither a known depth nor layers of the network.
        SettingError: another argument that cannot be used.
        ImageError: the texture is no picture in [0, 1], or the size none.
        ShapeError: several textures.
    """
    _check_texture(texture)
    size = min(texture.shape[-2:]) if size is None else sides_of(size)[0]
    extractor = FeatureExtractor(
        network,
        _layers_up_to(up_to),
        pool=pool,
        padding=padding,
        weights=weights,
        seed=seed,
        precision=precision,
    ).to(texture.device)
    make_loss = functools.partial(_loss_at, extractor, texture, size, layer_weights)
    sizes, counts = ([size // 2, size], [coarse_steps, steps]) if coarse_steps else ([size], steps)
    settings = dict(method=method, snapshots=snapshots, progress=progress)
    start = texture_noise(texture, sizes[0], seed)
    result = coarse_to_fine(make_loss, start, sizes, counts, **settings)
    if match_colours:
        result.image = match_covariance(result.image, texture).clamp(0, 1)
    return result


def _loss_at(
    extractor: FeatureExtractor,
    texture: Tensor,
    full_size: int,
    layer_weights: Mapping[str, float] | None,
    size: int,
) -> Callable[[Tensor], Tensor]:
    """The texture loss for pictures of ``size``; the texture shrinks by as much as they do."""
    side = round(min(texture.shape[-2:]) * size / full_size)
    targets = gram_targets(extractor, texture if size == full_size else resize(texture, side))
    chosen = balanced_weights(targets) if layer_weights is None else layer_weights
    return lambda image: texture_loss(extractor(image), targets, chosen)


def _check_texture(texture: Tensor) -> None:
    check_images(texture, "texture")
    if len(texture) != 1:
        raise ShapeError(f"Expected one texture (1, 3, H, W), got {tuple(texture.shape)}.")


def _layers_up_to(up_to: str | Iterable[str]) -> tuple[str, ...]:
    if not isinstance(up_to, str):
        return tuple(up_to)
    if up_to not in LAYERS_UP_TO:
        known = ", ".join(LAYERS_UP_TO)
        raise LayerError(f"There is no depth {up_to!r}. Choose one of {known}, or give a tuple.")
    return LAYERS_UP_TO[up_to]
