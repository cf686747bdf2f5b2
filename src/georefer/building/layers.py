"""Layers: one vector layer of a recipe, its features given classes and widths and put on a shelf."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import shapely

from georefer.building.hygiene import MixedTypes, UnknownValues
from georefer.building.mapping import LayerMapping, Mapped, load_mapping
from georefer.building.shelf import Shelf
from georefer.errors import ConfigError
from georefer.geometry import GeoGrid
from georefer.geometry.repair import repaired
from georefer.imagery.postgis import is_connection
from georefer.imagery.problems import KINDS, PLACES, Problem, added, problem
from georefer.imagery.vector import LayerReader


@dataclass(frozen=True)
class LayerSettings:
    """One vector layer and what its features are called: by `label`, `label_from` or `mapping`."""

    path: Path | None = None
    """File (or folder of shapefiles) ..."""
    layer: str | None = None
    """Layer name inside the file; may be left out where there is only one."""
    label: str | None = None
    """Class of every feature, or ..."""
    label_from: str | None = None
    """... the attribute that holds it (features without a value are dropped and counted), or ..."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Renames values of `label_from`; where given, values that are not in it are dropped and counted."""
    attributes: tuple[str, ...] = ()
    """Attributes kept with each object, for phrases."""
    buffer_m: float | None = None
    """Half the width given to points and lines on the ground, metres."""
    crs: str | None = None
    """CRS of a layer that does not name its own, such as "EPSG:2154"."""
    database: str | None = None
    """... or the connection string of a PostGIS database, "PG:dbname=..."; its password belongs in PGPASSWORD."""
    mapping: Literal["osm", "overture", "bdtopo"] | Path | None = None
    """... a ready mapping or the path of a mapping file."""
    mapping_layer: str | None = None
    """Name by which the mapping knows this layer; left out: that of the layer or file."""
    language: str | None = None
    """Language in which classes are named, such as "fr"; left out: the mapping's own."""
    strict: bool = False
    """Whether anything wrong with the layer is refused, rather than reported."""
    accept: tuple[str, ...] = ()
    """Kinds of problems that `strict` lets pass, such as "height"."""
    called: str | None = None
    """What counts and reports call the layer; left out: its name in the file, or the file's."""

    def __post_init__(self) -> None:
        if (self.path is None) == (self.database is None):
            raise ValueError("a layer needs either path or database, one of them")
        if self.database is not None and not is_connection(self.database):
            raise ValueError("database is no connection string; expected one such as 'PG:dbname=area'")
        if self.database is not None and ("password" in self.database.lower() or "@" in self.database):
            raise ValueError("database holds a password or user, which would end in manifests; set PGUSER, PGPASSWORD")
        if unknown := set(self.accept) - set(KINDS):
            raise ValueError(f"accept names {sorted(unknown)}; known kinds of problems: {', '.join(KINDS)}")

    @property
    def source(self) -> Path | str:
        """What is opened."""
        return self.database if self.path is None and self.database is not None else Path(self.path or "")

    @property
    def name(self) -> str:
        """What counts and reports call the layer."""
        return self.called or self.layer or (self.path.stem if self.path is not None else "database")


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer of the recipe, read: what was counted, and what was wrong."""

    settings: LayerSettings
    counts: dict[str, int]
    problems: tuple[Problem, ...]
    apart: str
    mapping: LayerMapping | None
    has_ids: bool
    """Whether its attribute "id" tells its features apart."""


class _Tally:
    """What is found in the tables of a layer, added up."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.mixed, self.unknown = MixedTypes(), UnknownValues()
        self.used = 0
        self._problems: dict[str, Problem] = {}
        self._ids: list[np.ndarray] | None = []

    def tell(self, found: Sequence[Problem]) -> None:
        for one in found:
            before = self._problems.get(one.kind)
            self._problems[one.kind] = added(before, one) if before else one

    def own_ids(self, rows: Any) -> list[str | None]:
        """The attribute "id" of some rows as text; none once one is missing."""
        if self._ids is None or "id" not in rows.columns or rows["id"].isna().any():
            self._ids = None
            return [None] * len(rows)
        ids = [str(value) for value in rows["id"]]
        # numbers in place of texts: what has to be kept of every feature is to be small
        self._ids.append(pd.util.hash_array(np.array(ids, dtype=object), categorize=False))
        return list(ids)

    def has_ids(self) -> bool:
        if not self._ids:
            return False
        all_N = np.concatenate(self._ids)
        return len(np.unique(all_N)) == len(all_N)

    def problems(self) -> list[Problem]:
        ranks = ("unlabelled", "several_classes", "no_width")
        ordered = sorted(self._problems.values(), key=lambda one: ranks.index(one.kind))
        return [*self.unknown.problems(), *ordered, *self.mixed.problems()]


