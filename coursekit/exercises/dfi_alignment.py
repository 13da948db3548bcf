"""Exercise of topic 06: the similarity that brings landmarks together."""

from __future__ import annotations

from coursekit import dfi_align
from coursekit.exercises import dfi_cases as cases
from coursekit.exercises import dfi_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

SIMILARITY = Exercise(
    id="dfi.similarity_transform",
    title="Alignment: the best similarity",
    points=3,
    difficulty="hard",
    stub='''
def similarity_transform(points, target):
    """Matrices (N, 2, 3) = [s R | t] that bring points (N, K, 2) nearest to target (N or 1, K, 2).

    R turns (no mirroring: det R = 1), s > 0 scales, t moves; least squares over the K points.
    With centred p, q and the SVD q.mT @ p = U diag(d) Vh: R = U S Vh, S = diag(1, det(U Vh)),
    s = sum(d * diag(S)) / sum |p|^2, t = mean(q) - s R mean(p). Points are (x, y).
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=dfi_align.similarity_transform,
    cases=(
        Case("three faces", cases.marks),
        Case("one template for two faces", cases.one_template),
        Case("a mirrored target", cases.mirrored),
    ),
    hints=(
        "Everything but t is found from centred points: take each face's own mean away first.",
        "torch.linalg.svd works on a batch of 2×2 matrices; its third result is Vh already.",
        "The last column is t as a column of two numbers; torch.cat joins it to s R along the last "
        "axis. expand() makes one template serve all faces.",
    ),
    mistakes=(
        Mistake(
            "mirroring allowed",
            wrong.changed(proper=False),
            "A face may come out as its mirror image.",
            "S is missing: U Vh alone can have the determinant −1.",
        ),
        Mistake(
            "not scaled",
            wrong.changed(scaled="no"),
            "Faces are turned and moved, but keep their size.",
            "the scale s is missing.",
        ),
        Mistake(
            "scale from the target",
            wrong.changed(scaled="by the target"),
            "Small faces stay too small and large ones too large.",
            "s is divided by the squares of q instead of those of p.",
        ),
        Mistake(
            "scale upside down",
            wrong.changed(scaled="inverse"),
            "What should grow shrinks.",
            "1 / s is used.",
        ),
        Mistake(
            "turned back",
            wrong.changed(turned="back"),
            "Faces are turned the wrong way.",
            "R is transposed (or the SVD is taken of p.mT @ q).",
        ),
        Mistake(
            "not turned",
            wrong.changed(turned="not"),
            "Faces keep their tilt.",
            "the rotation is missing.",
        ),
        Mistake(
            "offset not turned",
            wrong.changed(offset="not turned"),
            "Size and angle are right, the place is not.",
            "t is mean(q) − mean(p); the mean of p has to be turned and scaled first.",
        ),
        Mistake(
            "offset is the target's mean",
            wrong.changed(offset="mean of the target"),
            "Size and angle are right, the place is not.",
            "t is the mean of q: that is right for centred points only.",
        ),
        Mistake(
            "x and y swapped",
            wrong.axes_swapped,
            "Rows and columns have changed places.",
            "points are (x, y); somewhere they are read as (row, column).",
        ),
        Mistake(
            "the other way",
            wrong.other_way,
            "The matrix brings the target to the points.",
            "the two arguments have changed places.",
        ),
        Mistake(
            "any linear map",
            dfi_align.affine_transform,
            "Faces may be sheared and squeezed.",
            "plain least squares for six numbers gives an affine map; a similarity has four.",
        ),
    ),
    gradient=False,
)
