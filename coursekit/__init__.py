"""coursekit: the tested package under the notebooks of the course on image synthesis.

Nothing heavy is imported here. A name is looked up on first use, so ``import coursekit`` is
fast, and ``coursekit doctor`` still runs where torch does not.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_MODULES = {
    "core": "coursekit.core",
    "datasets": "coursekit.datasets",
    "exercises": "coursekit.exercises",
    "features": "coursekit.core.features",
    "images": "coursekit.core.images",
    "gan_doctor": "coursekit.core.gan_doctor",
    "losses": "coursekit.core.losses",
    "metrics": "coursekit.core.metrics",
    "optimise": "coursekit.core.optimise",
    "paintings": "coursekit.datasets.paintings",
    "perceptual": "coursekit.core.perceptual",
    "photos": "coursekit.datasets.photos",
    "show": "coursekit.core.show",
    "timeline": "coursekit.core.timeline",
    "training": "coursekit.core.training",
    "recognise": "coursekit.core.recognise",
    "runtime": "coursekit.core.runtime",
    "weights": "coursekit.core.weights",
    "widgets": "coursekit.widgets",
    "inversion": "coursekit.inversion",
    "texture": "coursekit.texture",
    "gatys": "coursekit.gatys",
    "fast_style": "coursekit.fast_style",
    "wct": "coursekit.wct",
    "dfi": "coursekit.dfi",
    "dcgan": "coursekit.dcgan",
    "dcgan_networks": "coursekit.dcgan_networks",
    "dcgan_latent": "coursekit.dcgan_latent",
    "dcgan_filters": "coursekit.dcgan_filters",
    "wgan": "coursekit.wgan",
    "cgan": "coursekit.cgan",
    "pix2pix": "coursekit.pix2pix",
    "pix2pix_networks": "coursekit.pix2pix_networks",
    "cyclegan": "coursekit.cyclegan",
    "cyclegan_networks": "coursekit.cyclegan_networks",
    "stylegan2": "coursekit.stylegan2",
    "stylegan2_networks": "coursekit.stylegan2_networks",
    "stylegan2_styles": "coursekit.stylegan2_styles",
    "stylegan2_projection": "coursekit.stylegan2_projection",
    "stylegan2_adain": "coursekit.stylegan2_adain",
    "stylegan2_measure": "coursekit.stylegan2_measure",
    "progan": "coursekit.progan",
    "progan_networks": "coursekit.progan_networks",
    "progan_measure": "coursekit.progan_measure",
    "spade": "coursekit.spade",
    "spade_networks": "coursekit.spade_networks",
}
_FUNCTIONS = {
    "setup": "coursekit.core.runtime",
    "check": "coursekit.exercises.engine",
    "progress": "coursekit.exercises.progress",
    "replay": "coursekit.widgets",
}

__all__ = ["__version__", *_FUNCTIONS, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    if name in _MODULES:
        return importlib.import_module(_MODULES[name])
    raise AttributeError(f"module 'coursekit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