def read_onto(shelf: Shelf, settings: LayerSettings, grid: GeoGrid, number: int) -> Layer:
    """Puts the features of the layer with this number on a shelf, by batches."""
    reader = LayerReader(settings.source, layer=settings.layer, grid=grid, crs=settings.crs)
    mapping = None if settings.mapping is None else load_mapping(settings.mapping)
    where = f"layer '{settings.name}'" + (f" of {settings.path}" if settings.path is not None else "")
    tally = _Tally()
    for table in reader:
        if len(table):
            _require(table, settings.attributes, where)
            _shelve(table, settings, mapping, grid, reader.layer, where, number, shelf, tally)
    read = reader.result()
    dropped = dict(tally.dropped) if tally.dropped else {"without a known label": 0}
    counts = {**read.counts(), **dropped, "used": tally.used}
    problems = (*read.problems, *tally.problems())
    return Layer(settings, counts, problems, read.apart, mapping, tally.has_ids())


def _shelve(
    table: Any, settings: LayerSettings, mapping: LayerMapping | None, grid: GeoGrid, layer: str, where: str,
    number: int, shelf: Shelf, tally: _Tally,
) -> None:  # fmt: skip
    """Puts the features of a table that have a class on the shelf."""
    if mapping is None:
        labels, known_N = _labels(table, settings, where)
        drawn_N = grid.geometry_to_pixel(np.asarray(table.geometry.values, dtype=object)[known_N])
        shapes_N = _with_area(drawn_N, settings.buffer_m, grid, where)
        tally.dropped["without a known label"] += int((~known_N).sum())
        tally.tell(_unlabelled(table, known_N, settings))
    else:
        labels, known_N, drawn_N, shapes_N = _mapped(table, settings, mapping, grid, layer, where, tally)
    used = [*settings.attributes, *([settings.label_from] if settings.label_from else [])]
    tally.mixed.look(table, used)
    if mapping is not None:
        tally.mixed.look(table, mapping.numeric, mapping.columns(table))
    rows = table[known_N]
    attributes = [
        {key: _plain(value) for key, value in zip(settings.attributes, row, strict=True) if not _is_missing(value)}
        for row in rows[list(settings.attributes)].itertuples(index=False)
    ]
    tally.used += len(rows)
    shelf.add(number, np.asarray(rows.index), tally.own_ids(rows), labels, shapes_N, attributes, drawn_N)


