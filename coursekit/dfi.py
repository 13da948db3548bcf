r"""Deep Feature Interpolation (Upchurch, Gardner, Pleiss, Pless, Snavely, Bala & Weinberger 2017).

Change one attribute of a face along a straight line in the feature space of a network that never
saw that task. Four steps: deep features φ, source and target sets, the attribute vector
:math:`w = \bar\varphi^t - \bar\varphi^s`, and an image z with :math:`\varphi(z) = \varphi(x) + αw`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from coursekit.core import checks
from coursekit.core.errors import SettingError, ShapeError
from coursekit.core.features import FeatureExtractor
from coursekit.core.images import check_images
from coursekit.core.losses import total_variation
from coursekit.core.optimise import PixelResult, optimise_pixels

Space: TypeAlias = Callable[[Tensor], Tensor]

#: What the paper uses: the first convolution after each of the last three poolings.
PAPER_LAYERS = ("relu3_1", "relu4_1", "relu5_1")
#: Differs from Upchurch et al. 2017 in relu2_1: at 128 pixels relu3_1 is too coarse to hold colour,
#: and dark frames of glasses come out as thin light lines (notebook 06 measures it).
LAYERS = ("relu2_1", *PAPER_LAYERS)
TV_WEIGHT = 0.05
STEPS = 40
SCALINGS = ("plain", "paper")


class DeepSpace:
    r"""The map φ: images (N, 3, H, W) in [0, 1] -> one long vector each, (N, D).

    The feature maps of all layers, flattened and laid end to end. Each layer is divided by its mean
    activation on ``examples``, so that no layer counts more because its numbers are larger.

    Differs from Upchurch et al. 2017, who take VGG-19 with every *filter* scaled to mean activation
    1: here it is VGG-16 (the course's network) and one number a *layer*, because a filter that
    these faces hardly ever excite would be blown up. Pooling takes averages: max pooling hands its
    gradient to one pixel in four, and edits come out scratchy.

    Args:
        examples: images to measure the mean activations on, (N, 3, H, W).
        layers: which feature maps.
        network: further arguments of `FeatureExtractor` (``precision``, ``pool``, ``weights`` …).

    Attributes:
        scales: the mean activation of each layer.

    Raises:
        LayerError, ImageError, SettingError, WeightsError: as `FeatureExtractor`.
    """

    def __init__(self, examples: Tensor, layers: Sequence[str] = LAYERS, **network: Any) -> None:
        settings = {"network": "vgg16", "pool": "avg", "precision": "auto", **network}
        self.extractor = FeatureExtractor(layers=layers, **settings).to(examples.device)
        self.layers = self.extractor.layers
        with torch.no_grad():
            features = self.extractor(examples)
        self.scales = {name: float(each.float().mean()) for name, each in features.items()}
        silent = [name for name, scale in self.scales.items() if scale <= 0]
        if silent:
            raise SettingError(f"{', '.join(silent)} is silent on the examples; give real faces.")

    def maps(self, images: Tensor) -> dict[str, Tensor]:
        """The scaled feature maps ``{layer: (N, C, h, w)}``, float32, with gradients."""
        found = self.extractor(images)
        return {name: each.float() / self.scales[name] for name, each in found.items()}

    def __call__(self, images: Tensor) -> Tensor:
        """φ of each image, (N, D), with gradients."""
        return torch.cat([each.flatten(1) for each in self.maps(images).values()], dim=1)

    @torch.no_grad()
    def embed(self, images: Tensor, *, batch: int = 16) -> Tensor:
        """φ of many images (float in [0, 1] or uint8), a batch at a time, without gradients."""
        return torch.cat([self(as_float(part)) for part in images.split(batch)])


def as_float(images: Tensor) -> Tensor:
    """uint8 images of any shape -> float in [0, 1]; others as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


# --- Step 2: source and target sets


def nearest(query: Tensor, collection: Tensor, k: int) -> Tensor:
    r"""The k members of a collection with the smallest cosine distance to a query, nearest first.

    The sets of Upchurch et al. 2017, section 3, are chosen so:
    :math:`d(a, b) = 1 - \frac{a^T b}{\lVert a\rVert\,\lVert b\rVert}`.

    Args:
        query: (D,).
        collection: (N, D).
        k: how many, 1 … N.

    Returns:
        Indices (k,), int64.

    Raises:
        ShapeError: vectors of different lengths.
        SettingError: k is not in 1 … N.
    """
    if query.dim() != 1 or collection.shape[1:] != query.shape:
        raise ShapeError(
            f"A query {tuple(query.shape)} in {tuple(collection.shape)}: (D,), (N, D)."
        )
    if not 1 <= k <= len(collection):
        raise SettingError(
            f"k={k} neighbours of {len(collection)} faces: take 1 … {len(collection)}, match fewer "
            "attributes, or use a larger collection."
        )
    cosine = F.normalize(collection, dim=1) @ F.normalize(query, dim=0)
    return cosine.topk(k).indices


# --- Step 3: the attribute vector


def attribute_vector(target: Tensor, source: Tensor) -> Tensor:
    r""":math:`w = \frac1{K_t}\sum_i \varphi(x^t_i) - \frac1{K_s}\sum_i \varphi(x^s_i)` (section 3).

    Args:
        target: φ of the images with the attribute, (K_t, D).
        source: φ of those without, (K_s, D).

    Returns:
        (D,), pointing from source to target.

    Raises:
        ShapeError: not two dimensions, an empty set, or different lengths.
    """
    numbers = target.numel() * source.numel()
    if target.dim() != 2 or target.shape[1:] != source.shape[1:] or not numbers:
        raise ShapeError(
            f"Sets {tuple(target.shape)} and {tuple(source.shape)}: give (K, D) each, not empty."
        )
    return target.mean(dim=0) - source.mean(dim=0)


def shift(
    features: Tensor, vector: Tensor, beta: float | Tensor, *, scaling: str = "plain"
) -> Tensor:
    r"""Where the edited image should lie: :math:`\varphi(x) + \alpha w` (section 3).

    ``"plain"``: :math:`\alpha = \beta`, so that β = 1 is the whole way from the mean of the source
    set to the mean of the target set. ``"paper"``: :math:`\alpha = \beta / (\frac1D \lVert w
    \rVert^2)`, as the authors' code scales it (β = 0.4 there): a vector that is short because its
    sets are noisy is stretched. The lecture's β from 0.1 to 1.0 is of the second kind.

    Args:
        features: φ(x), (N, D).
        vector: w, (D,) or (N, D).
        beta: the strength; one number, or one for each image, (N,).
        scaling: ``"plain"`` or ``"paper"``.

    Returns:
        (N, D).

    Raises:
        SettingError: another scaling, a beta that is not finite, or a vector of zeros to divide by.
        ShapeError: a vector, or a number of betas, that does not fit the features.
    """
    if scaling not in SCALINGS:
        raise SettingError(f"scaling={scaling!r} is not known; choose one of {SCALINGS}.")
    alpha = torch.as_tensor(beta, dtype=features.dtype, device=features.device).reshape(-1, 1)
    counts, fits = (1, len(features)), vector.shape in (features.shape, features.shape[1:])
    if features.dim() != 2 or not fits or len(alpha) not in counts:
        raise ShapeError(
            f"Features {tuple(features.shape)}, vector {tuple(vector.shape)} and {len(alpha)} beta "
            "do not fit: (N, D), (D,) or (N, D), and one beta or N."
        )
    if not torch.isfinite(alpha).all():
        raise SettingError(f"beta={beta} must be a finite number, such as 1.")
    if scaling == "paper":
        power = vector.square().mean(dim=-1, keepdim=True)
        if not power.all():
            raise SettingError("The vector is zero: two sets with one mean give no direction.")
        alpha = alpha / power
    return features + alpha * vector


# --- Step 4: reconstruction


def reconstruction_loss(
    features: Tensor, target: Tensor, images: Tensor, *, tv_weight: float = TV_WEIGHT
) -> dict[str, Tensor]:
    r"""The objective of the last step (Upchurch et al. 2017, section 3):

    :math:`\frac12 \lVert \varphi(z) - (\varphi(x) + \alpha w) \rVert^2 + \lambda R(z)`, with R the
    total variation of exponent 2.

    Differs from the paper: the first term is divided by D and the second by the number of pixel
    values, so that one λ serves all sizes and layers. The batch is averaged.

    Args:
        features: φ(z), (N, D).
        target: where they should be, (N, D); no gradient goes there.
        images: z, (N, 3, H, W) in [0, 1].
        tv_weight: λ.

    Returns:
        ``{"features": …, "tv": …}``, weighted.

    Raises:
        ShapeError: features and target differ in shape.
    """
    if features.shape != target.shape:
        raise ShapeError(f"Features {tuple(features.shape)}, target {tuple(target.shape)}: (N, D).")
    distance = (features - target.detach()).square().mean() / 2
    smoothness = total_variation(images) / images[0].numel()
    return {"features": distance, "tv": tv_weight * smoothness}


def reconstruct(
    space: Space,
    target: Tensor,
    start: Tensor,
    *,
    tv_weight: float = TV_WEIGHT,
    **optimisation: Any,
) -> PixelResult:
    """Find images whose features are ``target`` (section 3), beginning with those to be edited.

    All images are optimised together by L-BFGS, as in the paper. Its picture of the curvature is
    then shared: companions change the path of an image a little, not what it looks for. Adam keeps
    them apart, but moves every pixel by the same amount whether it matters or not, and flat areas
    become noisy.

    Args:
        space: φ, images -> (N, D).
        target: (N, D), from `shift`.
        start: (N, 3, H, W) in [0, 1]: the faces themselves.
        tv_weight: λ of `reconstruction_loss`.
        optimisation: arguments of `optimise_pixels` (``steps``, ``snapshots``, ``progress`` …).

    Raises:
        ShapeError: the target does not fit the start.
        SettingError, OptimisationError: as `optimise_pixels`; a ``tv_weight`` below 0.
    """
    checks.at_least(0, tv_weight=tv_weight)
    target = target.detach()

    def loss(images: Tensor) -> dict[str, Tensor]:
        return reconstruction_loss(space(images), target, images, tv_weight=tv_weight)

    return optimise_pixels(loss, start, **{"steps": STEPS, **optimisation})


def edit(
    space: Space,
    images: Tensor,
    sets: Sequence[tuple[Tensor, Tensor]] | Tensor,
    beta: float | Tensor,
    *,
    scaling: str = "plain",
    **settings: Any,
) -> PixelResult:
    """Steps 3 and 4 (Upchurch et al. 2017, section 3) for several faces at once.

    Args:
        space: φ, such as a `DeepSpace`.
        images: faces to edit, (N, 3, H, W) in [0, 1].
        sets: (source images, target images) of each face, as `dfi_faces.Gallery.sets` returns them;
            or what `vectors_of` made of them, (N, D), when several edits share them.
        beta: strength, one for all or one for each face, (N,).
        scaling: as in `shift`.
        settings: of `reconstruct`.

    Raises:
        SettingError: not one pair of sets, or one vector, for each face.
        ImageError: faces that are no pictures in [0, 1].
        ShapeError: an empty set, or sets of another size than the faces.
    """
    check_images(images, "faces")
    if len(sets) != len(images):
        raise SettingError(f"{len(images)} faces and {len(sets)} pairs of sets; give one each.")
    vectors = sets if isinstance(sets, Tensor) else vectors_of(space, sets)
    with torch.no_grad():
        target = shift(space(images), vectors, beta, scaling=scaling)
    return reconstruct(space, target, images, **settings)


def vectors_of(space: Space, sets: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """`vector_between` of each pair of sets, (N, D); a pair that occurs again is computed once.

    Source: none; step 3 of Upchurch et al. 2017 for several faces.

    Args:
        space: φ.
        sets: (source images, target images) of each face.

    Raises:
        SettingError: no pairs.
        ShapeError: a set is empty.
    """
    if not len(sets):
        raise SettingError("There are no sets; give a pair (source, target) for each face.")
    # The tensors stay alive in ``sets``, so no two of them share an id.
    different = {(id(source), id(target)): (source, target) for source, target in sets}
    found = {key: vector_between(space, *pair) for key, pair in different.items()}
    return torch.stack([found[id(source), id(target)] for source, target in sets])


@torch.no_grad()
def vector_between(space: Space, source: Tensor, target: Tensor, *, batch: int = 16) -> Tensor:
    """`attribute_vector` (section 3) of two sets of *images*: (D,), a batch at a time.

    Images are (M, 3, H, W), float in [0, 1] or uint8.

    Raises:
        ShapeError: one of the sets is empty.
    """
    return _mean(space, target, batch) - _mean(space, source, batch)


def _mean(space: Space, images: Tensor, batch: int) -> Tensor:
    if not len(images):
        raise ShapeError(f"A set of pictures is empty: {tuple(images.shape)}. Give one or more.")
    sums = [space(as_float(part)).sum(dim=0) for part in images.split(batch)]
    return torch.stack(sums).sum(dim=0) / len(images)


def pixel_edit(
    images: Tensor, sets: Sequence[tuple[Tensor, Tensor]], beta: float | Tensor
) -> Tensor:
    """The baseline: the same four steps with φ = the pixels themselves, clamped to [0, 1].

    ``images`` are (N, 3, H, W) in [0, 1]; ``sets`` holds a pair (source, target) for each of them,
    (k, 3, H, W) in [0, 1] or uint8.

    Raises:
        SettingError: not one pair of sets for each picture, or an empty set.
    """
    if not sets or len(sets) != len(images) or not all(len(each) for pair in sets for each in pair):
        raise SettingError(f"{len(images)} faces and {len(sets)} pairs of sets; give one each.")
    vectors = [as_float(target).mean(0) - as_float(source).mean(0) for source, target in sets]
    strength = torch.as_tensor(beta, dtype=images.dtype, device=images.device).reshape(-1, 1, 1, 1)
    return (images + strength * torch.stack(vectors).to(images)).clamp(0, 1)


def line(first: Tensor, last: Tensor, count: int) -> Tensor:
    r"""Points :math:`(1 - t)\,a + t\,b` on the straight line, t = 0 … 1: (count, …).

    Args:
        first, last: a and b, of one shape (…).
        count: how many points, both ends included.

    Raises:
        SettingError: fewer than two points.
        ShapeError: ends of two shapes.
    """
    if first.shape != last.shape:
        raise ShapeError(f"A line from {tuple(first.shape)} to {tuple(last.shape)}: one shape.")
    if count < 2:
        raise SettingError(f"count={count}: a line needs its two ends.")
    share = torch.linspace(0, 1, count, dtype=first.dtype, device=first.device)
    return torch.lerp(first[None], last[None], share.view(-1, *[1] * first.dim()))


def feature_line(
    space: Space, first: Tensor, last: Tensor, count: int, **settings: Any
) -> PixelResult:
    """Images on the straight line between two images in feature space, found by `reconstruct`.

    Each starts from the end it is nearer to, as DFI starts from the image to be edited.

    Args:
        space: φ.
        first, last: (1, 3, H, W).
        count: how many, both ends included.
        settings: of `reconstruct`.
    """
    with torch.no_grad():
        target = line(space(first)[0], space(last)[0], count)
    near = [first if 2 * index < count - 1 else last for index in range(count)]
    return reconstruct(space, target, torch.cat(near), **settings)
