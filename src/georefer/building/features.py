"""Features: the vector layers of an area, read into the pixels of its raster under the names of their classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely

from georefer.building.hygiene import Report, duplicates, mixed_types, unknown_values
from georefer.building.mapping import LayerMapping, Mapped, Words, load_mapping
from georefer.errors import ConfigError, VectorError
from georefer.geometry import GeoGrid, Objects
from georefer.geometry.repair import repaired
from georefer.imagery.problems import KINDS, PLACES, Problem, problem
from georefer.imagery.vector import LayerRead, is_connection, read_layer
from georefer.scenes.taxonomy import Parents


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
class Features:
    """All features of an area in the pixels of its raster, indexed for windows."""

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


def read_features(
    layers: Sequence[LayerSettings], grid: GeoGrid, *, strict: bool = False, may_be_empty: bool = False
) -> Features:
    """Reads all layers into raster pixels; counts what was read, repaired and dropped, per layer.

    VectorError where no feature is left, unless it `may_be_empty`, as one area of many. What is wrong with a layer is
    reported; VectorError where `strict`, here or of the layer, asks for nothing wrong.
    """
    if not layers:
        raise ConfigError("the recipe names no [[layers]]; give at least one vector layer with a label")
    read = [_read_one(settings, grid, f"{number}") for number, settings in enumerate(layers)]
    read = _without_duplicates(read, grid)
    counts, problems = Counter[str](), dict[str, tuple[Problem, ...]]()
    for one in read:
        counts.update({f"{one.settings.name}: {key}": n for key, n in one.counts.items()})
        problems[one.settings.name] = problems.get(one.settings.name, ()) + one.problems
    report = Report(problems)
    report.refuse({one.settings.name: one.settings.accept for one in read if strict or one.settings.strict})
    # what has a count of its own already is not counted again
    named = {f"{one.settings.name}: {KINDS[kind]}" for one in read for kind in ("empty", "repaired", "unlabelled")}
    counts.update({key: n for key, n in report.counts().items() if key not in named})
    columns = {n: np.concatenate([getattr(one.objects, n) for one in read]) for n in Objects.__dataclass_fields__}
    objects = Objects(**columns)
    if not len(objects) and not may_be_empty:
        apart = [one.apart for one in read if one.apart]
        raise VectorError(
            apart[0]
            if apart
            else "no feature of any layer is left after reading; look at label_from, labels and mapping in the recipe"
        )
    tree, area_N = shapely.STRtree(objects.geometries_N), shapely.area(objects.geometries_N)
    return Features(objects, tree, area_N, dict(counts), report, *_vocabulary(read))


@dataclass(frozen=True, eq=False)
class _Layer:
    """One layer of the recipe, read: its objects, what was counted, and what was wrong."""

    settings: LayerSettings
    objects: Objects
    fids_N: np.ndarray
    counts: dict[str, int]
    problems: tuple[Problem, ...]
    apart: str
    mapping: LayerMapping | None


def _read_one(settings: LayerSettings, grid: GeoGrid, prefix: str) -> _Layer:
    read = read_layer(settings.source, layer=settings.layer, grid=grid, crs=settings.crs, must_meet=False)
    mapping = None if settings.mapping is None else load_mapping(settings.mapping)
    table = read.frame
    where = f"layer '{settings.name}'" + (f" of {settings.path}" if settings.path is not None else "")
    if not len(table):
        counts = {**read.counts(), "without a known label": 0, "used": 0}
        return _Layer(settings, Objects.none(), np.empty(0), counts, read.problems, read.apart, mapping)
    _require(table, settings.attributes, where)
    if mapping is None:
        labels, known_N = _labels(table, settings, where)
        shapes_N = grid.geometry_to_pixel(np.asarray(table.geometry.values, dtype=object)[known_N])
        shapes_N = _with_area(shapes_N, settings.buffer_m, grid, where)
        dropped, found = {"without a known label": int((~known_N).sum())}, _unlabelled(table, known_N, settings)
    else:
        labels, known_N, shapes_N, dropped, found = _mapped(table, settings, mapping, grid, read, where)
    used = [*settings.attributes, *([settings.label_from] if settings.label_from else [])]
    found = [
        *found,
        *mixed_types(table, used),
        *(mixed_types(table, mapping.numeric, mapping.columns(table)) if mapping else []),
    ]
    rows = table[known_N]
    has_ids = "id" in rows.columns and rows["id"].notna().all() and rows["id"].is_unique
    name = settings.name
    ids = [str(v) for v in rows["id"]] if has_ids else [f"{name}-{i}" for i in rows.index]
    attributes = [
        {key: _plain(value) for key, value in zip(settings.attributes, row, strict=True) if not _is_missing(value)}
        for row in rows[list(settings.attributes)].itertuples(index=False)
    ]
    objects = Objects.of(shapes_N, labels, ids=[f"{prefix}/{i}" for i in ids], attributes=attributes)
    counts = {**read.counts(), **dropped, "used": len(objects)}
    return _Layer(settings, objects, np.asarray(rows.index), counts, (*read.problems, *found), read.apart, mapping)


def _without_duplicates(read: list[_Layer], grid: GeoGrid) -> list[_Layer]:
    """Leaves out shapes that another layer, or the same, holds already under the same class."""
    shapes_N = np.concatenate([one.objects.geometries_N for one in read])
    again_N = duplicates(shapes_N, np.concatenate([one.objects.labels_N for one in read]))
    parts, start = [], 0
    for one in read:
        again = again_N[start : start + len(one.objects)]
        start += len(one.objects)
        if again.any():
            first = grid.geometry_to_world(one.objects.geometries_N[again][:PLACES])
            told = problem("duplicate", one.fids_N[again], shapely.bounds(first), grid.crs)
            counts = {**one.counts, "used": int((~again).sum())}
            one = replace(
                one,
                objects=one.objects[~again],
                fids_N=one.fids_N[~again],
                counts=counts,
                problems=(*one.problems, told),
            )
        parts.append(one)
    return parts


def _mapped(
    table: Any, settings: LayerSettings, mapping: LayerMapping, grid: GeoGrid, read: LayerRead, where: str
) -> tuple[list[str], np.ndarray, np.ndarray, dict[str, int], list[Problem]]:
    """Labels, which features have one, their shapes in pixels, counts of what was dropped, and problems."""
    if settings.label is not None or settings.label_from is not None:
        raise ConfigError(f"{where} has a mapping beside label or label_from in the recipe; leave one of them out")
    if settings.language is not None and settings.language not in mapping.languages:
        raise ConfigError(
            f"{where} asks for classes in '{settings.language}', which mapping '{mapping.name}' does not name; "
            f"choose among {', '.join(mapping.languages) or 'none'} or leave language out"
        )
    mapped = mapping.classify(table, settings.mapping_layer or settings.layer or read.layer)
    has_class_N = np.array([label is not None for label in mapped.classes_N], dtype=bool)
    shapes_N = grid.geometry_to_pixel(np.asarray(table.geometry.values, dtype=object))
    shapes_N, thin_N = _widened(shapes_N, mapped, settings.buffer_m, grid)
    thin_N &= has_class_N
    known_N = has_class_N & ~thin_N
    unlabelled_N = ~has_class_N & ~mapped.ignored_N
    found = unknown_values(table, mapped.unknown)
    silent_N = unlabelled_N.copy()
    for rows in mapped.unknown.values():
        silent_N[rows] = False
    for kind, which_N in (("unlabelled", silent_N), ("several_classes", mapped.tied_N & known_N), ("no_width", thin_N)):
        if which_N.any():
            rows = table[which_N]
            found.append(problem(kind, rows.index, rows.geometry[:PLACES].bounds, table.crs))
    dropped = {"without a known label": int(unlabelled_N.sum())}
    if mapped.ignored_N.any():
        dropped["ignored by the mapping"] = int(mapped.ignored_N.sum())
    labels = [mapping.words(label, settings.language).label for label in mapped.classes_N[known_N]]
    return labels, known_N, repaired(shapes_N[known_N]), dropped, found


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


def _vocabulary(read: Sequence[_Layer]) -> tuple[Parents, dict[str, Words]]:
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
        for label in sorted({str(label) for one in read for label in one.objects.labels_N}):
            parents.setdefault(label, ())
    return parents, words


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
