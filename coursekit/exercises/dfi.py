"""Exercises of topic 06: the four steps of DFI, and the two losses mixed.

The alignment is in `dfi_alignment`.
"""

from __future__ import annotations

from coursekit import dfi, dfi_identity
from coursekit.exercises import dfi_alignment
from coursekit.exercises import dfi_cases as cases
from coursekit.exercises import dfi_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

# --- Step 2 --------------------------------------------------------------------------------------

_NEAREST = Exercise(
    id="dfi.nearest",
    title="Nearest neighbours in deep feature space",
    points=2,
    stub='''
def nearest(query, collection, k):
    """Indices (k,) of the rows of collection (N, D) with the least cosine distance to query (D,).

    The nearest comes first. Cosine distance: 1 - a·b / (|a| |b|).
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=dfi.nearest,
    cases=(
        Case("4 of 12 faces", cases.faces),
        Case("the nearest of 9, a short query", cases.one_neighbour),
    ),
    hints=(
        "A small cosine distance is a large cosine. Which of the two do you sort by?",
        "If every vector has length 1, the cosine is a plain product: one matrix times one vector.",
        "Divide each row by its own length, multiply with the query, and take the indices of "
        "topk(k), which sorts for you.",
    ),
    mistakes=(
        Mistake(
            "the farthest",
            wrong.farthest,
            "These are the faces that are least like the query.",
            "the largest distances are taken (or the smallest cosines).",
        ),
        Mistake(
            "not normalised",
            wrong.dot_product,
            "Vectors with large numbers win, whatever their direction.",
            "the product is not divided by the lengths of the rows.",
        ),
        Mistake(
            "Euclidean distance",
            wrong.euclid,
            "Short vectors win, whatever their direction.",
            "the length of the difference is taken instead of the cosine.",
        ),
        Mistake(
            "normalised along the wrong axis",
            wrong.along_columns,
            "The order is neither by cosine nor by product.",
            "each column of the collection is scaled to length 1; a face is a row.",
        ),
        Mistake(
            "nearest last",
            wrong.farthest_first,
            "The right faces, in the opposite order.",
            "they are sorted from the largest distance to the smallest.",
        ),
        Mistake(
            "sorted by index",
            wrong.unsorted,
            "The right faces, in the order of the collection.",
            "the indices are sorted as numbers, or read off a mask.",
        ),
        Mistake(
            "nearest left out",
            wrong.first_dropped,
            "The nearest face is missing.",
            "the first neighbour is dropped as if it were the query itself; here it is not.",
        ),
        Mistake(
            "all of them",
            wrong.whole_collection,
            "There are N indices instead of k.",
            "the sorted list is not cut after k.",
        ),
    ),
    gradient=False,
)

# --- Step 3 --------------------------------------------------------------------------------------

_ATTRIBUTE_VECTOR = Exercise(
    id="dfi.attribute_vector",
    title="The attribute vector",
    points=1,
    difficulty="easy",
    stub='''
def attribute_vector(target, source):
    """Mean of target (K_t, D) minus mean of source (K_s, D): a vector (D,)."""
    raise NotImplementedError("your turn")
'''.strip(),
    reference=dfi.attribute_vector,
    gradient=False,
    cases=(
        Case("as many faces as features", cases.sets(4, 4, 4)),
        Case("sets of different sizes", cases.sets(5, 3, 8)),
    ),
    hints=(
        "The vector should point from faces without the attribute to faces with it.",
        "Each set is averaged on its own. Which axis counts the faces?",
        "Two means over axis 0, and a difference. Mind which of the two is taken away.",
    ),
    mistakes=(
        Mistake(
            "source and target swapped",
            wrong.swapped,
            "The vector points the other way: it takes the attribute off.",
            "source minus target.",
        ),
        Mistake(
            "mean over the features",
            wrong.over_features,
            "There is one number for each face instead of one for each feature.",
            "the mean runs over axis 1, the features.",
        ),
        Mistake(
            "sums for means",
            wrong.summed,
            "The vector grows with the number of faces.",
            "the sums are not divided by the number of faces in each set.",
        ),
        Mistake(
            "one count for both",
            wrong.one_count,
            "It is right only when both sets have the same size.",
            "both sums are divided by the size of one of the sets.",
        ),
        Mistake(
            "scaled to length 1",
            wrong.unit_length,
            "The direction is right, the length is 1.",
            "the vector is normalised; here its length says how far the means are apart.",
        ),
        Mistake(
            "from the mean of everybody",
            wrong.from_everybody,
            "The direction is right, the vector is too short.",
            "the mean of both sets together is taken away instead of the mean of the source set.",
        ),
        Mistake(
            "one pair of faces",
            wrong.first_pair,
            "It is the difference of two faces, with all else that differs between them.",
            "only the first face of each set is used.",
        ),
    ),
)

_SHIFT = Exercise(
    id="dfi.shift",
    title="The shift by β",
    points=1,
    difficulty="easy",
    stub='''
def shift(features, vector, beta):
    """features (N, D) + beta * vector, with one strength for each image: beta (N,).

    vector is w: (D,) for all images, or (N, D).
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=dfi.shift,
    gradient=False,
    cases=(
        Case("as many images as features", lambda: cases.strengths(5, 5)),
        Case("three strengths", lambda: cases.strengths(3, 6)),
        Case("a vector for each image", cases.vector_each),
    ),
    hints=(
        "Nothing is blended: the face stays where it is, and a step is added.",
        "beta counts the images, so it belongs to axis 0; broadcasting lines shapes up from the "
        "right.",
        "Give beta a second axis of length 1 before you multiply.",
    ),
    mistakes=(
        Mistake(
            "blended with the vector",
            wrong.blended,
            "At β = 1 nothing of the face is left.",
            "(1 − β) φ + β w mixes a face with a difference; w is a step, not a place.",
        ),
        Mistake(
            "the wrong way",
            wrong.away,
            "The attribute is taken off instead of put on.",
            "β w is subtracted.",
        ),
        Mistake(
            "β along the features",
            wrong.beta_along_features,
            "Each feature has its own strength, and all images the same ones.",
            "beta (N,) is broadcast along axis 1; it belongs to axis 0.",
        ),
        Mistake(
            "β forgotten",
            wrong.whole_way,
            "Every image is shifted by the whole vector.",
            "beta is not used.",
        ),
        Mistake(
            "one β for all",
            wrong.first_strength,
            "All images are shifted as far as the first one.",
            "only beta[0] is used.",
        ),
        Mistake(
            "vector scaled to length 1",
            wrong.unit_vector,
            "The direction is right; all shifts have length β.",
            "the vector is normalised; here β = 1 is the whole vector.",
        ),
        Mistake(
            "divided by the mean square",
            wrong.squared_length,
            "The shift is scaled by the mean square of the vector.",
            "that is the scaling of the paper; here β multiplies the vector as it is.",
        ),
    ),
)

# --- Step 4 --------------------------------------------------------------------------------------

_RECONSTRUCTION = Exercise(
    id="dfi.reconstruction_loss",
    title="The reconstruction objective",
    points=3,
    difficulty="hard",
    stub='''
def reconstruction_loss(features, target, images, *, tv_weight):
    """{"features": ..., "tv": ...} for features (N, D), target (N, D), images (N, C, H, W).

    features: half the squared distance to the target, divided by D, averaged over the batch;
    no gradient reaches the target. tv: tv_weight * losses.total_variation(images) / (C*H*W).
    Use coursekit.losses.total_variation.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=dfi.reconstruction_loss,
    cases=(
        Case("two images", cases.reconstruction, keywords=cases.weight(0.7)),
        Case("one image, another λ", cases.one_image, keywords=cases.weight(2.5)),
    ),
    hints=(
        "Two terms in a dictionary; the optimiser adds them up.",
        "Dividing the sum of all squares by N and by D is one well-known function of torch.",
        "The target is a fact, not something to improve: .detach() it. total_variation already "
        "averages over the batch; what is left is the number of pixel values of one image.",
    ),
    mistakes=(
        Mistake(
            "the half forgotten",
            wrong.objective(half=False),
            "The first term is twice too large.",
            "the factor ½ is missing.",
        ),
        Mistake(
            "not divided by D",
            wrong.objective(over="nothing"),
            "The first term grows with the number of features.",
            "the sum of squares is not divided by D.",
        ),
        Mistake(
            "batch summed",
            wrong.objective(batch="sum"),
            "The first term grows with the number of images.",
            "the batch is summed; the course averages over it.",
        ),
        Mistake(
            "absolute differences",
            wrong.objective(power=1),
            "Large differences count for too little.",
            "absolute values are summed where squares belong.",
        ),
        Mistake(
            "TV missing",
            wrong.with_tv(wrong.tv_missing),
            "Nothing keeps the image smooth.",
            "the second term is zero.",
        ),
        Mistake(
            "λ forgotten",
            wrong.with_tv(wrong.tv_unweighted),
            "The second term does not depend on tv_weight.",
            "the total variation is not multiplied by λ.",
        ),
        Mistake(
            "TV not divided",
            wrong.with_tv(wrong.tv_summed),
            "The second term grows with the size of the image.",
            "the total variation is not divided by C·H·W.",
        ),
        Mistake(
            "TV divided by the batch twice",
            wrong.with_tv(wrong.tv_of_all),
            "The second term is N times too small.",
            "total_variation averages over the batch already; numel() divides by it again.",
        ),
        Mistake(
            "target not detached",
            wrong.target_attached,
            "The value is right, but the target gets a gradient as well.",
            "without .detach() (or no_grad) the goal would move towards the image.",
        ),
        Mistake(
            "features detached",
            wrong.features_detached,
            "The value is right, but no gradient of the first term reaches the image.",
            "the features are detached; only the target should be.",
        ),
    ),
)

