"""Bad inputs of topic 06."""

from __future__ import annotations

import torch
from bad_inputs import NAN, QUIET, RANDOM, SHELF, case, channels_last, flat, in_bytes, ones, picture

from coursekit import (
    dfi,
    dfi_align,
    dfi_faces,
    dfi_identity,
)
from coursekit.core.errors import (
    DataError,
    ImageError,
    LayerError,
    OptimisationError,
    SettingError,
    ShapeError,
    WeightsError,
)


def edit(images: object, sets: object, beta: object = 1.0, **settings: object) -> object:
    return dfi.edit(flat, images, sets, beta, **QUIET | settings)


FACE, PAIR = picture(8), (picture(8), picture(8))

CASES = [
    case(
        "dfi: more neighbours than faces",
        lambda: dfi.nearest(ones(4), ones(5, 4), 9),
        SettingError,
        "k=9 & 1 … 5",
    ),
    case(
        "dfi: no neighbours",
        lambda: dfi.nearest(ones(4), ones(5, 4), 0),
        SettingError,
        "k=0 & 1 … 5",
    ),
    case(
        "dfi: a query of another space",
        lambda: dfi.nearest(ones(3), ones(5, 4), 2),
        ShapeError,
        "(3,) & (N, D)",
    ),
    case(
        "dfi: sets of two spaces",
        lambda: dfi.attribute_vector(ones(3, 4), ones(3, 5)),
        ShapeError,
        "(3, 5) & (K, D)",
    ),
    case(
        "dfi: an empty set of vectors",
        lambda: dfi.attribute_vector(ones(0, 4), ones(3, 4)),
        ShapeError,
        "(0, 4) & not empty",
    ),
    case(
        "dfi: no such scaling",
        lambda: dfi.shift(ones(2, 4), ones(4), 1.0, scaling="unit"),
        SettingError,
        "scaling='unit' & 'plain', 'paper'",
    ),
    case(
        "dfi: a vector of another space",
        lambda: dfi.shift(ones(2, 4), ones(5), 1.0),
        ShapeError,
        "(5,) & (N, D)",
    ),
    case(
        "dfi: three strengths for two faces",
        lambda: dfi.shift(ones(2, 4), ones(4), ones(3)),
        ShapeError,
        "3 beta & one beta or N",
    ),
    case(
        "dfi: a strength of NaN",
        lambda: dfi.shift(ones(2, 4), ones(4), NAN),
        SettingError,
        "beta=nan & finite",
    ),
    case(
        "dfi: a target of another space",
        lambda: dfi.reconstruct(flat, ones(1, 9), FACE, **QUIET),
        ShapeError,
        "(1, 9) & (N, D)",
    ),
    case(
        "dfi: a negative prior",
        lambda: dfi.reconstruct(flat, flat(FACE), FACE, tv_weight=-1.0, **QUIET),
        SettingError,
        "tv_weight=-1.0 & 0 or more",
    ),
    case(
        "dfi: one pair of sets for two faces",
        lambda: edit(picture(8, count=2), [PAIR]),
        SettingError,
        "2 faces and 1 pairs & one each",
    ),
    case(
        "dfi: an empty set of pictures",
        lambda: edit(FACE, [(FACE[:0], FACE)]),
        ShapeError,
        "(0, 3, 8, 8) & one or more",
    ),
    case(
        "dfi: faces, channels last",
        lambda: edit(channels_last(FACE), [PAIR] * 8),
        ImageError,
        "(8, 8, 3) & permute(2, 0, 1)",
    ),
    case(
        "dfi: faces in bytes",
        lambda: edit(in_bytes(FACE), [PAIR]),
        ImageError,
        "torch.uint8 & 0 … 1",
    ),
    case(
        "dfi: faces up to 255",
        lambda: edit(255 * FACE, [PAIR]),
        ImageError,
        "0 to 255 & Divide by 255",
    ),
    case(
        "dfi: sets of another size",
        lambda: edit(FACE, [(picture(16), picture(16))]),
        ShapeError,
        "(1, 192) & (1, 768)",
    ),
    case("dfi: no faces", lambda: edit(FACE[:0], []), ImageError, "(0, 3, 8, 8) & (N, 3, H, W)"),
    case(
        "dfi: pixels without sets",
        lambda: dfi.pixel_edit(FACE, [], 1.0),
        SettingError,
        "1 faces and 0 pairs & one each",
    ),
    case(
        "dfi: a line of one point",
        lambda: dfi.line(ones(4), ones(4), 1),
        SettingError,
        "count=1 & two ends",
    ),
    case(
        "dfi: a line between two spaces",
        lambda: dfi.feature_line(flat, FACE, picture(16), 3),
        ShapeError,
        "(768,) & one shape",
    ),
    case(
        "dfi: no such layer",
        lambda: dfi.DeepSpace(picture(), ["relu7_1"], **RANDOM),
        LayerError,
        "'relu7_1' & relu3_1",
    ),
    case(
        "dfi: one landmark",
        lambda: dfi_align.similarity_transform(ones(2, 1, 2), ones(1, 1, 2)),
        ShapeError,
        "(2, 1, 2) & 2 points or more",
    ),
    case(
        "dfi: two landmarks for six numbers",
        lambda: dfi_align.affine_transform(ones(2, 2, 2), ones(1, 2, 2)),
        ShapeError,
        "(2, 2, 2) & 3 points or more",
    ),
    case(
        "dfi: matrices for other pictures",
        lambda: dfi_align.warp(picture(), ones(2, 2, 3)),
        ShapeError,
        "1 images & (2, 2, 3)",
    ),
    case(
        "dfi: no such alignment",
        lambda: dfi_align.fit(ones(1, 4, 2), ones(1, 4, 2), "projective"),
        SettingError,
        "kind='projective' & similarity",
    ),
    case(
        "dfi: landmarks of other pictures",
        lambda: dfi_align.misalign(picture(count=2), ones(3, 5, 2)),
        ShapeError,
        "(3, 5, 2) & (2, 2, 3)",
    ),
    case(
        "dfi: no such attribute",
        lambda: dfi_faces.twin(dfi_faces.portrait_factors(2), "hat"),
        SettingError,
        "'hat' & glasses, beard",
    ),
    case("dfi: no portraits", lambda: dfi_faces.portraits(0), SettingError, "count=0 & at least 1"),
    case(
        "dfi: portraits of no size",
        lambda: dfi_faces.portraits(2, 0),
        SettingError,
        "size=0 & 16 or more",
    ),
    case(
        "dfi: a folder without a table",
        lambda: dfi_faces.attribute_folder(SHELF / "texts"),
        DataError,
        "attributes.csv & CSV file",
    ),
    case(
        "dfi: a table that says maybe",
        lambda: dfi_faces.attribute_folder(SHELF / "faces", 16),
        DataError,
        "'maybe' & 1 or 0",
    ),
    case(
        "dfi: an attribute held out that is none",
        lambda: dfi_faces.held_out(2, 16, "hat"),
        SettingError,
        "'hat' & glasses, beard",
    ),
    case(
        "dfi: identity of a grey face",
        lambda: dfi_identity.IdentityNetwork(width=4)(picture(96, channels=1)),
        ShapeError,
        "(1, 1, 96, 96) & (N, 3, H, W)",
    ),
    case(
        "dfi: a person nobody knows",
        lambda: dfi_identity.cosine_margin_loss(ones(2, 4), ones(3, 4), torch.tensor([0, 7])),
        SettingError,
        "0 to 7 & 3 people",
    ),
    case(
        "dfi: mixed features of two spaces",
        lambda: dfi_identity.mixed_loss(ones(1, 4), ones(1, 5), ones(1, 3), ones(1, 3), 0.5),
        ShapeError,
        "one shape each",
    ),
    case(
        "dfi: no such network",
        lambda: dfi_identity.load_identity("nobody"),
        WeightsError,
        "nobody & coursekit train",
    ),
    case(
        "dfi: a space of NaN",
        lambda: dfi.reconstruct(lambda x: NAN * flat(x), flat(FACE), FACE, **QUIET),
        OptimisationError,
        "'features' & finite number",
    ),
]
