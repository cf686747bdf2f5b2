"""Features: the vector layers of an area, read into the pixels of its raster under the names of their classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import shapely

from georefer.building.hygiene import Report
from georefer.building.layers import Layer, LayerSettings, read_onto
from georefer.building.mapping import Words
from georefer.building.shelf import Shelf
from georefer.errors import ConfigError, VectorError
from georefer.geometry import GeoGrid, Objects
from georefer.imagery.problems import KINDS, PLACES, Problem, problem
from georefer.scenes.taxonomy import Parents


@dataclass(frozen=True, eq=False)
class Features:
    """Features in the pixels of their raster, indexed for windows."""

    objects: Objects
    tree: shapely.STRtree
    area_N: np.ndarray
    counts: Mapping[str, int]
    report: Report = field(default_factory=Report)
    """What was wrong with the layers, with places."""
    parents: Parents = field(default_factory=dict)
    """Class to what it is a kind of, from the mappings; empty without one."""
    words: Mapping[str, Words] = field(default_factory=dict)
    """Plural and synonyms of the classes of the mappings."""
    drawn_N: np.ndarray | None = None
    """Shapes as the layers drew them, where lines and points were given a width; None: as the objects are."""

    @classmethod
    def of(cls, objects: Objects, area_N: np.ndarray | None = None) -> Features:
        """Objects of no layer."""
        area_N = shapely.area(objects.geometries_N) if area_N is None else area_N
        return cls(objects, shapely.STRtree(objects.geometries_N), area_N, {})

    def __len__(self) -> int:
        return len(self.objects)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes there are, sorted."""
        return tuple(sorted(set(self.objects.labels_N)))

    @property
    def bounds_N4(self) -> np.ndarray:
        """Bounds (x1, y1, x2, y2) of all features, pixels."""
        return self.objects.hbb_N4

    def parts(self) -> Iterator[Objects]:
        """All of them, some at a time, in any order."""
        yield self.objects

    def in_memory(self) -> Features:
        """All of them without files on disk; for areas so small that there may be thousands of them."""
        return self

    def near(self, boxes_N4: np.ndarray) -> Features:
        """Those whose bounds meet a box (x1, y1, x2, y2), in memory and without counts."""
        near_N = np.unique(self.tree.query(shapely.box(*np.asarray(boxes_N4, dtype=float).T))[1])
        drawn_N = None if self.drawn_N is None else self.drawn_N[near_N]
        return replace(Features.of(self.objects[near_N], self.area_N[near_N]), drawn_N=drawn_N)


class ShelvedFeatures(Features):
    """All features of an area on disk: `near` reads what lies there, the attributes read everything.

    They stay in the process that read them; what travels to workers is what `near` gives.
    """

    _shelf: Shelf
    _prefixes: Mapping[int, tuple[str, bool]]

    def __init__(
        self, shelf: Shelf, prefixes: Mapping[int, tuple[str, bool]], counts: Mapping[str, int], report: Report,
        parents: Parents, words: Mapping[str, Words],
    ) -> None:  # fmt: skip
        told = {"counts": counts, "report": report, "parents": parents, "words": words}
        self.__dict__.update(told, _shelf=shelf, _prefixes=prefixes)

    def __len__(self) -> int:
        return len(self._shelf)

    @property
    def labels(self) -> tuple[str, ...]:
        return self._shelf.labels

    @property
    def bounds_N4(self) -> np.ndarray:
        return self._shelf.bounds()

    def parts(self) -> Iterator[Objects]:
        for rows in self._shelf.parts():
            yield self._shelf.objects(rows, self._prefixes)[0]

    def near(self, boxes_N4: np.ndarray) -> Features:
        return self._loaded(self._shelf.near(boxes_N4))

    def in_memory(self) -> Features:
        return replace(self._all, counts=self.counts, report=self.report, parents=self.parents, words=self.words)

    @cached_property
    def _all(self) -> Features:
        return self._loaded(self._shelf.everything())

    def _loaded(self, rows: pa.RecordBatch) -> Features:
        return replace(Features.of(*self._shelf.objects(rows, self._prefixes)), drawn_N=self._shelf.drawn(rows))

    @property
    def objects(self) -> Objects:  # type: ignore[override]
        return self._all.objects

    @property
    def tree(self) -> shapely.STRtree:  # type: ignore[override]
        return self._all.tree

    @property
    def area_N(self) -> np.ndarray:  # type: ignore[override]
        return self._all.area_N

    @property
    def drawn_N(self) -> np.ndarray | None:  # type: ignore[override]
        return self._all.drawn_N


