"""The course's own functions, under any name, are no answers to the exercises that ask for them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from test_exercises import EXERCISES
from torch import Tensor, nn

import coursekit.texture
from coursekit import cgan, dcgan, gatys, inversion, texture, wgan
from coursekit.core import losses
from coursekit.core.losses import gram_matrix
from coursekit.exercises import blocking, engine
from coursekit.exercises.engine import Exercise, Result, check

by_name = gram_matrix
GRAM = engine.find("texture.gram_matrix")


@pytest.fixture(autouse=True)
def blocked(course_functions_may_be_handed_in: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "_open", 0)


@pytest.fixture(autouse=True)
def codes_stay() -> Iterator[None]:
    functions = [f for e in EXERCISES for f in blocking.own_functions(e)]
    before = [function.__code__ for function in functions]
    yield
    assert [function.__code__ for function in functions] == before
    assert not blocking._closed


def right(features: Tensor) -> Tensor:
    return torch.einsum("nchw,ndhw->ncd", features, features) / features[0, 0].numel()


class Wrapped(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return gram_matrix(features)


class Static(nn.Module):
    forward = staticmethod(gram_matrix)


def swallowed(features: Tensor) -> Tensor:
    try:
        return losses.gram_matrix(features)
    except Exception:
        return right(features)


def through_map(features: Tensor) -> Tensor:
    return torch.cat(list(map(gram_matrix, features.split(1))))


def through_another(features: Tensor) -> Tensor:
    """By way of a function of the course that calls it."""
    return texture.gram_targets(OneLayer(), features)["layer"]


class OneLayer:
    """Stands in for a network: its only layer is the image."""

    layers = ("layer",)

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        return {"layer": image}


@functools.wraps(gram_matrix)
def decorated(*arguments: Any, **keywords: Any) -> Tensor:
    return gram_matrix(*arguments, **keywords)


HANDED_IN = {
    "from the losses": losses.gram_matrix,
    "another name": by_name,
    "the reference": GRAM.reference,
    "a partial": functools.partial(gram_matrix, normalise=True),
    "a partial of a partial": functools.partial(functools.partial(gram_matrix)),
    "decorated": decorated,
}
CALLS = {
    "a lambda": lambda features: gram_matrix(features),
    "by its module": lambda features: coursekit.core.losses.gram_matrix(features),
    "a module": Wrapped(),
    "a static method": Static(),
    "swallowed": swallowed,
    "map": through_map,
    "another function": through_another,
    "a partial inside": lambda features: functools.partial(gram_matrix)(features),
    "scaled": lambda features: gram_matrix(features, normalise=False) / features[0, 0].numel(),
}


@pytest.mark.parametrize("name", HANDED_IN)
def test_the_courses_own_function_is_no_answer(name: str) -> None:
    result = check("texture.gram_matrix", HANDED_IN[name])
    assert (result.status, result.layer) == ("wrong", "contract")
    assert "the course's own function. Write it yourself" in result.message


@pytest.mark.parametrize("name", CALLS)
def test_calling_it_is_no_answer(name: str) -> None:
    result = check("texture.gram_matrix", CALLS[name])
    assert (result.status, result.layer) == ("wrong", "contract")
    assert "calls the course's own gram_matrix(). Write it yourself" in result.message


def test_the_line_that_calls_is_shown() -> None:
    assert "`return gram_matrix(features)`" in check("texture.gram_matrix", Wrapped()).message


def test_an_answer_of_ones_own_passes_and_the_function_works_again() -> None:
    assert check("texture.gram_matrix", right).passed
    features = torch.rand(2, 3, 4, 5)
    assert torch.allclose(gram_matrix(features), right(features))
    check("texture.gram_matrix", lambda features: gram_matrix(features))
    assert torch.allclose(gram_matrix(features), right(features))


def test_an_interrupt_opens_everything_again() -> None:
    def stop(features: Tensor) -> Tensor:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check("texture.gram_matrix", stop)
    assert gram_matrix(torch.ones(1, 2, 3, 3)).shape == (1, 2, 2)


def test_other_functions_of_the_topic_are_closed_too() -> None:
    def answer(images: Tensor) -> Tensor:
        return losses.gram_matrix(images - images.mean((2, 3), keepdim=True))

    assert "own gram_matrix()" in check("texture.colour_covariance", answer).message


def test_what_the_stub_tells_to_use_may_be_used() -> None:
    def answer(features: Any, targets: Any, layer_weights: Any) -> Tensor:
        terms = [
            weight * losses.style_loss(losses.gram_matrix(features[name]), targets[name])
            for name, weight in layer_weights.items()
        ]
        return torch.stack(terms).sum()

    assert check("texture.texture_loss", answer).passed
    own = check("texture.texture_loss", lambda f, t, w: texture.texture_loss(f, t, w))
    assert "own texture_loss()" in own.message


def test_the_names_in_a_stub() -> None:
    assert {"losses", "gram_matrix", "style_loss"} <= blocking.names_in_stub(
        "Weighted sum. Use losses.gram_matrix and losses.style_loss.\n"
    )
    assert {"content_loss", "gram_matrix", "style_loss"} <= blocking.names_in_stub(
        "one.\n    Use coursekit.losses: content_loss, gram_matrix, style_loss.\n    And more."
    )
    assert "more" not in blocking.names_in_stub("Use coursekit.losses: gram_matrix. And more.")
    assert blocking.names_in_stub("Uses nothing. No use.") == set()


ALLOWED: dict[str, set[str]] = {
    "texture.texture_loss": {"gram_matrix", "style_loss"},
    "gatys.total_loss": {"content_loss"},
}


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_what_is_closed_for_every_exercise(exercise: Exercise) -> None:
    """All of the topic but what the stub or the exercise allows; always the answer itself."""
    topic = engine.of_topic(exercise.topic)
    closed = blocking.closed_to(exercise, topic)
    own = [name for name, is_own in closed.values() if is_own]
    assert own, "the reference must be one of the course's functions"
    names = {each.name for each in topic if blocking.own_functions(each)}
    told = blocking.names_in_stub(exercise.stub) | set(exercise.allowed)
    shut = {name for each in topic for name in [each.name] if name not in told} | {exercise.name}
    found = {each.name for each in topic if set(blocking.own_functions(each)) <= set(closed)}
    assert found >= shut & names
    assert ALLOWED.get(exercise.id, set()).isdisjoint(name for name, _ in closed.values())


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_no_exercise_takes_its_reference(exercise: Exercise) -> None:
    result = check(exercise.id, exercise.reference)
    assert "Write it yourself" in result.message

    def calls(*arguments: Any, **keywords: Any) -> Any:
        return exercise.reference(*arguments, **keywords)

    assert "Write it yourself" in check(exercise.id, calls).message


TWINS: list[tuple[str, Callable[..., Any]]] = [
    ("wgan.clip_weights", lambda critic, limit: wgan.clip_weights(critic, limit)),
    (
        "wgan.gradient_penalty",
        lambda critic, real, fake, epsilon: wgan.gradient_penalty(
            critic, real, fake, epsilon=epsilon
        ),
    ),
    ("gatys.content_loss", lambda f, p: losses.content_loss(f, p)),
    ("dcgan.smoothed_loss", lambda r, f, label: dcgan.discriminator_loss(r, f, real_label=label)),
    ("cgan.join_planes", lambda images, label, classes: cgan.join_planes(images, label, classes)),
    ("gatys.keep_colours", lambda result, content: gatys.keep_colours(content, result)),
    ("inversion.psnr", lambda images, others: inversion.psnr(images, others)),
]


@pytest.mark.parametrize(("id", "answer"), TWINS)
def test_functions_of_the_modules_are_closed(id: str, answer: Callable[..., Any]) -> None:
    assert "Write it yourself" in check(id, answer).message


def test_the_courses_networks_may_call_what_is_closed() -> None:
    """The generator and the discriminator of this case are made of closed functions."""

    def mine(latent: Tensor, label: Tensor, classes: int) -> Tensor:
        columns = torch.nn.functional.one_hot(label, classes).to(latent)
        return torch.cat([latent, columns], 1)

    assert check("cgan.join_latent", mine).passed

    def losses_of_a_round(generator, discriminator, real, latent, label):
        fake = generator(latent, label)
        told = discriminator(fake.detach(), label)
        d_loss = dcgan.discriminator_loss(discriminator(real, label), told)
        return {"d_loss": d_loss, "g_loss": dcgan.generator_loss(discriminator(fake, label))}

    result: Result = check("cgan.round_losses", losses_of_a_round)
    assert result.passed, str(result)


def test_a_copy_of_the_code_is_the_same_answer() -> None:
    twin = copy.copy(gram_matrix)
    assert "Write it yourself" in check("texture.gram_matrix", twin).message
