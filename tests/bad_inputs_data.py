"""Bad inputs of the data sets."""

from __future__ import annotations

import torch
from bad_inputs import (
    SHELF,
    case,
    ones,
    picture,
)

from coursekit.core.errors import (
    DataError,
    SettingError,
    ShapeError,
)
from coursekit.datasets import (
    base,
    collections,
    crops,
    digits,
    emoji,
    faces,
    faces_factors,
    paintings,
    photos,
    published,
    scenes,
    scenes_factors,
    translation,
)
from coursekit.datasets import styles as style_images


def data_set(**fields: torch.Tensor) -> base.Dataset:
    info = base.Info("toy", "made", "none", synthetic=True, source="here")
    return base.Dataset(info, {"image": torch.zeros(6, 3, 8, 8, dtype=torch.uint8)} | fields)


CASES = [
    case(
        "data: no such photograph",
        lambda: photos.photo("dog"),
        DataError,
        "'dog' & chelsea, astronaut",
    ),
    case(
        "data: a folder that is not there",
        lambda: photos.folder("nowhere"),
        DataError,
        "'nowhere' & path of a folder",
    ),
    case(
        "data: a folder of texts",
        lambda: photos.folder(SHELF / "texts"),
        DataError,
        "texts & JPEG or PNG",
    ),
    case(
        "data: an empty folder",
        lambda: photos.folder(SHELF / "void"),
        DataError,
        "void & JPEG or PNG",
    ),
    case(
        "data: no such painting",
        lambda: paintings.style("mona_lisa"),
        DataError,
        "'mona_lisa' & starry_night",
    ),
    case(
        "data: no such content", lambda: paintings.content("paris"), DataError, "'paris' & tubingen"
    ),
    case(
        "data: a painting without a network",
        lambda: paintings.fetch("starry_night"),
        DataError,
        "'starry_night' & coursekit fetch paintings",
    ),
    case(
        "data: no such style",
        lambda: style_images.style_image("cubism"),
        DataError,
        "'cubism' & stained_glass",
    ),
    case(
        "data: a style of 4 pixels",
        lambda: style_images.render("pebbles", 4),
        SettingError,
        "not 4 & 32 pixels",
    ),
    case(
        "data: no such split of the digits",
        lambda: digits.digits("valid"),
        SettingError,
        "'valid' & train, test",
    ),
    case(
        "data: digits of 30 pixels",
        lambda: digits.digits(size=30),
        SettingError,
        "size=30 & 28, 32, 64",
    ),
    case(
        "data: all digits without a network",
        lambda: digits.digits(full=True),
        DataError,
        "MNIST & online",
    ),
    case(
        "data: no such split of the emoji",
        lambda: emoji.emoji("valid"),
        SettingError,
        "'valid' & train, test",
    ),
    case("data: emoji of no size", lambda: emoji.emoji(size=0), SettingError, "size=0 & 16 to 256"),
    case("data: no faces", lambda: faces.faces(0), SettingError, "count=0 & at least 1"),
    case("data: faces of 4 pixels", lambda: faces.faces(2, 4), SettingError, "size=4 & 16 or more"),
    case("data: faces with hats", lambda: faces.faces(2, hat=1), SettingError, "'hat' & glasses"),
    case(
        "data: glasses number 7",
        lambda: faces.faces(2, glasses=7),
        SettingError,
        "glasses & [0, 2]",
    ),
    case(
        "data: glasses in other words",
        lambda: faces.faces(2, glasses="round"),
        SettingError,
        "'round' & sunglasses",
    ),
    case(
        "data: two yaws for three faces",
        lambda: faces_factors.sample_factors(3, yaw=torch.zeros(2)),
        SettingError,
        "(2,) & (3,)",
    ),
    case(
        "data: a yaw in degrees",
        lambda: faces_factors.sample_factors(3, yaw=90.0),
        SettingError,
        "yaw & [-0.55, 0.55] & radians",
    ),
    case(
        "data: the sixth of three faces",
        lambda: faces_factors.same_person(faces_factors.sample_factors(3), 5, 2),
        SettingError,
        "face 5 & there are 3",
    ),
    case("data: no scenes", lambda: scenes.scenes(0), SettingError, "0 scenes & 1 or more"),
    case(
        "data: scenes of 1000 pixels",
        lambda: scenes.scenes(2, 1000),
        SettingError,
        "size=1000 & 32 to 512",
    ),
    case(
        "data: scenes with dragons",
        lambda: scenes_factors.sample_factors(2, dragon=1),
        SettingError,
        "'dragon' & season",
    ),
    case(
        "data: the tenth season",
        lambda: scenes_factors.sample_factors(2, season=9),
        SettingError,
        "9 & spring, summer",
    ),
    case(
        "data: colours of no class",
        lambda: scenes.colourise(torch.full((1, 4, 4), 99)),
        ShapeError,
        "99 & 0 to 12",
    ),
    case(
        "data: a data set of texts",
        lambda: collections.folder_dataset(SHELF / "texts"),
        DataError,
        "texts & JPEG or PNG",
    ),
    case(
        "data: pictures of no size",
        lambda: collections.folder_dataset(SHELF / "texts", 0),
        SettingError,
        "size=0 & 1 or more",
    ),
    case(
        "data: patches larger than photographs",
        lambda: collections.patches(5, 4096),
        SettingError,
        "4096-pixel & 300 or less",
    ),
    case(
        "data: crops larger than pictures",
        lambda: crops.Crops([picture(32)], 64),
        DataError,
        "64 pixels & smaller size",
    ),
    case(
        "data: crops without a batch",
        lambda: crops.Crops([picture(32)[0]], 16),
        SettingError,
        "(3, 32, 32) & (1, 3, H, W)",
    ),
    case(
        "data: crops of nothing",
        lambda: crops.Crops([], 16),
        DataError,
        "0 pictures & folder of photographs",
    ),
    case(
        "data: no such pairs",
        lambda: translation.paired("cats"),
        SettingError,
        "'cats' & facades, maps",
    ),
    case(
        "data: no such heaps",
        lambda: translation.unpaired("cats2dogs"),
        SettingError,
        "'cats2dogs' & horse2zebra",
    ),
    case(
        "data: no such split of MNIST",
        lambda: published.mnist("valid"),
        SettingError,
        "'valid' & train, test",
    ),
    case("data: people of no size", lambda: published.lfw(0), SettingError, "size=0 & 1 or more"),
    case(
        "data: a mask for three of six",
        lambda: data_set().take(ones(3).bool()),
        SettingError,
        "(3,) & 6",
    ),
    case(
        "data: all held out",
        lambda: data_set().split(1.0),
        SettingError,
        "held_out=1.0 & one half empty",
    ),
    case(
        "data: five labels for six pictures",
        lambda: data_set(label=torch.zeros(5)),
        DataError,
        "[5, 6] & one N",
    ),
    case(
        "data: pictures as floats",
        lambda: data_set(image=picture(8, count=6)),
        DataError,
        "'image' & uint8",
    ),
]
