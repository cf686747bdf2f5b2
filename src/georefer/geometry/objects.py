"""Objects: the labelled shapes of one image, filterable like an array."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely

from georefer.geometry.grid import GeoGrid, turn_geometry
from georefer.geometry.mask import Mask
from georefer.geometry.shapes import KINDS, OBB, Kind
from georefer.geometry.window import Window


@dataclass(frozen=True)
class Object:
    """One labelled shape; what iterating over `Objects` yields."""

    id: str
    label: str
    kind: Kind
    geometry: shapely.Geometry
    score: float | None
    attributes: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Objects:
    """N labelled shapes in the continuous pixels of one image (origin top-left, y down).

    `geometries_N` holds shapely geometries; `kinds_N` says what each one stands for ("hbb" is a box and
    nothing more, though it is stored as a polygon; a "mask" is the exact outline of its set pixels or cells,
    see `Mask.to_geometry`). `scores_N` is NaN where there is no score. Ids are
    unique. Indexing with a mask, a slice or integers gives Objects again.
    """

    ids_N: np.ndarray
    labels_N: np.ndarray
    kinds_N: np.ndarray
    geometries_N: np.ndarray
    scores_N: np.ndarray
    attributes_N: np.ndarray

    @classmethod
    def of(
        cls,
        geometries: Sequence[shapely.Geometry] | np.ndarray,
        labels: Sequence[str],
        *,
        kind: Kind | Sequence[Kind] = "polygon",
        ids: Sequence[str] | None = None,
        scores: Sequence[float | None] | np.ndarray | None = None,
        attributes: Sequence[Mapping[str, Any]] | None = None,
    ) -> Objects:
        """Objects from parallel sequences; ids default to "0", "1", ... in the order given."""
        count = len(geometries)
        kinds = [kind] * count if isinstance(kind, str) else kind
        ids = list(map(str, range(count))) if ids is None else list(ids)
        scores = [None] * count if scores is None else scores
        attributes = [{} for _ in range(count)] if attributes is None else list(map(dict, attributes))
        lengths = {len(labels), len(kinds), len(ids), len(scores), len(attributes)}
        if lengths != {count}:
            raise ValueError(f"{count} geometries came with columns of lengths {sorted(lengths)}")
        if len(set(ids)) != count:
            raise ValueError("object ids are not unique")
        if unknown := set(kinds).difference(KINDS):
            raise ValueError(f"unknown kinds {sorted(unknown)}; known: {', '.join(KINDS)}")
        # numpy makes NaN of None
        return cls(
            _column(ids), _column(labels), _column(kinds), _column(geometries),
            np.array(scores, dtype=np.float64), _column(attributes),
        )  # fmt: skip

    @classmethod
    def from_hbb(cls, boxes_N4: np.ndarray, labels: Sequence[str], **columns: Any) -> Objects:
        """Boxes (x1, y1, x2, y2) in pixels; `columns` as in `of`."""
        boxes_N4 = np.asarray(boxes_N4, dtype=np.float64).reshape(-1, 4)
        return cls.of(shapely.box(*boxes_N4.T), labels, kind="hbb", **columns)

    @classmethod
    def none(cls) -> Objects:
        return cls.of([], [])

    def __len__(self) -> int:
        return len(self.ids_N)

    def __iter__(self) -> Iterator[Object]:
        for i in range(len(self)):
            score = None if np.isnan(self.scores_N[i]) else float(self.scores_N[i])
            yield Object(
                self.ids_N[i], self.labels_N[i], self.kinds_N[i], self.geometries_N[i], score, self.attributes_N[i]
            )

    def __getitem__(self, index: Any) -> Objects:
        if not (isinstance(index, np.ndarray) and index.ndim == 1):
            index = np.atleast_1d(np.arange(len(self))[index])
        return Objects(
            self.ids_N[index], self.labels_N[index], self.kinds_N[index],
            self.geometries_N[index], self.scores_N[index], self.attributes_N[index],
        )  # fmt: skip

    def __repr__(self) -> str:
        labels, counts = np.unique(self.labels_N.astype(str), return_counts=True)
        inside = ", ".join(f"{count} {label}" for label, count in zip(labels, counts, strict=True))
        return f"<Objects {len(self)}: {inside}>" if len(self) else "<Objects 0>"

    # --- views -------------------------------------------------------------------------------------------

    @property
    def hbb_N4(self) -> np.ndarray:
        """Bounds (x1, y1, x2, y2) of every shape, pixels."""
        return shapely.bounds(self.geometries_N).reshape(-1, 4)

    def labelled(self, label: str) -> Objects:
        return self[self.labels_N == label]

    def with_ids(self, ids: Sequence[str]) -> Objects:
        """The objects with these ids, in this order; KeyError names an id that is not there."""
        place = dict(zip(self.ids_N.tolist(), range(len(self)), strict=True))
        return self[np.array([place[id_] for id_ in ids], dtype=int)]

    # --- conversions, each a new value -------------------------------------------------------------------

    def to_hbb(self) -> Objects:
        """Every shape as its horizontal bounding box."""
        return self.replaced(shapely.box(*self.hbb_N4.T), "hbb")

    def to_obb(self) -> Objects:
        """Every shape as its minimum-area rectangle; shapes that are OBBs already keep their heading."""
        boxes = [
            g if k == "obb" else OBB.around(g).to_polygon()
            for g, k in zip(self.geometries_N, self.kinds_N, strict=True)
        ]
        return self.replaced(boxes, "obb")

    def to_polygon(self) -> Objects:
        """Every area as a plain polygon; points and lines, which bound no area, raise ValueError."""
        if flat := sorted({k for k in self.kinds_N if k in ("point", "line")}):
            raise ValueError(f"{' and '.join(flat)} objects have no area to become polygons; buffer them first")
        return self.replaced(self.geometries_N, "polygon")

    def to_mask(self, width: int, height: int) -> Objects:
        """Every shape as the pixels of a width x height image whose centres it covers.

        A shape that covers no centre becomes empty; `Mask.of_geometry` gives one object's run lengths.
        """
        return self.replaced([Mask.of_geometry(g, (height, width)).to_geometry() for g in self.geometries_N], "mask")

    def to_point(self) -> Objects:
        """A point within every shape: its centroid where that lies inside, else one that does."""
        middle_N = shapely.centroid(self.geometries_N)
        inside_N = shapely.intersects(self.geometries_N, middle_N)
        return self.replaced(np.where(inside_N, middle_N, shapely.point_on_surface(self.geometries_N)), "point")

    def replaced(self, geometries: Sequence[shapely.Geometry] | np.ndarray, kind: Kind | None = None) -> Objects:
        """The same objects with other shapes (one for one)."""
        kinds = self.kinds_N if kind is None else _column([kind] * len(self))
        return replace(self, geometries_N=_column(geometries), kinds_N=kinds)

    def crop(self, window: Window) -> Objects:
        """Moved into the pixels of a window; nothing is clipped or dropped."""
        return self.replaced(shapely.transform(self.geometries_N, lambda xy: xy - (window.x, window.y)))

    def scale(self, x: float, y: float) -> Objects:
        return self.replaced(shapely.transform(self.geometries_N, lambda xy: xy * (x, y)))

    def turn(self, width: int, height: int, quarter_turns: int, mirror: bool = False) -> Objects:
        """Moved as `turn_image` moves the pixels of a width x height image."""
        turned = turn_geometry(self.geometries_N, width, height, quarter_turns, mirror)
        return self.replaced(turned)

    def to_world(self, grid: GeoGrid) -> np.ndarray:
        """The shapes in the CRS of the image's grid."""
        return grid.geometry_to_world(self.geometries_N)

    @classmethod
    def concat(cls, parts: Sequence[Objects]) -> Objects:
        """All parts one after another; ids are made anew because parts may repeat them."""
        if not parts:
            return cls.none()
        columns = [np.concatenate([getattr(p, name) for p in parts]) for name in cls.__dataclass_fields__]
        joined = cls(*columns)
        return replace(joined, ids_N=_column([str(i) for i in range(len(joined))]))


def _column(values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """A one-dimensional object array; numpy would unpack geometries and mappings otherwise."""
    if isinstance(values, np.ndarray) and values.dtype == object and values.ndim == 1:
        return values.copy()
    column = np.empty(len(values), dtype=object)
    column[:] = list(values)
    return column
