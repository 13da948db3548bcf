"""Exercises of topic 05: strength, mixing, the chain of levels, and the list of all of them.

Whitening and colouring are in `wct_whitening`.
"""

from __future__ import annotations

from coursekit import wct
from coursekit.exercises import wct_cases as cases
from coursekit.exercises import wct_whitening
from coursekit.exercises import wct_wrong as wrong
from coursekit.exercises.engine import Case, Exercise, Mistake

# --- Strength ------------------------------------------------------------------------------------

_BLEND = Exercise(
    id="wct.blend",
    title="The strength of the style",
    points=1,
    difficulty="easy",
    stub='''
def blend(transformed, content, strength):
    """Features between those of the content (strength 0) and the transformed ones (1).

    A strength above 1 goes on in the same direction, beyond the transformed ones.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=wct.blend,
    gradient=False,
    cases=(
        Case("a strength of 0.3", cases.blended(0.3)),
        Case("a strength of 1", cases.blended(1.0)),
        Case("more than the whole style", cases.blended(1.4)),
    ),
    hints=(
        "What should come out for strength 0, and what for strength 1?",
        "A weighted mean of the two; the weights sum to 1.",
        "α of the transformed features and 1 − α of the content's. Features may be negative: do "
        "not clamp.",
    ),
    mistakes=(
        Mistake(
            "strength on the wrong side",
            wrong.other_side,
            "Strength 1 gives the content.",
            "α stands before the content, 1 − α before the transformed features.",
        ),
        Mistake(
            "whole content added",
            wrong.content_whole,
            "Features become too large as the strength grows.",
            "the content is added whole; its share is 1 − α.",
        ),
        Mistake(
            "strength ignored",
            wrong.strength_ignored,
            "The whole style, whatever the strength.",
            "the argument is not used.",
        ),
        Mistake(
            "always half",
            wrong.always_half,
            "Half of each, whatever the strength.",
            "the argument is not used.",
        ),
        Mistake(
            "clamped",
            wrong.clipped,
            "Features above 1 and below 0 are cut off.",
            "the blend is clamped as a picture would be; these are features.",
        ),
        Mistake(
            "strength held in [0, 1]",
            wrong.strength_held,
            "More than the whole style cannot be asked for.",
            "the strength is clamped to [0, 1]; above 1 the formula goes on as it is.",
        ),
        Mistake(
            "away from the style",
            wrong.away_from_style,
            "The result moves away from the style.",
            "the difference is taken the wrong way round: it is transformed − content.",
        ),
    ),
)

# --- Several styles ------------------------------------------------------------------------------

_MIX_STYLES = Exercise(
    id="wct.mix_styles",
    title="Several styles",
    points=1,
    difficulty="easy",
    stub='''
def mix_styles(transformed, shares):
    """Blend features in the manner of several styles; the shares are scaled to sum 1.

    transformed: a list of tensors (N, C, H, W); shares: a list of as many numbers.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=wct.mix_styles,
    gradient=False,
    cases=(
        Case("two styles, shares 3 and 1", cases.several(3.0, 1.0)),
        Case("three styles, shares that sum to 1", cases.several(0.2, 0.5, 0.3)),
    ),
    hints=(
        "A weighted mean of the tensors in the list.",
        "Shares of 3 and 1 mean three quarters and one quarter.",
        "Divide each share by the sum of all, multiply, add up.",
    ),
    mistakes=(
        Mistake(
            "shares not scaled",
            wrong.shares_not_scaled,
            "The result is too large by the sum of the shares.",
            "the shares are used as they are; divide by their sum.",
        ),
        Mistake(
            "divided by the number of styles",
            wrong.divided_by_count,
            "The result is off by the mean of the shares.",
            "the weighted sum is divided by how many styles there are, not by the sum of shares.",
        ),
        Mistake(
            "equal shares",
            wrong.equal_shares,
            "All styles count the same.",
            "the plain mean is taken; the shares are not used.",
        ),
        Mistake(
            "largest share takes all",
            wrong.largest_share,
            "Only one of the styles is there.",
            "the style with the largest share is returned.",
        ),
        Mistake(
            "softmax of the shares",
            wrong.softmax,
            "The shares are more alike, or less, than they should be.",
            "softmax also sums to 1, but it is no division by the sum.",
        ),
    ),
)

# --- Masks ---------------------------------------------------------------------------------------

_MIX_BY_MASK = Exercise(
    id="wct.mix_by_mask",
    title="Mixing by a mask",
    points=2,
    stub='''
def mix_by_mask(inside, outside, mask):
    """Features (N, C, H, W) that are `inside` where the mask is 1 and `outside` where it is 0.

    mask (1, 1, h, w) in [0, 1] has another size. Use coursekit.images.resize, which averages;
    between 0 and 1 the two are blended.
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=wct.mix_by_mask,
    gradient=False,
    cases=(
        Case("a mask of the picture's size", cases.masked(32, 48), tolerance=1e-3),
        Case("a mask of another shape", cases.masked(21, 13), tolerance=1e-3),
    ),
    hints=(
        "First bring the mask to the size of the maps, then blend position by position.",
        "coursekit.images.resize takes the size as (height, width): the last two axes of `inside`.",
        "The mask says how much of `inside`; what is left of 1 says how much of `outside`.",
    ),
    mistakes=(
        Mistake(
            "mask inverted",
            wrong.masked(wrong.inverted),
            "Inside and outside are exchanged.",
            "the mask stands before `outside`, or was subtracted from 1 once too often.",
        ),
        Mistake(
            "nearest pixel",
            wrong.masked(wrong.nearest),
            "The edge of the mask is ragged.",
            "the mask is resized by picking pixels; most of it is never looked at.",
        ),
        Mistake(
            "not averaged",
            wrong.masked(wrong.not_averaged),
            "Fine parts of the mask get lost.",
            "interpolate without antialias=True looks at four pixels a position only.",
        ),
        Mistake(
            "mask made hard",
            wrong.masked(wrong.hardened),
            "There are no blends, only 0 and 1.",
            "the resized mask is compared with a threshold.",
        ),
        Mistake(
            "width for height",
            wrong.masked(wrong.turned),
            "The mask has the right values in the wrong places.",
            "the mask is resized to (width, height) and turned to fit.",
        ),
        Mistake(
            "outside forgotten",
            wrong.pasted_on_nothing,
            "Outside of the mask the features are 0.",
            "the second term, (1 − mask) · outside, is missing.",
        ),
        Mistake(
            "outside everywhere",
            wrong.outside_everywhere,
            "Inside the mask the two are added.",
            "`outside` is added without its factor 1 − mask.",
        ),
    ),
)

