"""What every format shares: one value for a labelled image, an account of what was lost, and distrust of files.

Annotation files come from anywhere. So sizes are bounded before anything is parsed, a file name that leads out
of its folder is refused, and a bad row is dropped and counted with its reason; only a file that is wrong as a
whole raises `InputError`. Shapes are in continuous pixels as in `georefer.geometry`: (0, 0) is the outer
top-left corner of the image, x right, y down.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import shapely

from georefer.geometry import OBB, Kind, Objects
from georefer.scenes.schema import Scene

MAX_EXAMPLES = 3
SAME_PX = 0.01
"""Corners nearer than this to a rectangle's are that rectangle's: what six decimals of a side leave uncertain."""

IMAGE_ENDINGS = frozenset([".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".jp2", ".gif", ".ppm"])


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One image as annotation formats know it: a file name, a size where it is known, and its objects.

    `file_name` is relative, with forward slashes. `attributes` holds what the format says of the image itself
    (its COCO id, DOTA's gsd), plain JSON values.
    """

    file_name: str
    width: int | None
    height: int | None
    objects: Objects
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_scene(cls, scene: Scene, ending: str = ".png") -> LabelledImage:
        """A scene of a dataset, to be written in another format; its grid and provenance stay behind."""
        return cls(scene.id + ending, *scene.size, scene.objects)

    @property
    def stem(self) -> str:
        """The file name without its ending, folders included."""
        return stem_of(self.file_name)


