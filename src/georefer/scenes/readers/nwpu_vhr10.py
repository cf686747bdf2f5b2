"""NWPU VHR-10: 650 pictures with boxes of ten classes, and 150 without any.

    ground truth/001.txt            (563,478),(630,573),1      corners and class, a line an object
    positive image set/001.jpg
    negative image set/001.jpg      no annotation; the same numbers again

Source: the data set's own readme (Cheng et al., ISPRS J. 98 (2014) 119), as other projects that read it have it.

- Corners are whole pixels, top left and bottom right; they are taken as they stand, nothing is added.
- Images are named by their folder where `images` (the dataset's folder, or one of the two) holds them, since both sets
  count from 001; negative ones are images without objects and have the attribute "negative".
- Nothing is asked in these files: there are no questions, and no split is published.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import shapely

from georefer.errors import InputError
from georefer.scenes.interchange.base import Account, LabelledImage, Rows, count_losses
from georefer.scenes.interchange.files import label_files, label_paths, read_each, read_text, write_text
from georefer.scenes.readers.base import Published, Source
from georefer.scenes.readers.gathering import HeaderSizes

CLASSES = (
    "airplane", "ship", "storage tank", "baseball diamond", "tennis court", "basketball court", "ground track field",
    "harbor", "bridge", "vehicle",
)  # fmt: skip
"""The classes in the order of their numbers, which begin at 1."""

POSITIVE, NEGATIVE, TRUTH = "positive image set", "negative image set", "ground truth"

_NUMBER = r"[ \t]*([0-9]{1,7})[ \t]*"
_ROW = re.compile(rf"[ \t]*\({_NUMBER},{_NUMBER}\)[ \t]*,[ \t]*\({_NUMBER},{_NUMBER}\)[ \t]*,{_NUMBER}")


def read(path: str | Path, images: str | Path | None = None, split: str | None = None) -> Published:
    """The folder `ground truth`, the one that holds it, or one file of it. `split` is not published and not used."""
    path, account = Path(path), Account()
    if images is None and path.is_dir() and (path / TRUTH).is_dir():
        images = path
    path = path / TRUTH if (path / TRUTH).is_dir() else path
    sizes = HeaderSizes(images)

    def one(stem: str, file: Path) -> LabelledImage:
        rows = Rows(account)
        for number, line in enumerate(read_text(file).splitlines(), 1):
            if line.strip(" \t\ufeff\x1a"):
                _row(line, f"{file.name}:{number}", rows)
        return _named(stem, sizes, rows)

    found = list(read_each(path, label_files(path, ".txt", account), one, account))
    if not any(len(image.objects) for image in found) and account.dropped.total:
        raise InputError(
            f"{path} holds no line like (563,478),(630,573),1 where NWPU VHR-10 is expected; check the path"
        )
    if path.is_dir():
        found += _negative(images, sizes)
    return Published("NWPU VHR-10", {image.file_name: image for image in found}, (), account)


def write(published: Published, path: str | Path) -> Account:
    """One text file an image in the folder `path`; edges are rounded to whole pixels, shapes become boxes."""
    account = Account()
    images = [image for image in published.images.values() if not image.attributes.get("negative")]
    # both folders count from 001, but only one of them has annotations
    flat = [
        LabelledImage(image.file_name.removeprefix(POSITIVE + "/"), image.width, image.height, image.objects)
        for image in images
    ]
    for image, file in zip(flat, label_paths(flat, Path(path), ".txt"), strict=True):
        count_losses(account, image.file_name, image.objects, scores=False)
        lines = []
        for one in image.objects:
            where = f"{image.file_name}, object {one.id}"
            x1, y1, x2, y2 = np.floor(np.array(one.geometry.bounds) + 0.5).astype(int)
            if one.label not in CLASSES:
                account.dropped.add("class is none of the ten", where)
            elif shapely.get_dimensions(one.geometry) < 2 or x2 <= x1 or y2 <= y1 or x1 < 0 or y1 < 0:
                account.dropped.add("no area in whole pixels of the image", where)
            else:
                if one.kind != "hbb" or (x1, y1, x2, y2) != one.geometry.bounds:
                    account.changed.add("written as its box in whole pixels", where)
                account.kept += 1
                lines.append(f"({x1},{y1}),({x2},{y2}),{CLASSES.index(one.label) + 1}\n")
        write_text(file, "".join(lines))
    return account


def _row(line: str, where: str, rows: Rows) -> None:
    match = _ROW.fullmatch(line.rstrip())
    if match is None:
        return rows.account.dropped.add("not (x1,y1),(x2,y2),class", where)
    x1, y1, x2, y2, number = (int(word) for word in match.groups())
    if not 1 <= number <= len(CLASSES):
        return rows.account.dropped.add("class number is none of the ten", where)
    if x2 <= x1 or y2 <= y1:
        return rows.account.dropped.add("no area", where)
    return rows.add(shapely.box(x1, y1, x2, y2), CLASSES[number - 1], "hbb")


def _named(stem: str, sizes: HeaderSizes, rows: Rows) -> LabelledImage:
    for name in (f"{POSITIVE}/{stem}.jpg", f"{stem}.jpg"):
        if size := sizes(name):
            return LabelledImage(name, *size, rows.objects())
    return LabelledImage(f"{stem}.jpg", None, None, rows.objects())


def _negative(images: str | Path | None, sizes: HeaderSizes) -> list[LabelledImage]:
    folder = None if images is None else Path(images) / NEGATIVE
    if folder is None or not folder.is_dir():
        return []
    found = []
    for file in sorted(folder.glob("*.jpg")):
        name = f"{NEGATIVE}/{file.name}"
        if size := sizes(name):
            found.append(LabelledImage(name, *size, Rows(Account()).objects(), {"negative": True}))
    return found


SOURCE = Source(
    "nwpu-vhr10",
    "the folder `ground truth`, or the one that holds it and the pictures",
    "research use, to be cited (Northwestern Polytechnical University)",
    read,
    write,
)
