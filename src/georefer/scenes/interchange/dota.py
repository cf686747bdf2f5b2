"""DOTA: one text file an image, one line an object with four corners; and the result files of its evaluation.

    imagesource:GoogleEarth            two header lines, both optional
    gsd:0.146343590398                 metres; "null" where nobody knows
    2753 2408 2861 2385 2888 2468 2805 2502 plane 0
                                       x1 y1 x2 y2 x3 y3 x4 y4 category difficult (may be missing)

Source: captain-whu.github.io/DOTA/dataset.html (corners clockwise, difficult 0 or 1; version 2 has 2 too) and
tasks.html (results: `Task1_<category>.txt` with `image score x1 ... y4`, `Task2_` with `xmin ymin xmax ymax`).

- Coordinates are pixels with decimals; they are taken as continuous ones, no half pixel is added.
- *The first corner carries the head*: it is the top left of the object with its front up, that is its front
  left, so the heading runs from the fourth corner to the first. It is read into the OBB's heading; for classes
  without a front it is only where the annotator began. A box (kind "hbb") is written from its top left corner.
- Annotators drew quadrangles, not rectangles. Four corners within `tolerance_px` of a rectangle become an OBB
  (the corners themselves where they are exact), others stay polygons of four corners: nothing is straightened
  silently, both are counted.
- A category is one word: spaces are written as hyphens (`storage-tank`). Which hyphens were spaces cannot be
  known, so labels are read as they stand unless `names` lists how the caller spells them.
- The image's size stands nowhere: it comes from the caller or stays unknown.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import shapely

from georefer.errors import InputError
from georefer.scenes.interchange.base import (
    Account,
    LabelledImage,
    Read,
    Rows,
    count_losses,
    plain,
    quad_corners,
    quad_shape,
    signed_area,
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
    required_name,
    safe_name,
    write_text,
)

_HEADERS = ("imagesource:", "gsd:")


def read(
    path: str | Path,
    *,
    sizes: Sizes | None = None,
    names: Collection[str] | None = None,
    tolerance_px: float = 1.0,
    ending: str = ".png",
) -> Read:
    """Label files of a folder (or one file). `ending` completes image names that `sizes` does not know."""
    path, account, known = Path(path), Account(), ImageSizes(sizes, ending)
    spelled = _spelled(names)

    def one(stem: str, file: Path) -> LabelledImage:
        name, width, height = known.find(stem)
        rows, said = Rows(account), {}
        for number, line in enumerate(read_text(file).splitlines(), 1):
            where = f"{file.name}:{number}"
            if line.lower().startswith(_HEADERS):
                key, value = line.split(":", 1)
                said[key.lower()] = value.strip() if key.lower() == "imagesource" else as_number(value)
            elif line.strip():
                _label_row(line.split(), where, rows, spelled, tolerance_px)
        return LabelledImage(name, width, height, rows.objects(), {k: v for k, v in said.items() if v is not None})

    images = read_each(path, label_files(path, ".txt", account), one, account)
    _refuse_if_nothing_fits(path, account, "lines of x1 y1 x2 y2 x3 y3 x4 y4 category difficult")
    return Read(images, account)


def write(images: Iterable[LabelledImage], path: str | Path, *, decimals: int = 2) -> Account:
    """One label file an image in the folder `path`; coordinates are rounded to `decimals`."""
    images, account = list(images), Account()
    for image, file in zip(images, label_paths(images, Path(path), ".txt"), strict=True):
        lines = [f"{key}:{image.attributes[key]}" for key in ("imagesource", "gsd") if key in image.attributes]
        count_losses(account, image.file_name, image.objects, keeps=("difficult",), scores=False)
        for corners_42, category, one in _quads(image, account):
            difficult = as_whole(one.attributes.get("difficult", 0)) or 0
            lines.append(f"{_spread(corners_42, decimals)} {category} {difficult}")
        write_text(file, "".join(line + "\n" for line in lines))
    return account


def read_results(
    path: str | Path,
    *,
    sizes: Sizes | None = None,
    names: Collection[str] | None = None,
    tolerance_px: float = 1.0,
    ending: str = ".png",
) -> Read:
    """Scored detections of `Task1_<category>.txt` (corners) or `Task2_` (boxes) in a folder, or one such file."""
    path, account, known = Path(path), Account(), ImageSizes(sizes, ending)
    spelled = _spelled(names)
    by_image: dict[str, Rows] = {}
    files = [(stem, file) for stem, file in label_files(path, ".txt", account) if _task(file)]
    if not files:
        raise InputError(
            f"{path} holds no Task1_<category>.txt or Task2_<category>.txt where DOTA results are expected; "
            "name their folder"
        )
    for _, file in files:
        task, category = file.stem[:5], file.stem[6:]
        for number, line in enumerate(read_text(file).splitlines(), 1):
            if line.strip():
                _result_row(
                    line.split(), f"{file.name}:{number}", task, spelled(category), by_image, account, tolerance_px
                )
    images = []
    for stem in sorted(by_image):
        name, width, height = known.find(stem)
        images.append(LabelledImage(name, width, height, by_image[stem].objects()))
    _refuse_if_nothing_fits(path, account, "lines of image score x1 y1 x2 y2 x3 y3 x4 y4")
    return Read(tuple(images), account)


def write_results(images: Iterable[LabelledImage], path: str | Path, *, decimals: int = 2) -> Account:
    """`Task1_<category>.txt` files in the folder `path`; objects without a score are dropped."""
    account = Account()
    lines: dict[str, list[str]] = {}
    for image in images:
        required_name(image)
        if any(character.isspace() for character in image.stem):
            raise InputError(f"the image name {image.file_name!r} has spaces, which separate fields here; rename it")
        scored = image.objects[~np.isnan(image.objects.scores_N)]
        if missing := len(image.objects) - len(scored):
            account.dropped.add("no score", image.file_name, missing)
        count_losses(account, image.file_name, scored, scores=True)
        found = LabelledImage(image.file_name, image.width, image.height, scored)
        for corners_42, category, one in _quads(found, account):
            line = f"{image.stem} {plain(one.score, 6)} {_spread(corners_42, decimals)}\n"
            lines.setdefault(category, []).append(line)
    for category, rows in sorted(lines.items()):
        if safe_name(category) != category or "/" in category:
            raise InputError(f"the class {category!r} cannot be part of a file name, as DOTA results need; rename it")
        write_text(Path(path) / f"Task1_{category}.txt", "".join(rows))
    return account


# --- rows -----------------------------------------------------------------------------------------------------


def _label_row(words: list[str], where: str, rows: Rows, spelled, tolerance_px: float) -> None:
    dropped = rows.account.dropped
    if len(words) not in (9, 10):
        return dropped.add("not 9 or 10 fields", where)
    attributes = {}
    if len(words) == 10:
        difficult = as_whole(words[9])
        if difficult is None:
            return dropped.add("difficult is no whole number", where)
        attributes["difficult"] = difficult
    _quad_row(words[:8], spelled(words[8]), where, rows, tolerance_px, attributes=attributes)


def _result_row(words, where: str, task: str, label: str, by_image, account: Account, tolerance_px: float) -> None:
    if len(words) != (10 if task == "Task1" else 6):
        return account.dropped.add("wrong number of fields", where)
    stem, score = safe_name(words[0]), as_number(words[1])
    if stem is None:
        return account.dropped.add("image name leads out of its folder", where)
    if score is None:
        return account.dropped.add("score is no number", where)
    rows = by_image.setdefault(stem, Rows(account))
    if task == "Task1":
        return _quad_row(words[2:], label, where, rows, tolerance_px, score=score)
    box_4 = as_numbers(words[2:])
    if box_4 is None:
        account.dropped.add("coordinates are no numbers", where)
    elif box_4[2] <= box_4[0] or box_4[3] <= box_4[1]:
        account.dropped.add("no area", where)
    else:
        rows.add(shapely.box(*box_4), label, "hbb", score=score)


def _quad_row(words: list[str], label: str, where: str, rows: Rows, tolerance_px: float, **columns) -> None:
    corners_8 = as_numbers(words)
    if corners_8 is None:
        return rows.account.dropped.add("coordinates are no numbers", where)
    corners_42 = corners_8.reshape(4, 2)
    # a bow-tie of equal lobes has no signed area, and still covers ground
    if signed_area(corners_42) == 0 and shapely.convex_hull(shapely.MultiPoint(corners_42)).area == 0:
        return rows.account.dropped.add("no area", where)
    shape, kind, notes = quad_shape(corners_42, tolerance_px)
    for note in notes:
        rows.account.changed.add(note, where)
    rows.add(shape, label, kind, **columns)


def _quads(image: LabelledImage, account: Account):
    """(corners, category, object) of what can be written; the rest is counted."""
    for one in image.objects:
        where = f"{image.file_name}, object {one.id}"
        category = "-".join(one.label.split())
        corners_42, notes = quad_corners(one.geometry, one.kind)
        if corners_42 is None:
            account.dropped.add(f"a {one.kind} has no corners to write", where)
        elif not category:
            account.dropped.add("no class name", where)
        else:
            if category != one.label:
                notes = [*notes, "spaces in the class name written as hyphens"]
            for note in notes:
                account.changed.add(note, where)
            account.kept += 1
            yield corners_42, category, one


def _spelled(names: Collection[str] | None):
    by_category = {"-".join(name.split()): name for name in names or ()}
    return lambda category: by_category.get(category, category)


def _spread(corners_42: np.ndarray, decimals: int) -> str:
    return " ".join(plain(value, decimals) for value in corners_42.ravel())


def _task(file: Path) -> bool:
    return file.name.startswith(("Task1_", "Task2_")) and len(file.stem) > 6


def _refuse_if_nothing_fits(path: Path, account: Account, expected: str) -> None:
    if account.kept == 0 and account.dropped.total:
        reason, where = next((r, e[0]) for r, e in account.dropped.examples.items())
        raise InputError(
            f"{path} holds no usable row ({account.dropped.total} dropped, the first at {where}: {reason}) "
            f"where {expected} are expected; check that it is in this format"
        )
