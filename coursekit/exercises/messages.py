"""Every sentence that a check says, in one place.

Another language is a JSON file, ``languages/<code>.json`` beside this module or any path: a
dictionary with the keys of `ENGLISH`, chosen by the environment variable ``COURSEKIT_LANGUAGE``
or by `use`. What exercises say is translated under keys made of their id:
``"texture.gram_matrix/title"``, ``…/hint/1``, ``…/mistake/<name>/symptom``, ``…/cause``,
``…/case/<name>``, ``…/property/<name>``. What a file lacks is said in English.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from coursekit.core.errors import SettingError

ENGLISH = {
    "passed": "{title}: correct. {cases} cases agree with the course's own function.",
    "not started": "{title}: not started. Later cells use the course's own function meanwhile.",
    "wrong": "{title}: not yet. {message}",
    "downstream course": "Later cells use the course's own function.",
    "downstream mine": "Later cells use your function.",
    "not callable": "Expected a function, got {found}. Hand in the function, not its result.",
    "parameters": "The function takes {found}; expected {expected}.",
    "exception": "{where}{kind}: {text} (in the case “{case}”).",
    "where": "Line {line} of your code, `{code}`, raised ",
    "via": "Called from line {line}, `{code}`. ",
    "recursion": "{where}The function calls itself without an end (case “{case}”). What stops it?",
    "memory": "{where}Your code asks for more memory than there is for a check ({limit:.1f} GiB, "
    "case “{case}”). Does a tensor grow in a loop, or with the square of its size?",
    "time": "Your code was stopped: the {seconds:g} seconds that a check has were over "
    "(case “{case}”). {where}Does a loop end?",
    "time where": "It was at line {line}, `{code}`. ",
    "exit": "{where}Your code asks Python to end (case “{case}”): take exit() or quit() out.",
    "own function": "This is the course's own function. Write it yourself: the check is about "
    "yours.",
    "blocked": "{where}Your code calls the course's own {name}(). Write it yourself: while a "
    "check runs, the functions that exercises ask for are blocked.",
    "blocked where": "Line {line} of your code: `{code}`. ",
    "nothing": "The function returned None in the case “{case}”. Is there a `return`?",
    "generator": "The function returned a generator (case “{case}”): there is a `yield`, or "
    "`( … for … )` where a list or a sum belongs. Return a tensor.",
    "coroutine": "The function is `async` (case “{case}”), so that a call computes nothing. "
    "Write a plain `def`.",
    "function": "The function returned a function (case “{case}”). Is a pair of brackets missing "
    "at the end of a line?",
    "numpy": "The function returned a {found} of numpy (case “{case}”); expected {expected}. Stay "
    "in torch: no gradient flows through numpy.",
    "type": "The function returned {found}; expected {expected} (case “{case}”).",
    "keys": "The result has the parts {found}; expected {expected} (case “{case}”).",
    "shape": "The result{part} has shape {found}; expected {expected} (case “{case}”).",
    "dtype": "The result{part} is {found}; expected {expected} (case “{case}”).",
    "not finite": "The result{part} has NaN or infinite values (case “{case}”).",
    "changed": "The function changed its input in place (case “{case}”). Work on a copy.",
    "seeded": "The function sets the global seed of {names} (case “{case}”): every random number "
    "of the notebook would start again. If you need chance, use a torch.Generator of your own.",
    "drawn": "Note: the function draws random numbers from {names}; the course's own does not.",
    "printed": "{count} more lines of your output were cut.",
    "unusable": "Case “{case}”: {text}",
    "fact": "Case “{case}”: {name}: expected {expected}, got {got}.",
    "True": "yes",
    "False": "no",
    "values": "Case “{case}”: the values differ{part}. {relation}\n"
    "Expected {expected}\nGot      {got}",
    "ratio": "\nRatio    {ratio}",
    "smallest": "\nThe smallest input found with a wrong result: {inputs}.",
    "smallest of one": "\nThe smallest input found with a wrong result: {inputs}. There {expected} "
    "is expected, and yours is {got}.",
    "mistake": "{symptom} Likely cause: {cause}",
    "two mistakes": "Two things at once. {first} {second}",
    "certain": "Yours does what this mistake does, in all {cases} cases.",
    "likely": "Yours has this mistake's values in all {cases} cases, but other gradients: there "
    "may be a second mistake.",
    "possible": "Yours agrees with this mistake here, not everywhere: there may be a second one.",
    "property": "{message} (Tried on the case “{case}”, changed.)",
    "property failed": "An input that is allowed makes it fail: {message}",
    "factor": "Yours is {factor:.4g} times what is expected, everywhere.",
    "factor of one": "Yours is {factor:.4g} times what is expected.",
    "offset": "Yours is larger by {offset:.4g} everywhere.",
    "factors": "Along axis {axis} each part is off by a factor of its own: is a mean, a sum or a "
    "norm taken over the wrong axes?",
    "offsets": "Along axis {axis} each part is off by an offset of its own: is something "
    "subtracted or added along the wrong axis?",
    "transposed": "Yours is the transpose of what is expected.",
    "axes": "Yours is what is expected with its axes in another order: {order}.",
    "flipped": "Yours is what is expected, backwards along axis {axis}.",
    "first right": "The first of the batch is right, the others are not: are images of a batch "
    "mixed, or is the first one used for all?",
    "squared": "Yours is the square of what is expected.",
    "root": "Yours is the square root of what is expected.",
    "largest": "The largest difference is {error:.3g}, on values of about {scale:.3g}.",
    "no batch": " Yours is right for one image; the batch dimension is missing.",
    "extra dimension": " The values are right; a dimension of size 1 is too much or missing.",
    "other order": " The values are right, but the axes are in another order: {order}.",
    "batch summed": " Yours is the sum of what is expected over the batch.",
    "batch averaged": " Yours is the mean of what is expected over the batch.",
    "batch mixed": " Yours is the sum of what is expected over the batch, times {factor:.4g}.",
    "counts": " Axis {axis} of yours has the length of the input's {letter}: is the wrong axis "
    "summed or averaged over?",
    "no gradient": "No gradient flows back to the input (case “{case}”). "
    "Is there a .detach(), .item(), .numpy() or no_grad() on the way?",
    "gradient": "The values are right but the gradient differs (case “{case}”): expected a length "
    "of {expected:.4g}, got {got:.4g}. Is a part of the computation detached?",
    "gradients left": "The function leaves gradients behind in what it was given (case “{case}”): "
    "the next step of an optimiser would add them to its own. Is there a .backward() where "
    "torch.autograd.grad is meant?",
    "backward": "The backward pass fails (case “{case}”): {text} "
    "Is a tensor changed in place on the way (+=, .add_(), x[...] = …)?",
    "no more hints": "There are no more hints. Go through the formula again, term by term.",
    "hint": "Hint {number} of {count}: {text}",
    "more": "Ask for a hint: `_.hint()` in the next cell.",
    "heat expected": "expected",
    "heat got": "yours",
    "heat difference": "difference",
    "check failed": "{id}: {status}",
    "progress": "{done} of {all} exercises done, {points} of {points_all} points.",
    "progress done": "done",
    "progress wrong": "wrong",
    "progress not started": "not started",
    "progress unwritable": "The progress file cannot be written ({reason}); checks go on "
    "without it.",
}

FOLDER = Path(__file__).with_name("languages")
_chosen: str | None = None


def use(language: str | None) -> None:
    """Speak ``language`` from now on: a code, the path of a JSON file, or ``None`` for the default.

    Raises:
        SettingError: there is no such catalogue, or it cannot be read.
    """
    global _chosen
    if language:
        _catalogue(language)
    _chosen = language


def say(key: str, **values: object) -> str:
    """The sentence ``key`` with its blanks filled in.

    Raises:
        SettingError: the file of the language chosen cannot be read.
    """
    return _current().get(key, ENGLISH[key]).format(**values)


def data(key: str, english: str) -> str:
    """A text of an exercise, in the language chosen if it has that; errors as for `say`."""
    return _current().get(key, english)


def _current() -> Mapping[str, str]:
    language = _chosen or os.environ.get("COURSEKIT_LANGUAGE")
    return _catalogue(language) if language else ENGLISH


@lru_cache(maxsize=8)
def _catalogue(language: str) -> Mapping[str, str]:
    if language == "en":
        return ENGLISH
    path = Path(language) if language.endswith(".json") else FOLDER / f"{language}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        there = ", ".join(["en", *(each.stem for each in sorted(FOLDER.glob("*.json")))])
        raise SettingError(
            f"There is no catalogue of messages {language!r} that can be read ({error}). Choose "
            f"from {there}, or give the path of a JSON file, in COURSEKIT_LANGUAGE."
        ) from error
