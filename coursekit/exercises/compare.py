"""Numbers beside numbers: whether they agree, and what would turn one into the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from coursekit.exercises.messages import say

LETTERS = {2: "NC", 3: "NCM", 4: "NCHW"}


def agree(found: Tensor, target: Tensor, tolerance: float) -> bool:
    """Whether two tensors of one shape differ by at most tolerance · largest target."""
    if not target.is_floating_point():
        return torch.equal(found, target)
    finite = target.isfinite()
    if not finite.all():  # of a mistake: the same infinities, and the same numbers between them
        same = torch.isclose(found[~finite].double(), target[~finite].double(), equal_nan=True)
        return bool(same.all()) and agree(found[finite], target[finite], tolerance)
    if not target.numel():
        return True
    # Where 0 is expected, rounding may leave a little: then the tolerance is absolute.
    scale = float(target.detach().abs().max()) or 1e-2
    difference = (found.detach().double() - target.detach().double()).abs()
    return float(difference.max()) <= tolerance * scale


def one_kind(found: Tensor, target: Tensor) -> bool:
    """Whether both are numbers with a fraction or both without; one whole number may be either."""
    whole = found.dim() == 0 and found.dtype == torch.int64 and target.is_floating_point()
    return whole or found.is_floating_point() == target.is_floating_point()


FEW = 6  # values that a message shows


def few(tensor: Tensor, start: int = 0) -> str:
    """A few values, for a message: the first ones, or those from ``start`` on."""
    some = tensor.detach().flatten()[start : start + FEW].tolist()
    values = [say(f"{v}") if isinstance(v, bool) else f"{v + 0:.5g}" for v in some]
    more = start + FEW < tensor.numel()
    return ", ".join(["…"] * (start > 0) + values + ["…"] * more)


def where_to_look(found: Tensor, target: Tensor) -> int:
    """Where the values that differ begin, or 0 if that is among the first few anyway."""
    got, wanted = found.detach().flatten().double(), target.detach().flatten().double()
    differ = ~torch.isclose(got, wanted, rtol=1e-4, equal_nan=True)
    first = int(differ.int().argmax()) if differ.any() else 0
    return first if first >= FEW else 0


def ratio(found: Tensor, target: Tensor) -> str:
    """What the values are multiplied with, for a message; "" where that says nothing."""
    if not target.is_floating_point() or target.numel() < 2 or not bool((target != 0).all()):
        return ""
    return say("ratio", ratio=few(found.double() / target.double(), where_to_look(found, target)))


def relation(found: Tensor, target: Tensor) -> str:
    """What simple change would turn the one into the other, if there is one."""
    got, wanted = found.detach().double(), target.detach().double()
    if got.numel() == 1:
        return _of_one_number(got, wanted)
    if float(wanted.norm()) > 0:
        for explanation in (*_EXPLANATIONS, _reordered, _by_axis):
            text = explanation(got, wanted)
            if text:
                return text
    return _largest(got, wanted)


def _of_one_number(got: Tensor, wanted: Tensor) -> str:
    mine, theirs = float(got), float(wanted)
    if not theirs:
        return _largest(got, wanted)
    return say("factor of one", factor=mine / theirs)


def _largest(got: Tensor, wanted: Tensor) -> str:
    error = float((got - wanted).abs().max())
    return say("largest", error=error, scale=float(wanted.abs().max()))


def _close(got: Tensor, wanted: Tensor) -> bool:
    tiny = 1e-6 * float(wanted.abs().max())
    return torch.allclose(got, wanted, rtol=1e-3, atol=tiny)


def _factor(got: Tensor, wanted: Tensor) -> str:
    factor = float((got * wanted).sum() / wanted.square().sum())
    # A factor of 1.000 or an offset of 0.000 would explain nothing.
    plain = abs(factor) > 1e-3 and abs(factor - 1) > 2e-3
    return say("factor", factor=factor) if plain and _close(got, factor * wanted) else ""


def _offset(got: Tensor, wanted: Tensor) -> str:
    offset = float((got - wanted).mean())
    plain = abs(offset) > 2e-3 * float(wanted.abs().max())
    return say("offset", offset=offset) if plain and _close(got - offset, wanted) else ""


def _transposed(got: Tensor, wanted: Tensor) -> str:
    square = got.dim() >= 2 and got.shape == got.mT.shape
    return say("transposed") if square and _close(got.mT, wanted) else ""


def _squared(got: Tensor, wanted: Tensor) -> str:
    if _close(got, wanted.square()):
        return say("squared")
    return say("root") if bool((got >= 0).all()) and _close(got.square(), wanted) else ""


_EXPLANATIONS: tuple[Callable[[Tensor, Tensor], str], ...] = (
    _factor,
    _offset,
    _transposed,
    _squared,
)


def _reordered(got: Tensor, wanted: Tensor) -> str:
    for axis in range(got.dim()):
        turned = got.flip(axis)
        if got.shape[axis] > 1 and _close(turned, wanted) and not _close(turned, got):
            return say("flipped", axis=axis)
    order = next(_orders(got, wanted), None)
    return say("axes", order=order) if order else ""


def _orders(got: Tensor, wanted: Tensor) -> Iterator[tuple[int, ...]]:
    """Orders of the axes in which one is the other."""
    for order in itertools.permutations(range(got.dim())) if 2 <= got.dim() <= 5 else ():
        moved = got.permute(order)
        if moved.shape == got.shape and _close(moved, got):  # an order that changes nothing
            continue
        if moved.shape == wanted.shape and _close(moved, wanted):
            yield order


def _by_axis(got: Tensor, wanted: Tensor) -> str:
    """One factor or offset for each index along one axis: a sum or mean over wrong axes."""
    safe = bool((wanted.abs() > 1e-6 * wanted.abs().max()).all())
    kinds = [("offsets", got - wanted)] + ([("factors", got / wanted)] if safe else [])
    for key, change in reversed(kinds):
        for axis in range(got.dim()):
            others = [each for each in range(got.dim()) if each != axis and got.shape[each] > 1]
            if got.shape[axis] < 2 or not others:
                continue
            same = change.mean(others, keepdim=True).expand_as(change)
            uneven = float(same.max() - same.min()) > 0.01 * float(same.abs().max())
            if uneven and _close(change, same):
                return say(key, axis=axis)
    if got.dim() > 1 and len(got) > 1 and _close(got[0], wanted[0]):
        return say("first right")
    return ""


def shape_relation(found: Tensor, target: Tensor, argument: Tensor | None = None) -> str:
    """What would turn a result of the wrong shape into the right one, if that is plain to see."""
    got, wanted = found.detach().double(), target.detach().double()
    if wanted.dim() and wanted.shape[0] and got.shape == wanted.shape[1:]:
        for key, part in _without_batch(wanted):
            if _close(got, part):
                return say(key)
        total = wanted.sum(0)
        factor = float((got * total).sum() / total.square().sum().clamp(min=1e-300))
        if got.numel() > 1 and _close(got, factor * total):
            return say("batch mixed", factor=factor)
    if got.squeeze().shape == wanted.squeeze().shape and _close(got.squeeze(), wanted.squeeze()):
        return say("extra dimension")
    order = next(_orders(got, wanted), None)
    if order:
        return say("other order", order=order)
    return _counted(got, wanted, argument)


def _without_batch(wanted: Tensor) -> list[tuple[str, Tensor]]:
    return [
        ("no batch", wanted[0]),
        ("batch summed", wanted.sum(0)),
        ("batch averaged", wanted.mean(0)),
    ]


def _counted(got: Tensor, wanted: Tensor, argument: Tensor | None) -> str:
    """Which axis of the input a wrong axis of the result seems to be."""
    if argument is None or not argument.is_floating_point() or got.dim() != wanted.dim():
        return ""
    letters, sizes = LETTERS.get(argument.dim(), ""), list(argument.shape)
    for axis, (mine, theirs) in enumerate(zip(got.shape, wanted.shape, strict=True)):
        if letters and mine != theirs and sizes.count(mine) == 1:
            return say("counts", axis=axis, letter=letters[sizes.index(mine)])
    return ""
