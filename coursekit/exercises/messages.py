"""Every sentence that a check says, in one place, so that another language can be added."""

ENGLISH = {
    "passed": "{title}: correct. {cases} cases agree with the course's own function.",
    "not started": "{title}: not started. Later cells use the course's own function meanwhile.",
    "wrong": "{title}: not yet. {message}",
    "not callable": "Expected a function, got {found}. Hand in the function, not its result.",
    "parameters": "The function takes {found}; expected {expected}.",
    "exception": "{where}{kind}: {text} (in the case “{case}”).",
    "where": "Line {line} of your code, `{code}`, raised ",
    "nothing": "The function returned None in the case “{case}”. Is there a `return`?",
    "type": "The function returned {found}; expected {expected} (case “{case}”).",
    "keys": "The result has the parts {found}; expected {expected} (case “{case}”).",
    "shape": "The result{part} has shape {found}; expected {expected} (case “{case}”).",
    "dtype": "The result{part} is {found}; expected {expected} (case “{case}”).",
    "not finite": "The result{part} has NaN or infinite values (case “{case}”).",
    "changed": "The function changed its input in place (case “{case}”). Work on a copy.",
    "unusable": "Case “{case}”: {text}",
    "fact": "Case “{case}”: {name}: expected {expected}, got {got}.",
    "True": "yes",
    "False": "no",
    "values": "Case “{case}”: the values differ{part}. {relation}\n"
    "Expected {expected}\nGot      {got}",
    "mistake": "{symptom} Likely cause: {cause}",
    "factor": "Yours is {factor:.4g} times what is expected, everywhere.",
    "offset": "Yours is larger by {offset:.4g} everywhere.",
    "transposed": "Yours is the transpose of what is expected.",
    "largest": "The largest difference is {error:.3g}, on values of about {scale:.3g}.",
    "no gradient": "No gradient flows back to the input (case “{case}”). "
    "Is there a .detach(), .item(), .numpy() or no_grad() on the way?",
    "gradient": "The values are right but the gradient differs (case “{case}”): expected a length "
    "of {expected:.4g}, got {got:.4g}. Is a part of the computation detached?",
    "backward": "The backward pass fails (case “{case}”): {text} "
    "Is a tensor changed in place on the way (+=, .add_(), x[...] = …)?",
    "no more hints": "There are no more hints. Go through the formula again, term by term.",
    "hint": "Hint {number} of {count}: {text}",
    "more": "Ask for a hint: `_.hint()` in the next cell.",
}


def say(key: str, **values: object) -> str:
    """The sentence ``key`` with its blanks filled in."""
    return ENGLISH[key].format(**values)