@dataclass
class Tally:
    """How often each reason came up, and where it did first."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, where: object, times: int = 1) -> None:
        self.counts[reason] = self.counts.get(reason, 0) + times
        seen = self.examples.setdefault(reason, [])
        if len(seen) < MAX_EXAMPLES:
            seen.append(str(where)[:200])

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass
class Account:
    """What became of the objects: `kept`, `dropped` by reason, and `changed`: kept, but not as they were."""

    kept: int = 0
    dropped: Tally = field(default_factory=Tally)
    changed: Tally = field(default_factory=Tally)

    def __str__(self) -> str:
        lines = [f"{self.kept} objects kept, {self.dropped.total} rows dropped"]
        for word, tally in (("dropped", self.dropped), ("changed", self.changed)):
            for reason, count in sorted(tally.counts.items()):
                lines.append(f"  {word} {count}: {reason} (as in {'; '.join(tally.examples[reason])})")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Read:
    """What a file or folder held. `classes` maps each label to the number that the format has for it, if any."""

    images: tuple[LabelledImage, ...]
    account: Account
    classes: Mapping[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[LabelledImage]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)


class Rows:
    """Objects of one image while they are read, row by row."""

    def __init__(self, account: Account):
        self.account = account
        self._rows: list[tuple[Any, str, Kind, float | None, dict[str, Any], str | None]] = []

    def add(
        self,
        geometry: shapely.Geometry,
        label: str,
        kind: Kind,
        *,
        score: float | None = None,
        attributes: Mapping[str, Any] | None = None,
        id: str | None = None,
    ) -> None:
        self._rows.append((geometry, label, kind, score, dict(attributes or {}), id))

    def objects(self) -> Objects:
        """All rows; an id that is missing or taken is replaced by a free number."""
        self.account.kept += len(self._rows)
        taken = {row[5] for row in self._rows}
        free = (str(n) for n in range(2 * len(self._rows) + 1) if str(n) not in taken)
        used: set[str] = set()
        ids = []
        for *_, id in self._rows:
            if id is not None and id in used:
                self.account.changed.add("id used twice in one image, replaced", id)
                id = None
            ids.append(next(free) if id is None else id)
            used.add(ids[-1])
        columns: list[Any] = [list(column) for column in zip(*self._rows, strict=True)] or [[]] * 6
        return Objects.of(columns[0], columns[1], kind=columns[2], ids=ids, scores=columns[3], attributes=columns[4])


def stem_of(name: str) -> str:
    """A name without its image ending; other dots belong to the name (`P0001.tile3`)."""
    ending = PurePosixPath(name).suffix
    return name[: -len(ending)] if ending.lower() in IMAGE_ENDINGS else name


# --- shapes ---------------------------------------------------------------------------------------------------


def quad_shape(corners_42: np.ndarray, tolerance_px: float) -> tuple[shapely.Polygon, Kind, list[str]]:
    """Four corners of a file as a shape, its kind, and what had to be said of it.

    The corners start at the front left and run clockwise on the screen (DOTA's order). What is a rectangle to
    within `tolerance_px` at each corner becomes an OBB, whose `OBB.from_polygon` gives the heading; anything
    else stays a polygon with its own corners. Corners that run the other way are turned around the first one.
    """
    notes = []
    if signed_area(corners_42) < 0:
        corners_42 = corners_42[[0, 3, 2, 1]]
        notes.append("corners ran anticlockwise, turned")
    if _is_rectangle(corners_42):
        return shapely.Polygon(np.roll(corners_42, -1, axis=0)), "obb", notes
    polygon = shapely.Polygon(corners_42)
    if not polygon.is_valid:
        return polygon, "polygon", [*notes, "corners cross each other, kept as a polygon"]
    around_42 = np.asarray(OBB.around(polygon).to_polygon().exterior.coords)[:4]
    rolled = [np.roll(around_42, k, axis=0) for k in range(4)]
    errors_4 = [float(np.hypot(*(corners - corners_42).T).max()) for corners in rolled]
    best = int(np.argmin(errors_4))
    if errors_4[best] > tolerance_px:
        return polygon, "polygon", [*notes, "four corners that are no rectangle, kept as a polygon"]
    if errors_4[best] > SAME_PX:
        corners_42 = rolled[best]
        notes.append("nearly a rectangle, made one")
    # an OBB's polygon starts at its front right
    return shapely.Polygon(np.roll(corners_42, -1, axis=0)), "obb", notes


def _is_rectangle(corners_42: np.ndarray) -> bool:
    """Whether the fourth corner and the right angle are met to within `SAME_PX`: the usual case, told quickly."""
    (ux, uy), (vx, vy) = (corners_42[1] - corners_42[0]).tolist(), (corners_42[3] - corners_42[0]).tolist()
    gap_x, gap_y = (corners_42[2] - corners_42[1] - corners_42[3] + corners_42[0]).tolist()
    longer = max(math.hypot(ux, uy), math.hypot(vx, vy))
    return abs(ux * vx + uy * vy) <= SAME_PX * longer and math.hypot(gap_x, gap_y) <= SAME_PX


def quad_corners(geometry: shapely.Geometry, kind: Kind) -> tuple[np.ndarray | None, list[str]]:
    """The four corners to write for an area, front left first and clockwise (inverse of `quad_shape`).

    A box starts at its top left; a polygon of four corners keeps them; other areas become their
    minimum-area rectangle. None for points, lines and what has no area.
    """
    if shapely.get_dimensions(geometry) < 2 or geometry.is_empty or geometry.area == 0:
        return None, []
    if kind == "hbb":
        x1, y1, x2, y2 = geometry.bounds
        return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]), []
    if geometry.geom_type == "Polygon" and not geometry.interiors and len(geometry.exterior.coords) == 5:
        corners_42 = np.asarray(geometry.exterior.coords)[:4, :2]
        corners_42 = np.roll(corners_42, 1, axis=0) if kind == "obb" else corners_42
        return (corners_42 if signed_area(corners_42) > 0 else corners_42[[0, 3, 2, 1]]), []
    corners_42 = np.asarray(OBB.around(geometry).to_polygon().exterior.coords)[:4]
    return np.roll(corners_42, 1, axis=0), ["outline written as its minimum-area rectangle"]


def signed_area(corners_N2: np.ndarray) -> float:
    """Positive where the corners run clockwise on the screen (y down)."""
    x, y = (corners_N2 - corners_N2[0]).T
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y) / 2)


def polygons_of(geometry: shapely.Geometry) -> list[shapely.Polygon]:
    """The polygons of an area, one or many."""
    parts = shapely.get_parts(geometry)
    return [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]


def plain(number: float, decimals: int) -> str:
    """A number as people write it: 12.5, not 12.500; never -0."""
    text = f"{number:.{decimals}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def count_losses(account: Account, where: str, objects: Objects, *, keeps: Sequence[str] = (), scores: bool) -> None:
    """Counts attributes and scores that the format cannot hold; the objects themselves are kept."""
    for one in objects:
        if not scores and one.score is not None:
            account.changed.add("score left out", f"{where}, object {one.id}")
        if left := sorted(set(one.attributes) - set(keeps)):
            account.changed.add("attributes left out", f"{where}, object {one.id}: {', '.join(left)}")
