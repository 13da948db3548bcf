"""Numbers beside numbers: whether they agree, and what would turn one into the other."""

from __future__ import annotations

import torch
from torch import Tensor

from coursekit.exercises.messages import say


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


def few(tensor: Tensor, count: int = 6) -> str:
    """The first values, for a message."""
    first = tensor.detach().flatten()[:count].tolist()
    values = ", ".join(say(f"{v}") if isinstance(v, bool) else f"{v:.5g}" for v in first)
    return f"{values}{', …' if tensor.numel() > count else ''}"


def relation(found: Tensor, target: Tensor) -> str:
    """What simple change would turn the one into the other, if there is one."""
    got, wanted = found.detach().double(), target.detach().double()
    if got.numel() > 1 and float(wanted.norm()) > 0:
        factor = float((got * wanted).sum() / wanted.square().sum())
        tiny = 1e-6 * float(wanted.abs().max())
        # A factor of 1.000 or an offset of 0.000 would explain nothing.
        plain = abs(factor) > 1e-3 and abs(factor - 1) > 2e-3
        if plain and torch.allclose(got, factor * wanted, rtol=1e-3, atol=tiny):
            return say("factor", factor=factor)
        offset = float((got - wanted).mean())
        plain = abs(offset) > 2e-3 * float(wanted.abs().max())
        if plain and torch.allclose(got - offset, wanted, rtol=1e-3, atol=tiny):
            return say("offset", offset=offset)
        if got.dim() >= 2 and got.shape == got.mT.shape and torch.allclose(got.mT, wanted):
            return say("transposed")
    elif got.numel() == 1 and float(wanted):
        return say("factor", factor=float(got) / float(wanted))
    error = float((got - wanted).abs().max())
    return say("largest", error=error, scale=float(wanted.abs().max()))
