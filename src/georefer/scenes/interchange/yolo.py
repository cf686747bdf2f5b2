"""YOLO text labels: boxes, oriented boxes and outlines, one file an image, numbers as parts of its sides.

    yolo       class cx cy w h [score]                  centre and size of a box
    yolo-obb   class x1 y1 x2 y2 x3 y3 x4 y4 [score]    four corners
    yolo-seg   class x1 y1 ... xn yn [score]            an outline of three or more points

Source: docs.ultralytics.com/datasets/detect, /obb and /segment (layout, `data.yaml`), /modes/predict (the score
comes last where `save_conf` was set). The three differ only in how many numbers stand in a line, and four
corners may just as well be an outline: so the caller names the variant, and nothing is guessed.

- x is divided by the image's width, y by its height, so the size of every image must be known; files of images
  without one are dropped and counted. 0 and 1 are the outer edges of the image.
- The class is an index from 0 into `names` (a list, a mapping, or a `data.yaml`, whose words are read as words:
  a class called `no` or `on` is not a truth value here).
- Trainers throw a whole file away for one number outside 0 to 1. Rows that reach out by more than `EDGE` are
  dropped when read; when written, shapes are cut at the image's edge (an OBB becomes the smallest one around
  what is left), which is counted.
- An OBB's corners are read as DOTA's are, since that is what the trainer's own converter copies: front left
  first, clockwise. Ultralytics itself promises no order, and its predictions keep no heading beyond 180 degrees.
- `yolo-seg` has no holes and no parts: holes are filled, parts become objects of their own, both counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import shapely
import yaml

from georefer.errors import InputError
from georefer.geometry import Object
from georefer.geometry.repair import areas_only, is_repairable, repaired
from georefer.scenes.interchange.base import (
    Account,
    LabelledImage,
    Read,
    Rows,
    count_losses,
    plain,
    polygons_of,
    quad_corners,
    quad_shape,
)
from georefer.scenes.interchange.files import (
    ImageSizes,
    Sizes,
    as_number,
    as_numbers,
    as_whole,
    label_files,
    label_paths,
    read_each,
    read_text,
    write_text,
)

Variant = Literal["yolo", "yolo-obb", "yolo-seg"]
Names = Sequence[str] | Mapping[int, str] | str | Path

EDGE = 0.01
"""How far, in parts of a side, a number may lie outside 0 to 1: rounding and jitter at the edge, nothing more."""

_FIELDS = {"yolo": "class cx cy w h", "yolo-obb": "class and four corners", "yolo-seg": "class and an outline"}
_NO_LABELS = ("classes.txt", "train.txt", "val.txt", "test.txt")


def read(
    path: str | Path,
    *,
    variant: Variant,
    sizes: Sizes,
    names: Names | None = None,
    tolerance_px: float = 1.0,
    ending: str = ".jpg",
) -> Read:
    """Label files of a folder (its `labels/` where it has one) or one file.

    `names` may be left out where the folder holds a `data.yaml`. `ending` completes image names that `sizes`
    does not know. `tolerance_px` is how far corners may be from a rectangle's, see `dota.read`.
    """
    path, account, known = Path(path), Account(), ImageSizes(sizes, ending)
    _check(variant)
    classes = class_names(path / "data.yaml" if names is None else names)
    folder = path / "labels" if (path / "labels").is_dir() else path

    def one(stem: str, file: Path) -> LabelledImage | None:
        name, width, height = known.find(stem)
        lines = [(n, line.split()) for n, line in enumerate(read_text(file).splitlines(), 1) if line.strip()]
        if width is None or height is None:
            account.dropped.add("image of unknown size", file.name, max(1, len(lines)))
            return None
        rows = Rows(account)
        for number, words in lines:
            _row(words, f"{file.name}:{number}", variant, (width, height), classes, rows, tolerance_px)
        return LabelledImage(name, width, height, rows.objects())

    images = read_each(folder, label_files(folder, ".txt", account, _NO_LABELS), one, account)
    if account.kept == 0 and account.dropped.total:
        reason, where = next((r, e[0]) for r, e in account.dropped.examples.items())
        raise InputError(
            f"{path} holds no usable row ({account.dropped.total} dropped, the first at {where}: {reason}) where lines "
            f"of {_FIELDS[variant]} are expected; check the variant ({', '.join(_FIELDS)}) and the sizes"
        )
    return Read(images, account, {label: index for index, label in classes.items()})


def write(
    images: Iterable[LabelledImage],
    path: str | Path,
    *,
    variant: Variant,
    names: Names | None = None,
    decimals: int = 6,
) -> Account:
    """`labels/` with one file an image and `data.yaml` in the folder `path`.

    `names` fixes the index of each class; left out, the labels are numbered in alphabetical order.
    """
    images, path, account = list(images), Path(path), Account()
    _check(variant)
    labels = sorted({label for image in images for label in image.objects.labels_N})
    classes = class_names(labels if names is None else names)
    index = {label: number for number, label in classes.items()}
    for image, file in zip(images, label_paths(images, path / "labels", ".txt"), strict=True):
        if image.width is None or image.height is None:
            raise InputError(f"the size of {image.file_name} is unknown where YOLO divides by it; give its sides")
        count_losses(account, image.file_name, image.objects, scores=True)
        lines = []
        for one in image.objects:
            where = f"{image.file_name}, object {one.id}"
            if one.label not in index:
                account.dropped.add("class that has no number in names", where)
                continue
            score = "" if one.score is None else f" {plain(one.score, 6)}"
            for xy_N2 in _outlines(one, variant, (image.width, image.height), account, where):
                values = (xy_N2 if variant == "yolo" else xy_N2 / (image.width, image.height)).ravel()
                lines.append(f"{index[one.label]} {' '.join(plain(v, decimals) for v in values)}{score}\n")
        write_text(file, "".join(lines))
    listed = "".join(f"  {number}: {_quoted(label)}\n" for number, label in sorted(classes.items()))
    write_text(path / "data.yaml", f"nc: {len(classes)}\nnames:\n{listed}" if classes else "nc: 0\nnames: []\n")
    return account


def _quoted(label: str) -> str:
    """A label as JSON, which is YAML too and quotes whatever YAML would misread.

    YAML alone takes U+0085, U+2028 and U+2029 for line breaks; other characters beyond ASCII stay, since JSON's
    escapes halve those beyond the basic plane.
    """
    text = json.dumps(label, ensure_ascii=False)
    return re.sub("[\x85\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", text)


def class_names(names: Names) -> dict[int, str]:
    """Index to label, from a list, a mapping or a `data.yaml`; InputError where it is none of them."""
    if isinstance(names, str | Path):
        names = _from_yaml(Path(names))
    pairs = names.items() if isinstance(names, Mapping) else enumerate(names)
    classes = {int(index): label for index, label in pairs}
    if len(set(classes.values())) < len(classes) or any(index < 0 for index in classes):
        raise InputError(
            f"the class names {list(classes.values())[:20]} were found where each is expected once, numbered from 0; "
            "correct the names"
        )
    return classes


# --- rows -----------------------------------------------------------------------------------------------------


def _row(words, where: str, variant: Variant, size: tuple[int, int], classes, rows: Rows, tolerance_px: float) -> None:
    account = rows.account
    numbers, score = words[1:], None
    counts = {"yolo": (4,), "yolo-obb": (8,), "yolo-seg": range(6, len(numbers) + 1, 2)}[variant]
    if len(numbers) - 1 in counts and len(numbers) not in counts:
        score, numbers = as_number(numbers[-1]), numbers[:-1]
        if score is None:
            return account.dropped.add("score is no number", where)
    if len(numbers) not in counts:
        return account.dropped.add(f"not the fields of {variant}", where)
    values = as_numbers(numbers)
    if values is None:
        return account.dropped.add("coordinates are no numbers", where)
    label = classes.get(as_whole(words[0]))
    if label is None:
        return account.dropped.add("class that names do not hold", where)
    if values.min() < -EDGE or values.max() > 1 + EDGE:
        return account.dropped.add("numbers outside 0 to 1", where)
    xy_N2 = values.reshape(-1, 2) * size
    if variant == "yolo":
        (cx, cy), (width, height) = xy_N2
        if width <= 0 or height <= 0:
            return account.dropped.add("no area", where)
        box = shapely.box(cx - width / 2, cy - height / 2, cx + width / 2, cy + height / 2)
        return rows.add(box, label, "hbb", score=score)
    if shapely.convex_hull(shapely.MultiPoint(xy_N2)).area == 0:
        return account.dropped.add("no area", where)
    if variant == "yolo-seg":
        outline = shapely.Polygon(xy_N2)
        if not is_repairable(outline):
            return account.dropped.add("outline that crosses itself too often", where)
        return rows.add(outline, label, "polygon", score=score)
    shape, kind, notes = quad_shape(xy_N2, tolerance_px)
    for note in notes:
        account.changed.add(note, where)
    rows.add(shape, label, kind, score=score)


def _outlines(one: Object, variant: Variant, size: tuple[int, int], account: Account, where: str) -> list[np.ndarray]:
    """The points to write for an object, pixels (for `yolo` centre and size, already divided); empty if none."""
    shape = one.geometry
    if shapely.get_dimensions(shape) < 2 or shape.is_empty:
        account.dropped.add(f"a {one.kind} has no area to write", where)
        return []
    kind = one.kind
    x1, y1, x2, y2 = shape.bounds
    # a hair outside is the rounding of a reader, not a shape that runs over the edge
    if min(x1, y1) < -1e-6 or x2 > size[0] + 1e-6 or y2 > size[1] + 1e-6:
        shape = areas_only(repaired(np.array([shape], dtype=object)))[0]
        shape = areas_only(np.array([shapely.intersection(shape, shapely.box(0, 0, *size))], dtype=object))[0]
        if shape.is_empty:
            account.dropped.add("outside the image", where)
            return []
        account.changed.add("cut at the image's edge", where)
        kind = "hbb" if kind == "hbb" else "polygon"
    account.kept += 1
    if variant == "yolo":
        if one.kind != "hbb":
            account.changed.add("shape written as its box", where)
        x1, y1, x2, y2 = np.array(shape.bounds) / (*size, *size)
        return [np.array([[(x1 + x2) / 2, (y1 + y2) / 2], [x2 - x1, y2 - y1]])]
    if variant == "yolo-obb":
        corners_42, notes = quad_corners(shape, kind)
        for note in notes:
            account.changed.add(note, where)
        return [] if corners_42 is None else [np.clip(corners_42, 0, size)]
    return _rings(shape, account, where)


def _rings(shape: shapely.Geometry, account: Account, where: str) -> list[np.ndarray]:
    parts = polygons_of(shape)
    if any(len(part.interiors) for part in parts):
        account.changed.add("holes filled", where)
    if len(parts) > 1:
        account.changed.add("parts written as objects of their own", where)
    return [np.asarray(part.exterior.coords)[:-1, :2] for part in parts]


def _from_yaml(path: Path) -> dict[int, str]:
    try:
        # every scalar stays a word, and no tag can make an object
        value = yaml.load(read_text(path, 1 << 20), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(
            f"{path} is no YAML ({type(error).__name__}) where class names are expected; fetch it again"
        ) from error
    names = value.get("names") if isinstance(value, dict) else None
    pairs = names.items() if isinstance(names, dict) else enumerate(names) if isinstance(names, list) else ()
    classes = {as_whole(index): label for index, label in pairs if isinstance(label, str)}
    if None in classes or len(classes) < len(names or [""]):
        raise InputError(f"{path} has no list of class names under 'names' where YOLO keeps them; say names=[...]")
    return {index: label for index, label in classes.items() if index is not None}


def _check(variant: str) -> None:
    if variant not in _FIELDS:
        raise InputError(f"'{variant}' was found where a YOLO variant is expected; choose among {', '.join(_FIELDS)}")