# --- Levels --------------------------------------------------------------------------------------

_LEVEL_BY_LEVEL = Exercise(
    id="wct.level_by_level",
    title="From coarse to fine",
    points=2,
    stub='''
def level_by_level(content, styles, encode, decode, transform, levels):
    """Go through the levels in their order, each beginning with the picture of the one before.

    encode(picture, level) and transform(features, style_features) give features,
    decode(features, level) a picture; styles is {level: style features}. Every picture is
    clamped to [0, 1].
    """
    raise NotImplementedError("your turn")
'''.strip(),
    reference=wct.level_by_level,
    gradient=False,
    cases=(
        Case("levels 3, 2, 1", cases.levels(3, 2, 1)),
        Case("levels 1, 4, 2", cases.levels(1, 4, 2)),
    ),
    hints=(
        "One loop, and one variable that holds the picture as it is so far.",
        "In the loop: encode that picture, transform, decode. Which of the style's features?",
        "styles[level] belongs to the level of the moment. Clamp at the end of each turn, because "
        "the next encoder expects a picture.",
    ),
    mistakes=(
        Mistake(
            "always from the content",
            wrong.chain(from_content=True),
            "Only the last level has an effect.",
            "every level encodes the content image instead of the picture of the level before.",
        ),
        Mistake(
            "fine to coarse",
            wrong.chain(backwards=True),
            "The order of the levels is not the one that was asked for.",
            "the levels are sorted or reversed; the coarse level should not come last.",
        ),
        Mistake(
            "style of the first level",
            wrong.chain(first_style=True),
            "All levels get the style features of the first one.",
            "the style's features are looked up once, before the loop.",
        ),
        Mistake(
            "not clamped",
            wrong.chain(unclamped=True),
            "Pictures have values outside of [0, 1].",
            "the decoder's output is not clamped.",
        ),
        Mistake(
            "clamped at the end only",
            wrong.clamped_at_the_end,
            "The result lies in [0, 1], but the levels before it saw values that no picture has.",
            "clamp() stands after the loop, not in it.",
        ),
        Mistake(
            "one level only",
            wrong.chain(stops=True),
            "Only the first level has an effect.",
            "the function returns from inside the loop.",
        ),
        Mistake(
            "transformed once",
            wrong.chain(once=True),
            "Only the first level transfers style; the others just encode and decode.",
            "the transform stands before the loop, or is skipped after the first turn.",
        ),
        Mistake(
            "pictures averaged",
            wrong.features_kept,
            "The levels work side by side and are averaged.",
            "the levels should form a chain: each goes on from the last picture.",
        ),
    ),
)

EXERCISES = (
    wct_whitening.WHITEN,
    wct_whitening.COLOUR,
    _BLEND,
    _MIX_STYLES,
    _MIX_BY_MASK,
    _LEVEL_BY_LEVEL,
)