def _mapped(
    table: Any, settings: LayerSettings, mapping: LayerMapping, grid: GeoGrid, layer: str, where: str, tally: _Tally
) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Labels, which features have one, and of these what was drawn and its area, in pixels; the others are counted."""
    if settings.label is not None or settings.label_from is not None:
        raise ConfigError(f"{where} has a mapping beside label or label_from in the recipe; leave one of them out")
    if settings.language is not None and settings.language not in mapping.languages:
        raise ConfigError(
            f"{where} asks for classes in '{settings.language}', which mapping '{mapping.name}' does not name; "
            f"choose among {', '.join(mapping.languages) or 'none'} or leave language out"
        )
    mapped = mapping.classify(table, settings.mapping_layer or settings.layer or layer)
    has_class_N = np.array([label is not None for label in mapped.classes_N], dtype=bool)
    drawn_N = grid.geometry_to_pixel(np.asarray(table.geometry.values, dtype=object))
    shapes_N, thin_N = _widened(drawn_N, mapped, settings.buffer_m, grid)
    thin_N &= has_class_N
    known_N = has_class_N & ~thin_N
    unlabelled_N = ~has_class_N & ~mapped.ignored_N
    tally.unknown.look(table, mapped.unknown)
    silent_N = unlabelled_N.copy()
    for rows in mapped.unknown.values():
        silent_N[rows] = False
    for kind, which_N in (("unlabelled", silent_N), ("several_classes", mapped.tied_N & known_N), ("no_width", thin_N)):
        if which_N.any():
            rows = table[which_N]
            tally.tell([problem(kind, rows.index, rows.geometry[:PLACES].bounds, table.crs)])
    tally.dropped["without a known label"] += int(unlabelled_N.sum())
    if mapped.ignored_N.any():
        tally.dropped["ignored by the mapping"] += int(mapped.ignored_N.sum())
    labels = [mapping.words(label, settings.language).label for label in mapped.classes_N[known_N]]
    return labels, known_N, drawn_N[known_N], repaired(shapes_N[known_N])


def _widened(
    shapes_N: np.ndarray, mapped: Mapped, buffer_m: float | None, grid: GeoGrid
) -> tuple[np.ndarray, np.ndarray]:
    """Points and lines with their width, areas as they are; and which had none."""
    dimensions_N = shapely.get_dimensions(shapes_N)
    half_N = np.where(dimensions_N == 0, mapped.radius_N, mapped.width_N / 2)
    half_N[np.isnan(half_N)] = np.nan if buffer_m is None else buffer_m
    thin_N = (dimensions_N < 2) & np.isnan(half_N)
    wide_N = (dimensions_N < 2) & ~thin_N
    shapes_N = shapes_N.copy()
    # in pixels, because a buffer in degrees would be an ellipse
    shapes_N[wide_N] = shapely.buffer(shapes_N[wide_N], half_N[wide_N] / (grid.gsd_m or 1.0))
    return shapes_N, thin_N


def _unlabelled(table: Any, known_N: np.ndarray, settings: LayerSettings) -> list[Problem]:
    if known_N.all():
        return []
    rows = table[~known_N]
    detail = f"by {settings.label_from}"
    return [problem("unlabelled", rows.index, rows.geometry[:PLACES].bounds, table.crs, detail)]


def _labels(table: Any, settings: LayerSettings, where: str) -> tuple[list[str], np.ndarray]:
    if (settings.label is None) == (settings.label_from is None):
        raise ConfigError(f"{where} needs either label or label_from in the recipe, one of them (or a mapping)")
    if settings.label is not None:
        return [settings.label] * len(table), np.ones(len(table), dtype=bool)
    assert settings.label_from is not None
    _require(table, (settings.label_from,), where)
    values = [None if _is_missing(v) else str(v) for v in table[settings.label_from]]
    if settings.labels:
        values = [settings.labels.get(v) if v is not None else None for v in values]
    return [v for v in values if v is not None], np.array([v is not None for v in values], dtype=bool)


def _require(table: Any, names: Sequence[str], where: str) -> None:
    if missing := [name for name in names if name not in table.columns]:
        found = ", ".join(map(str, table.columns))
        raise ConfigError(f"{where} has no attribute {', '.join(missing)} (it has: {found}); correct the recipe")


def _with_area(shapes_N: np.ndarray, buffer_m: float | None, grid: GeoGrid, where: str) -> np.ndarray:
    if buffer_m is not None:
        # in pixels, because a buffer in degrees would be an ellipse
        shapes_N = shapely.buffer(shapes_N, buffer_m / (grid.gsd_m or 1.0))
    if len(shapes_N) and (shapely.get_dimensions(shapes_N) < 2).any():
        raise ConfigError(f"{where} holds points or lines, which have no box; give buffer_m in the recipe")
    return repaired(shapes_N)


def _is_missing(value: Any) -> bool:
    return value is None or value != value or value == ""


def _plain(value: Any) -> Any:
    """NumPy scalars as JSON values."""
    return value.item() if hasattr(value, "item") else value