def read_features(
    layers: Sequence[LayerSettings], grid: GeoGrid, *, strict: bool = False, may_be_empty: bool = False
) -> Features:
    """Reads all layers into raster pixels; counts what was read, repaired and dropped, per layer.

    Layers are read by batches and the features kept on disk (in TMPDIR), so memory does not grow with them.
    VectorError where no feature is left, unless it `may_be_empty`, as one area of many. What is wrong with a layer is
    reported; VectorError where `strict`, here or of the layer, asks for nothing wrong.
    """
    if not layers:
        raise ConfigError("the recipe names no [[layers]]; give at least one vector layer with a label")
    shelf = Shelf(grid.width, grid.height)
    read = [read_onto(shelf, settings, grid, number) for number, settings in enumerate(layers)]
    for number, (fids_N, bounds_N4) in shelf.finish().items():
        read[number] = _without_duplicates(read[number], fids_N, bounds_N4, grid)
    counts, problems = Counter[str](), dict[str, tuple[Problem, ...]]()
    for one in read:
        counts.update({f"{one.settings.name}: {key}": n for key, n in one.counts.items()})
        problems[one.settings.name] = problems.get(one.settings.name, ()) + one.problems
    report = Report(problems)
    report.refuse({one.settings.name: one.settings.accept for one in read if strict or one.settings.strict})
    # what has a count of its own already is not counted again
    named = {f"{one.settings.name}: {KINDS[kind]}" for one in read for kind in ("empty", "repaired", "unlabelled")}
    counts.update({key: n for key, n in report.counts().items() if key not in named})
    if not len(shelf) and not may_be_empty:
        nothing = "no feature of any layer is left after reading; look at label_from, labels and mapping in the recipe"
        raise VectorError(next((one.apart for one in read if one.apart), nothing))
    prefixes = {number: (f"{number}/{one.settings.name}", one.has_ids) for number, one in enumerate(read)}
    return ShelvedFeatures(shelf, prefixes, dict(counts), report, *_vocabulary(read, shelf.labels))


def _without_duplicates(one: Layer, fids_N: np.ndarray, bounds_N4: np.ndarray, grid: GeoGrid) -> Layer:
    """The layer with the shapes counted that another, or itself, held already under the same class."""
    first = shapely.bounds(grid.geometry_to_world(shapely.box(*bounds_N4[:PLACES].T)))
    told = problem("duplicate", fids_N, first, grid.crs)
    counts = {**one.counts, "used": one.counts["used"] - len(fids_N)}
    return replace(one, counts=counts, problems=(*one.problems, told))


def _vocabulary(read: Sequence[Layer], labels: Sequence[str]) -> tuple[Parents, dict[str, Words]]:
    """What the mappings of all layers say of their classes, under the labels that objects bear."""
    parents: dict[str, tuple[str, ...]] = {}
    words: dict[str, Words] = {}
    for one in read:
        if one.mapping is None:
            continue
        said = {name: one.mapping.words(name, one.settings.language) for name in one.mapping.parents}
        for name, above in one.mapping.parents.items():
            label, upper = said[name].label, [said[parent].label for parent in above]
            parents[label] = tuple(dict.fromkeys([*parents.get(label, ()), *(u for u in upper if u != label)]))
            words.setdefault(label, said[name])
    if parents:
        for label in labels:
            parents.setdefault(label, ())
    return parents, words
