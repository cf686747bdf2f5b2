"""Images of datasets that say their objects in the texts of questions: their sizes, and each object once.

Unlike `common.Gathering`, which keeps what rows of numbers say, a box that one text names without a class is here the
same object as the box that another text names with one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from georefer.dialects import Dialect, Reading
from georefer.errors import InputError
from georefer.geometry import Frame, Kind
from georefer.scenes.interchange.base import IMAGE_ENDINGS, Account, LabelledImage, Rows, stem_of
from georefer.scenes.readers.base import Asked, Published
from georefer.scenes.readers.common import UNNAMED, inside, picture_size

SAME_STEP_PX = 0.01
"""Shapes that differ by less than this at each corner are one object."""

NO_SIZE = "the image's size is not known, so its boxes have no pixels (give the folder of images)"

_FORM = frozenset({"off-grammar", "unreadable", "duplicate"})
"""Problems of a text that cost no shape: prose around boxes, no box at all, a box said again."""


class HeaderSizes:
    """(width, height) from the headers of the pictures in a folder, looked up by name; no pixel is read.

    A file with the same stem and another ending serves too. What lies outside the folder, links included, is not
    looked at; a picture that cannot be opened has no size.
    """

    def __init__(self, folder: Path | str | None):
        self.folder = None if folder is None else Path(folder)
        if self.folder is not None and not self.folder.is_dir():
            raise InputError(f"{self.folder} is no folder where the pictures are expected; check the path")
        self._known: dict[str, tuple[int, int] | None] = {}

    def __call__(self, name: str) -> tuple[int, int] | None:
        if self.folder is None:
            return None
        if name not in self._known:
            files = (inside(self.folder, candidate) for candidate in (name, *_other_endings(name)))
            sizes = (picture_size(file) for file in files if file is not None)
            self._known[name] = next((size for size in sizes if size is not None), None)
        return self._known[name]


def _other_endings(name: str) -> Iterator[str]:
    for ending in sorted(IMAGE_ENDINGS):
        yield stem_of(name) + ending
        yield stem_of(name) + ending.upper()


@dataclass
class ReadImage:
    """One image while it is read. `size` is None where nothing tells it.

    `relations` are (subject id, predicate, object id) in the order found; they become the attribute "relations".
    """

    file_name: str
    size: tuple[int, int] | None
    attributes: dict[str, Any] = field(default_factory=dict)
    relations: dict[tuple[str, ...], None] = field(default_factory=dict)
    _objects: list[dict[str, Any]] = field(default_factory=list)
    _places: dict[tuple, list[int]] = field(default_factory=dict)

    @property
    def frame(self) -> Frame:
        """The image as it is: what texts of published datasets count along."""
        assert self.size is not None
        return Frame.resize(self.size, self.size)

    def add(
        self,
        geometry: shapely.Geometry,
        label: str,
        kind: Kind,
        attributes: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> str:
        """The id of the object: a new one, or the one that has this shape already and no other label."""
        corners = np.rint(shapely.get_coordinates(geometry) / SAME_STEP_PX).astype(np.int64)
        places = self._places.setdefault((kind, corners.tobytes()), [])
        for place in places:
            known = self._objects[place]
            if id is None and (not label or not known["label"] or known["label"] == label):
                known["label"] = known["label"] or label
                return known["id"]
        places.append(len(self._objects))
        id = str(len(self._objects)) if id is None else id
        self._objects.append(
            {"geometry": geometry, "label": label, "kind": kind, "attributes": dict(attributes or {}), "id": id}
        )
        return id

    def add_reading(self, reading: Reading, begin: int = 0) -> list[str]:
        """The ids of the objects of a reading from place `begin` on, in its order."""
        return [self.add(one.geometry, one.label, one.kind) for one in reading.objects[begin:]]

    def shape_of(self, id: str) -> shapely.Geometry:
        """The shape of an object that was added without an id of its own."""
        return self._objects[int(id)]["geometry"]

    def finish(self, account: Account) -> LabelledImage:
        rows = Rows(account)
        if self.relations:
            self.attributes["relations"] = [list(triplet) for triplet in self.relations]
        for one in self._objects:
            if not one["label"]:
                account.changed.add("no class is named for a shape", self.file_name)
            rows.add(**{**one, "label": one["label"] or UNNAMED})
        width, height = self.size or (None, None)
        return LabelledImage(self.file_name, width, height, rows.objects(), self.attributes)


class ReadImages:
    """All images of a dataset while it is read, by name. Sizes come from headers, else from `nominal`."""

    def __init__(self, folder: Path | str | None):
        self._sizes = HeaderSizes(folder)
        self._by_name: dict[str, ReadImage] = {}

    def find(self, name: str, nominal: tuple[int, int] | None = None) -> ReadImage:
        if name not in self._by_name:
            self._by_name[name] = ReadImage(name, self._sizes(name) or nominal)
        return self._by_name[name]

    def finish(self, account: Account) -> dict[str, LabelledImage]:
        return {name: image.finish(account) for name, image in self._by_name.items()}


def read_boxes(dialect: Dialect, text: str, frame: Frame, account: Account, where: str) -> Reading:
    """What a text says, with what was lost or repaired on the way counted."""
    reading = dialect.read(text, frame)
    count_problems(reading, account, where)
    return reading


def count_problems(reading: Reading, account: Account, where: str) -> None:
    for problem in reading.problems:
        if problem.kind not in _FORM:
            tally = account.dropped if problem.is_loss else account.changed
            tally.add(f"shape in a text {'lost' if problem.is_loss else 'repaired'}: {problem.kind}", where)


def lines_file(path: Path | str) -> Path:
    """The file of JSON lines to write; its name says that it is one."""
    if Path(path).suffix != ".jsonl":
        raise InputError(f"{path} was given where the name of a .jsonl file to write is expected; end it so")
    return Path(path)


class Ids:
    """Ids of questions, each once: one that comes again gets a number behind it."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._taken: set[str] = set()

    def take(self, id: str) -> tuple[str, int]:
        """(an id that nothing has yet, how often this one came before)."""
        times = self._times.get(id, 0)
        self._times[id] = times + 1
        free = id if not times else f"{id}.{times + 1}"
        while free in self._taken:
            free += "+"
        self._taken.add(free)
        return free, times


def published(name: str, path: Path, images: ReadImages, questions: Sequence[Asked], account: Account) -> Published:
    """All that was read; InputError where every row of the file was bad."""
    if not questions and account.dropped.total:
        reason, where = next((r, e[0]) for r, e in account.dropped.examples.items())
        raise InputError(
            f"{path} holds no usable row ({account.dropped.total} dropped, the first at {where}: {reason}) "
            f"where {name} is expected; check the format"
        )
    return Published(name, images.finish(account), tuple(questions), account)
