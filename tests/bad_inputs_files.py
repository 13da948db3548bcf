"""Bad inputs of files."""

from __future__ import annotations

import numpy as np
import torch
from bad_inputs import (
    NAN,
    SHELF,
    broken,
    case,
    channels_last,
    picture,
)

from coursekit.core import (
    checkpoints,
    images,
    recognise,
    segmenter,
    timeline,
    weights,
)
from coursekit.core.errors import (
    DataError,
    ImageError,
    WeightsError,
)

CASES = [
    case(
        "files: a picture that is not there",
        lambda: images.load_image("nowhere/cat.jpg"),
        ImageError,
        "nowhere/cat.jpg & Check the path",
    ),
    case(
        "files: a text as a picture",
        lambda: images.load_image(SHELF / "diary.jpg"),
        ImageError,
        "diary.jpg & JPEG or PNG",
    ),
    case(
        "files: an empty file",
        lambda: images.load_image(SHELF / "empty.png"),
        ImageError,
        "empty.png & JPEG or PNG",
    ),
    case(
        "files: half a picture",
        lambda: images.load_image(SHELF / "torn.png"),
        ImageError,
        "torn.png & truncated",
    ),
    case(
        "files: a folder as a picture",
        lambda: images.load_image(SHELF / "texts"),
        ImageError,
        "texts & directory",
    ),
    case(
        "files: nothing as a picture",
        lambda: images.load_image(None),
        ImageError,
        "'None' & Give a path",
    ),
    case(
        "files: a list as a picture",
        lambda: images.load_image([1, 2, 3]),
        ImageError,
        "'[1, 2, 3]' & an array or a tensor",
    ),
    case(
        "files: an array, channels first",
        lambda: images.load_image(np.zeros((3, 8, 8))),
        ImageError,
        "(3, 8, 8) & transpose(1, 2, 0)",
    ),
    case(
        "files: an array of whole numbers",
        lambda: images.load_image(np.zeros((8, 8, 3), np.int64)),
        ImageError,
        "int64 & uint8 or float",
    ),
    case(
        "files: an array up to 200",
        lambda: images.load_image(np.linspace(0, 200, 192).reshape(8, 8, 3)),
        ImageError,
        "0 to 200 & Divide by 255",
    ),
    case(
        "files: an array from -1 to 1",
        lambda: images.load_image(np.linspace(-1, 1, 192).reshape(8, 8, 3)),
        ImageError,
        "-1 to 1 & undo the normalisation",
    ),
    case(
        "files: an array of NaN",
        lambda: images.load_image(np.full((8, 8, 3), NAN)),
        ImageError,
        "NaN & 0 … 1",
    ),
    case(
        "files: five channels",
        lambda: images.load_image(np.zeros((8, 8, 5))),
        ImageError,
        "(8, 8, 5) & (height, width)",
    ),
    case(
        "files: an empty array",
        lambda: images.load_image(np.zeros((0, 8, 3))),
        ImageError,
        "empty & 0",
    ),
    case(
        "files: a tensor, channels last",
        lambda: images.load_image(channels_last(picture(8))),
        ImageError,
        "(8, 8, 3) & (3, H, W)",
    ),
    case(
        "files: resized to nothing",
        lambda: images.load_image(picture(8), 0),
        ImageError,
        "size=0 & from 1",
    ),
    case(
        "files: three sides",
        lambda: images.resize(picture(8), (1, 2, 3)),
        ImageError,
        "(1, 2, 3) & (height, width)",
    ),
    case(
        "files: saved by no format",
        lambda: images.save_image(picture(8), "cat.xyz"),
        ImageError,
        "'cat.xyz' & .png or .jpg",
    ),
    case(
        "files: saved into no folder",
        lambda: images.save_image(picture(8), "nowhere/cat.png"),
        ImageError,
        "'nowhere' & no folder",
    ),
    case(
        "files: two pictures saved as one",
        lambda: images.save_image(picture(8, count=2), "cat.png"),
        ImageError,
        "(2, 3, 8, 8) & one picture",
    ),
    case(
        "files: a picture with NaN saved",
        lambda: images.save_image(broken(picture(8)), "cat.png"),
        ImageError,
        "NaN",
    ),
    case(
        "files: a text as a checkpoint",
        lambda: checkpoints.read(SHELF / "diary.jpg"),
        WeightsError,
        "diary.jpg & fresh copy",
    ),
    case(
        "files: a checkpoint of no topic",
        lambda: checkpoints.load("sculpture"),
        WeightsError,
        "sculpture & coursekit train",
    ),
    case(
        "files: a checkpoint that says nothing",
        lambda: checkpoints.save(torch.nn.Linear(1, 1), "x.safetensors", {}),
        WeightsError,
        "recipe, data, steps",
    ),
    case(
        "files: a timeline of no topic",
        lambda: timeline.of_topic("sculpture"),
        DataError,
        "sculpture & Train the topic",
    ),
    case(
        "files: a text as a timeline",
        lambda: timeline.Timeline.load(SHELF / "diary.jpg"),
        DataError,
        "diary.jpg & timeline",
    ),
    case(
        "files: weights of no network",
        lambda: weights.load("resnet"),
        WeightsError,
        "'resnet' & vgg16, alexnet",
    ),
    case(
        "files: a recogniser of nothing",
        lambda: recognise.load("dogs"),
        WeightsError,
        "dogs.safetensors & coursekit train",
    ),
    case(
        "files: a segmenter as a recogniser",
        lambda: recognise.load(SHELF / "scenes.safetensors"),
        WeightsError,
        "scenes.safetensors & fresh copy",
    ),
    case(
        "files: a segmenter of nothing",
        lambda: segmenter.load("cities"),
        WeightsError,
        "cities.safetensors & coursekit train",
    ),
]
