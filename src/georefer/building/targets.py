"""Targets: vector features of an area become the objects of each chip, by declared and counted rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from georefer.errors import ConfigError, VectorError
from georefer.geometry import GeoGrid, Objects, Window
from georefer.geometry.repair import areas_only, repaired
from georefer.imagery.vector import read_layer


@dataclass(frozen=True)
class LayerSettings:
    """One vector layer and what its features are called."""

    path: Path
    layer: str | None = None
    """Layer name inside the file; may be left out where there is only one."""
    label: str | None = None
    """Class of every feature, or ..."""
    label_from: str | None = None
    """... the attribute that holds it (features without a value are dropped and counted)."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Renames values of `label_from`; where given, values that are not in it are dropped and counted."""
    attributes: tuple[str, ...] = ()
    """Attributes kept with each object, for phrases."""
    buffer_m: float | None = None
    """Half the width given to points and lines on the ground, metres."""
    crs: str | None = None
    """CRS of a layer that does not name its own, such as "EPSG:2154"."""


@dataclass(frozen=True)
class TargetSettings:
    """Which objects of a chip are asked about."""

    min_px: float = 6.0
    """Shorter side of the visible box, chip pixels."""
    min_visible: float = 0.25
    """Share of the object's area that lies inside the chip; an object that spans half the chip is kept anyway,
    since one larger than the chip can never show more."""


@dataclass(frozen=True, eq=False)
class Features:
    """All features of an area in the pixels of its raster, indexed for windows."""

    objects: Objects
    tree: shapely.STRtree
    area_N: np.ndarray
    counts: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class ChipObjects:
    """What a chip shows: `targets` are asked about; `others` are visible, but too little of them is."""

    targets: Objects
    others: Objects
    visible_N: np.ndarray
    drops: Mapping[str, int]


def read_features(layers: Sequence[LayerSettings], grid: GeoGrid) -> Features:
    """Reads all layers into raster pixels; counts what was read, repaired and dropped, per layer."""
    if not layers:
        raise ConfigError("the recipe names no [[layers]]; give at least one vector layer with a label")
    parts, counts = [], Counter[str]()
    for number, settings in enumerate(layers):
        objects, layer_counts = _read_one(settings, grid, f"{number}")
        parts.append(objects)
        counts.update({f"{settings.layer or settings.path.stem}: {key}": n for key, n in layer_counts.items()})
    columns = {n: np.concatenate([getattr(p, n) for p in parts]) for n in Objects.__dataclass_fields__}
    objects = Objects(**columns)
    if not len(objects):
        raise VectorError("no feature of any layer is left after reading; look at label_from and labels in the recipe")
    return Features(objects, shapely.STRtree(objects.geometries_N), shapely.area(objects.geometries_N), dict(counts))


def chip_objects(features: Features, window: Window, size: tuple[int, int], settings: TargetSettings) -> ChipObjects:
    """Objects of one window, clipped to it and scaled to a chip of `size` = (width, height) pixels."""
    near = np.sort(features.tree.query(shapely.box(*window.box), predicate="intersects"))
    found = features.objects[near]
    clipped_N = areas_only(shapely.intersection(found.geometries_N, shapely.box(*window.box)))
    scale = size[0] / window.width, size[1] / window.height
    inside = found.replaced(clipped_N).crop(window).scale(*scale)
    full_N = features.area_N[near]
    visible_N = np.divide(shapely.area(clipped_N), full_N, out=np.zeros(len(near)), where=full_N > 0)
    boxes_N4 = np.nan_to_num(inside.hbb_N4)
    sides_N2 = boxes_N4[:, 2:] - boxes_N4[:, :2]
    spans_N = (sides_N2 >= np.array(size) / 2).any(axis=1)
    touches_N = shapely.area(clipped_N) > 0
    is_small_N = touches_N & (sides_N2.min(axis=1, initial=np.inf) < settings.min_px)
    is_cut_N = touches_N & ~is_small_N & ~spans_N & (visible_N < settings.min_visible)
    keep_N = touches_N & ~is_small_N & ~is_cut_N
    drops = {"smaller than min_px": int(is_small_N.sum()), "less visible than min_visible": int(is_cut_N.sum())}
    return ChipObjects(inside[keep_N], inside[touches_N & ~keep_N], visible_N[keep_N], drops)


def _read_one(settings: LayerSettings, grid: GeoGrid, prefix: str) -> tuple[Objects, dict[str, int]]:
    read = read_layer(settings.path, layer=settings.layer, grid=grid, crs=settings.crs)
    table = read.frame
    where = f"layer '{settings.layer or settings.path.stem}' of {settings.path}"
    if not len(table):
        return Objects.none(), {**read.counts(), "without a known label": 0, "used": 0}
    labels, known_N = _labels(table, settings, where)
    _require(table, settings.attributes, where)
    shapes_N = grid.geometry_to_pixel(np.asarray(table.geometry.values, dtype=object)[known_N])
    shapes_N = _with_area(shapes_N, settings.buffer_m, grid, where)
    rows = table[known_N]
    stem = settings.layer or settings.path.stem
    has_ids = "id" in rows.columns and rows["id"].notna().all() and rows["id"].is_unique
    ids = [str(v) for v in rows["id"]] if has_ids else [f"{stem}-{i}" for i in rows.index]
    attributes = [
        {name: _plain(value) for name, value in zip(settings.attributes, row, strict=True) if not _is_missing(value)}
        for row in rows[list(settings.attributes)].itertuples(index=False)
    ]
    objects = Objects.of(shapes_N, labels, ids=[f"{prefix}/{i}" for i in ids], attributes=attributes)
    return objects, {**read.counts(), "without a known label": int((~known_N).sum()), "used": len(objects)}


def _labels(table: Any, settings: LayerSettings, where: str) -> tuple[list[str], np.ndarray]:
    if (settings.label is None) == (settings.label_from is None):
        raise ConfigError(f"{where} needs either label or label_from in the recipe, one of them")
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
