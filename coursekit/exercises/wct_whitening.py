"""Exercises of topic 05: whitening and colouring."""

from __future__ import annotations

from coursekit import wct
from coursekit.exercises import wct_cases as cases
from coursekit.exercises import wct_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

# float32 eigenvectors differ a little from machine to machine; mistakes differ by much more.
_EIGEN = 2e-3

# --- Whitening -----------------------------------------------------------------------------------

WHITEN = Exercise(
    id="wct.whiten",
    title="Whitening",
    points=3,
    difficulty="hard",
    stub='''
def whiten(features):
    """Features (N, C, H, W) with mean 0 and, as far as their rank goes, covariance 1.

    E D^(-1/2) Eᵀ (f - m), where E D Eᵀ is the covariance divided by the number of positions.
    Directions with less than 1e-5 of the largest eigenvalue become 0.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=wct.whiten,
    cases=(
        Case("two pictures, 5 channels", cases.stacks((2, 5, 6, 9)), tolerance=_EIGEN),
        Case("a channel is nearly the difference of two", cases.nearly_repeated_channel, _EIGEN),
        Case("more channels than positions", cases.stacks((1, 8, 2, 3)), tolerance=_EIGEN),
        Case("the second picture is a thousand times weaker", cases.weak_second, _EIGEN),
    ),
    hints=(
        "Three steps: flatten to (N, C, M) and take each channel's mean away; the covariance; a "
        "matrix made of it, times the rows without their mean.",
        "torch.linalg.eigh gives eigenvalues in rising order and the eigenvectors in columns: the "
        "covariance is E diag(values) Eᵀ. Which power of the values makes the covariance 1?",
        "Turn into the eigenvectors (Eᵀ), divide each direction by its deviation, turn back (E). "
        "Where a value is below 1e-5 of the last one, the factor is 0 (torch.where).",
    ),
    mistakes=(
        Mistake(
            "no truncation",
            wrong.whitened(wrong.not_truncated),
            "Directions that hold nothing but rounding are blown up to the size of the others.",
            "eigenvalues near 0 are raised to −1/2 like all others; give them the factor 0.",
        ),
        Mistake(
            "threshold not relative",
            wrong.whitened(wrong.fixed_threshold),
            "A picture with weak features comes out as 0.",
            "eigenvalues are compared with a fixed number, or with the largest one of the whole "
            "batch; the threshold is 1e-5 of each picture's own largest eigenvalue.",
        ),
        Mistake(
            "mean not removed",
            wrong.whitened(centre=False),
            "The second moment becomes 1, not the covariance: the mean still counts.",
            "the mean of each channel was taken away neither before the covariance nor after.",
        ),
        Mistake(
            "mean left in the features",
            wrong.mean_left_in,
            "The covariance is 1, but the mean is not 0.",
            "the matrix is applied to the features as they came, not to those without their mean.",
        ),
        Mistake(
            "mean put back",
            wrong.mean_put_back,
            "The covariance is 1, but the mean is the old one.",
            "the content's mean is added at the end; the style's mean comes later, in colouring.",
        ),
        Mistake(
            "power +1/2",
            wrong.whitened(wrong.other_power(-1)),
            "Strong directions become stronger.",
            "the eigenvalues are raised to +1/2; that is colouring with the content's own matrix.",
        ),
        Mistake(
            "power -1",
            wrong.whitened(wrong.other_power(2)),
            "Strong directions become the weak ones.",
            "the inverse of the covariance is used; divide by deviations, not by variances.",
        ),
        Mistake(
            "PCA, not turned back",
            wrong.whitened(wrong.not_turned_back),
            "The covariance is 1, but channel 3 is not channel 3 any more.",
            "the last factor E is missing: the result is in the coordinates of the eigenvectors.",
        ),
        Mistake(
            "turned the wrong way",
            wrong.whitened(wrong.turned_the_wrong_way),
            "The covariance is not 1.",
            "E and Eᵀ are exchanged: eigh returns the eigenvectors in columns.",
        ),
        Mistake(
            "Cholesky",
            wrong.whitened(wrong.triangular),
            "The covariance is 1, but the features are turned.",
            "the triangular root is another root; the paper's is symmetric.",
        ),
        Mistake(
            "diagonal only",
            wrong.whitened(wrong.diagonal),
            "Each channel has deviation 1, but channels still go together.",
            "every channel is divided by its own deviation; that is instance normalisation.",
        ),
        Mistake(
            "not divided by M",
            wrong.whitened(divide=False),
            "The result is too small by √M.",
            "the covariance is a sum over positions that is not divided by their number.",
        ),
        Mistake(
            "divided by M - 1",
            wrong.whitened(correction=1),
            "The result is too small by √((M − 1) / M).",
            "the covariance is divided by M − 1, as torch.cov does; here it is M.",
        ),
        Mistake(
            "batch pooled",
            wrong.batch_pooled,
            "The pictures of a batch share one mean and one covariance.",
            "the batch is flattened together with the positions.",
        ),
    ),
    gradient=False,
)

# --- Colouring -----------------------------------------------------------------------------------

COLOUR = Exercise(
    id="wct.colour",
    title="Colouring",
    points=2,
    stub='''
def colour(whitened, style):
    """White features (N, C, H, W) with mean and covariance of style (N or 1, C, h, w).

    E_s D_s^(1/2) E_sᵀ f + m_s. The style's covariance is divided by its own number of positions.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=wct.colour,
    cases=(
        Case("one style for three pictures", cases.one_style, tolerance=_EIGEN),
        Case("a style for each picture", cases.two_styles, tolerance=_EIGEN),
        Case("fewer positions than channels, two of them silent", cases.poor_style, _EIGEN),
    ),
    hints=(
        "It is whitening backwards, with the statistics of the other picture.",
        "Mean and covariance come from `style` alone, whatever the size of `whitened` is.",
        "Turn into the style's eigenvectors, multiply by its deviations, turn back; then add the "
        "style's mean, one number a channel.",
    ),
    mistakes=(
        Mistake(
            "style mean missing",
            wrong.coloured(mean=False),
            "The covariance is right, the mean is 0.",
            "the mean of the style is not added at the end.",
        ),
        Mistake(
            "one mean for all channels",
            wrong.mean_of_everything,
            "The covariance is right, but all channels have the same mean.",
            "the style's mean is taken over the channel axis too.",
        ),
        Mistake(
            "power -1/2",
            wrong.whitened_again,
            "Strong directions of the style come out weak.",
            "the eigenvalues are raised to −1/2: that whitens once more.",
        ),
        Mistake(
            "power 1",
            wrong.coloured(wrong.other_power(2)),
            "Deviations come out as variances.",
            "the features are multiplied by the whole covariance, not by its square root.",
        ),
        Mistake(
            "not turned into the eigenvectors",
            wrong.coloured(wrong.not_turned_in),
            "The covariance is right, but the content is scrambled among the channels.",
            "the factor Eᵀ is missing: channels are taken for directions of the eigenvectors.",
        ),
        Mistake(
            "not turned back",
            wrong.coloured(wrong.not_turned_back),
            "The covariance is diagonal.",
            "the last factor E is missing.",
        ),
        Mistake(
            "Cholesky",
            wrong.coloured(wrong.triangular),
            "The covariance is right, but the features are turned.",
            "the triangular root is another root; the paper's is symmetric.",
        ),
        Mistake(
            "diagonal only",
            wrong.coloured(wrong.diagonal),
            "Each channel has the style's deviation, but channels do not go together.",
            "only the variances are used: that is AdaIN, the diagonal special case.",
        ),
        Mistake(
            "style not centred",
            wrong.coloured(centre=False),
            "The style's mean is in the covariance as well.",
            "the matrix is the Gram matrix of the style; take its mean away first.",
        ),
        Mistake(
            "not divided by M",
            wrong.coloured(divide=False),
            "The deviations are too large by the square root of the number of positions.",
            "the style's covariance is not divided by its number of positions.",
        ),
        Mistake(
            "divided by the content's M",
            wrong.divided_by_content,
            "The deviations are right only where both pictures have the same size.",
            "the style's sum is divided by the number of positions of the content.",
        ),
        Mistake(
            "root of negative eigenvalues",
            wrong.coloured(wrong.plain_power),
            "A style with silent channels, or with few positions, gives NaN.",
            "rounding leaves some eigenvalues a little below 0, and their root is NaN; "
            "clamp(min=0) before it.",
        ),
    ),
    gradient=False,
)
