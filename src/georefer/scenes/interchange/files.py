"""Reading and writing files that are not trusted: names, numbers, texts, and folders of one file an image."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from georefer.errors import InputError
from georefer.imagery.raster import open_imagery
from georefer.runlog import written_beside
from georefer.scenes.interchange.base import IMAGE_ENDINGS, Account, LabelledImage, stem_of

MAX_JSON_BYTES = 1 << 30
"""The largest JSON file that is read: twice COCO's own; parsing takes about ten times that in memory."""
MAX_TEXT_BYTES = 64 << 20
"""The largest text or XML file of one image."""
MAX_DEPTH = 16
"""How deep JSON attributes and XML elements may be nested."""
MAX_SIDE_PX = 1_000_000

Sizes = Mapping[str, tuple[int, int]] | Callable[[str], tuple[int, int] | None]
"""(width, height) of images: by file name (with or without its ending), or asked of a function by stem."""


# --- names, files and numbers that are not trusted ------------------------------------------------------------


def safe_name(name: object) -> str | None:
    """A relative file name with forward slashes, or None where it is none or leads out of its folder."""
    if not isinstance(name, str) or not name.strip() or len(name) > 1000:
        return None
    parts = name.replace("\\", "/").split("/")
    if parts[0] in ("", "~") or ":" in parts[0] or ".." in parts or not name.isprintable():
        return None
    clean = [part for part in parts if part not in ("", ".")]
    return "/".join(clean) or None


def required_name(image: LabelledImage) -> str:
    """The name of an image that is to be written; the caller's own mistake raises."""
    name = safe_name(image.file_name)
    if name is None:
        raise InputError(
            f"the image name {image.file_name[:200]!r} was found where a relative name inside the folder is expected; "
            "rename the image"
        )
    return name


def read_text(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """The whole file as UTF-8 (a byte order mark is left out); InputError where it is missing, huge or no text."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InputError(
            f"{path} cannot be opened ({error.strerror}) where annotations are expected; check the path"
        ) from error
    if len(data) > limit:
        raise InputError(f"{path} is larger than the {limit:,} bytes that are read at most; split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is no UTF-8 text ({error.reason}) where annotations are expected; convert it"
        ) from error


def load_json(path: Path) -> Any:
    """The value in a JSON file; InputError for what is cut off, nested without end or no JSON at all."""
    try:
        return json.loads(read_text(path, MAX_JSON_BYTES))
    except RecursionError as error:
        raise InputError(f"{path} is nested too deeply for an annotation file; check where it comes from") from error
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}) where annotations are expected; fetch it again") from error


def as_number(value: object) -> float | None:
    """A finite float from a JSON number or a word; None for anything else, true and false included."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    # Python alone reads 1_000 as a number
    if isinstance(value, str) and "_" in value:
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) < 1e9 else None


def as_numbers(values: Iterable[object]) -> np.ndarray | None:
    """Finite float64 numbers, or None if one of the values is not."""
    numbers = [as_number(value) for value in values]
    return None if None in numbers else np.array(numbers, dtype=np.float64)


def as_whole(value: object) -> int | None:
    """A whole number (3, "3", "3.0"), or None."""
    number = as_number(value)
    return int(number) if number is not None and number == int(number) else None


def as_side(value: object) -> int | None:
    """The width or height of an image: whole and positive, or None."""
    side = as_whole(value)
    return side if side is not None and 0 < side <= MAX_SIDE_PX else None


def storable(value: object, depth: int = MAX_DEPTH) -> bool:
    """Whether a JSON value can be kept: finite, and nested no deeper than that, since later code walks it."""
    if isinstance(value, float):
        return math.isfinite(value)
    if not isinstance(value, dict | list):
        return True
    inside = value.values() if isinstance(value, dict) else value
    return depth > 0 and all(storable(item, depth - 1) for item in inside)


# --- folders of one file per image ----------------------------------------------------------------------------