# --- Perceptual and identity loss ----------------------------------------------------------------

_MIXED = Exercise(
    id="dfi.mixed_loss",
    title="Perceptual and identity loss, mixed",
    points=2,
    stub='''
def mixed_loss(features, target, vectors, wanted, share):
    """(1 - share) * perceptual + share * identity, a scalar, averaged over the batch.

    perceptual: half the squared distance of features (N, D) to target (N, D), divided by D.
    identity: 1 - cosine of vectors (N, E) and wanted (N, E), which need not have length 1.
    No gradient reaches target and wanted.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=dfi_identity.mixed_loss,
    cases=(
        Case("three faces, share 0.3", cases.mixture),
        Case("mostly identity", cases.mostly_identity),
    ),
    hints=(
        "share = 0 must give the objective of the plain edit, share = 1 the identity loss alone.",
        "torch has the cosine of two batches of vectors; along which axis?",
        "Both goals are facts: detach them. Average each term over the batch, then mix.",
    ),
    mistakes=(
        Mistake(
            "shares swapped",
            wrong.mixture(share="swapped"),
            "A large share gives more of the perceptual loss.",
            "share and 1 − share have changed places.",
        ),
        Mistake(
            "added instead of mixed",
            wrong.mixture(share="added"),
            "The perceptual loss never gets less.",
            "its factor 1 − share is missing.",
        ),
        Mistake(
            "cosine for distance",
            wrong.mixture(identity="cosine"),
            "The loss is small for somebody else and large for the same person.",
            "the identity loss is 1 − cosine, not the cosine.",
        ),
        Mistake(
            "vectors not normalised",
            wrong.mixture(identity="dot"),
            "Long vectors can make the loss negative.",
            "a product is taken without dividing by the lengths.",
        ),
        Mistake(
            "squared distance of vectors",
            wrong.mixture(identity="squared"),
            "The length of the vectors counts.",
            "the squared difference is used; only directions should be compared.",
        ),
        Mistake(
            "batch summed",
            wrong.mixture(batch="sum"),
            "The loss grows with the number of faces.",
            "the batch is summed instead of averaged.",
        ),
        Mistake(
            "the half forgotten",
            wrong.mixture(half=False),
            "The perceptual part is twice too large.",
            "the factor ½ is missing.",
        ),
        Mistake(
            "goals not detached",
            wrong.attached("target", "wanted"),
            "The value is right, but the goals get a gradient as well.",
            "target and wanted are facts: detach them.",
        ),
        Mistake(
            "target not detached",
            wrong.attached("target"),
            "The value is right, but target gets a gradient as well.",
            "only wanted is detached; target is a fact, too.",
        ),
        Mistake(
            "wanted not detached",
            wrong.attached("wanted"),
            "The value is right, but wanted gets a gradient as well.",
            "only target is detached; wanted is a fact, too.",
        ),
    ),
)

EXERCISES = (_NEAREST, _ATTRIBUTE_VECTOR, _SHIFT, _RECONSTRUCTION, dfi_alignment.SIMILARITY, _MIXED)