def label_files(path: Path, ending: str, account: Account, besides: Sequence[str] = ()) -> list[tuple[str, Path]]:
    """(stem, file) of a folder and the folders in it, sorted, or of the one file that `path` names.

    Links are not followed out of the folder: a file that lies elsewhere is left out and counted.
    """
    if path.is_file():
        return [(path.stem, path)]
    if not path.is_dir():
        raise InputError(f"there is no file or folder {path} where annotations are expected; check the path")
    root = path.resolve()
    files = [
        file
        for file in sorted(path.rglob(f"*{ending}"))
        if file.is_file() and file.name not in besides and not file.name.startswith(".")
    ]
    inside = [file for file in files if file.resolve().is_relative_to(root)]
    for file in set(files) - set(inside):
        account.dropped.add("link out of the folder, not followed", file.name)
    if not inside:
        raise InputError(f"{path} holds no {ending} file where one per image is expected; name the annotations' folder")
    return [(file.relative_to(path).with_suffix("").as_posix(), file) for file in inside]


def read_each(
    path: Path,
    files: list[tuple[str, Path]],
    read: Callable[[str, Path], LabelledImage | None],
    account: Account,
) -> tuple[LabelledImage, ...]:
    """Every file read; in a folder a file that is wrong as a whole is counted, unless no file is right."""
    images, first_error = [], None
    for stem, file in files:
        try:
            image = read(stem, file)
        except InputError as error:
            if path.is_file():
                raise
            first_error = first_error or error
            account.dropped.add("file that cannot be read", error)
            continue
        if image is not None:
            images.append(image)
    if not images and first_error is not None:
        raise first_error
    return tuple(images)


def image_sizes(folder: str | Path) -> dict[str, tuple[int, int]]:
    """(width, height) of every image in a folder and the folders in it, by relative name; no pixel is read."""
    folder, sizes = Path(folder), {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in IMAGE_ENDINGS and path.is_file():
            # a stretch that is given is not measured, so only headers are read
            with open_imagery(path, bands=(1,), stretch=((0, 1),)) as imagery:
                sizes[path.relative_to(folder).as_posix()] = (imagery.grid.width, imagery.grid.height)
    return sizes


class ImageSizes:
    """Looks sizes up by the stem that an annotation file has, and knows the image's full name where it can."""

    def __init__(self, sizes: Sizes | None, ending: str):
        self._ask = sizes if callable(sizes) else None
        self._ending = ending
        self._by_stem: dict[str, tuple[str, tuple[int, int]]] = {}
        for name, size in ({} if sizes is None or callable(sizes) else sizes).items():
            stem = stem_of(name)
            if stem in self._by_stem:
                raise InputError(
                    f"the images {self._by_stem[stem][0]} and {name} differ only by their ending where one image per "
                    "annotation file is expected; give the sizes of one of them"
                )
            self._by_stem[stem] = (name if stem != name else name + ending, size)

    def find(self, stem: str) -> tuple[str, int | None, int | None]:
        """(file name, width, height); the sides are None where the size is not known."""
        name, size = self._by_stem.get(stem, (stem + self._ending, None))
        if self._ask is not None:
            size = self._ask(stem)
        if size is None:
            return name, None, None
        width, height = as_side(size[0]), as_side(size[1])
        if width is None or height is None:
            raise InputError(f"the size {size!r} was given for the image {name}, expected (width, height); correct it")
        return name, width, height


def write_text(path: Path, text: str) -> None:
    with written_beside(path) as beside:
        beside.write_text(text, encoding="utf-8", newline="\n")


def label_paths(images: Sequence[LabelledImage], folder: Path, ending: str) -> list[Path]:
    """Where the annotations of each image go: the image's name with another ending, folders kept."""
    paths = [folder / (stem_of(required_name(image)) + ending) for image in images]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise InputError(f"two images would share the annotation file {twice}; give them names that differ")
    return paths
