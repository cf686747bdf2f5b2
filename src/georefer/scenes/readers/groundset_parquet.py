"""GroundSet's Parquet files: pictures with their objects in a text column of JSON, whose keys nobody documents.

Rows hold `image` (encoded bytes, not unpacked here), `file_name` and `json`. `ALIASES` are the keys understood; a file
of which no object is understood is refused with the keys that it has. Four numbers are taken as x1, y1, x2, y2; where
all numbers of an image lie between 0 and 1 they are parts of its side, unless `coordinates` says "pixels".

`document_of` makes what this project writes: an object may have its `id` and `attributes`, an outline with holes or
parts is GeoJSON, and beside the objects stand the keys `TOLD`, which become the image's attributes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely

from georefer.errors import InputError
from georefer.geometry import Kind, Object, Objects
from georefer.geometry.repair import is_repairable
from georefer.scenes.interchange.base import Account
from georefer.scenes.interchange.files import storable
from georefer.scenes.readers.common import (
    MAX_POINTS,
    MAX_RECORDS,
    Gathering,
    box_shape,
    outline_shape,
    parsed,
    points_of,
    text_of,
)

ALIASES: Mapping[str, tuple[str, ...]] = {
    "objects": ("objects", "annotations", "instances", "features", "elements", "labels"),
    "label": ("class", "label", "category", "class_name", "category_name", "name", "type"),
    "hbb": ("hbb", "bbox", "box", "bounding_box"),
    "obb": ("obb", "rbox", "rotated_bbox", "oriented_bbox", "rotated_box", "oriented_box"),
    "polygon": ("polygon", "segmentation", "mask", "outline", "geometry", "coordinates"),
    "line": ("line", "polyline", "linestring", "geometry"),
}
"""Keys of the Parquet files' json, best first. An object's shape is its richest one: polygon, obb, hbb, line."""

KINDS: tuple[Kind, ...] = ("polygon", "obb", "hbb", "line")

TOLD = ("scene", "crs", "transform", "relations", "provenance")
"""What our own files say of an image: where it lies on the ground and comes from, and what its objects are to each
other as [subject id, predicate, object id]."""

PIXELS = "pixels"
MAX_ID_CHARS = 1_000
MAX_CELL_BYTES = 4 << 20
MAX_GROUP_BYTES = 4 << 30
"""Bytes of one json cell, and what one row group may claim to unpack to."""


def read_parquet(
    path: Path, gathered: Gathering, nominal: tuple[int, int], aliases: Mapping[str, Sequence[str]]
) -> None:
    """The file_name and json columns; pictures are not unpacked."""
    understood, rows = 0, 0
    keys: set[str] = set()
    try:
        file = pq.ParquetFile(path, read_dictionary=["json", "file_name"], memory_map=False)
        _check_claims(path, file)
        for batch in file.iter_batches(64, columns=["file_name", "json"]):
            for name, cell in zip(batch.column("file_name"), batch.column("json"), strict=True):
                rows += 1
                where = f"{path.name}, row {rows}"
                document = _document(cell, where, gathered)
                key = None if document is None else _image(document, _text(name, 1000), where, gathered, nominal)
                if key is not None:
                    understood += _add_all(document, key, where, gathered, aliases, keys)
    except (pa.ArrowException, OSError, UnicodeDecodeError, KeyError) as error:
        raise InputError(f"{path} is no Parquet file with file_name and json ({str(error)[:200]}); check it") from error
    if keys and not understood:
        raise InputError(
            f"{path} has objects with the keys {', '.join(sorted(keys))[:300]} where {aliases['label'][0]} and a shape "
            "are expected; say with `aliases` which key is which"
        )


def _check_claims(path: Path, file: pq.ParquetFile) -> None:
    info = file.metadata
    wanted = [i for i in range(info.num_columns) if info.schema.column(i).path in ("file_name", "json")]
    texts = {info.schema.column(i).path for i in wanted if info.schema.column(i).physical_type == "BYTE_ARRAY"}
    if texts != {"file_name", "json"}:
        raise InputError(
            f"{path} has {info.schema.names[:8]} where the texts file_name and json are expected; check it"
        )
    for group in range(info.num_row_groups):
        # the whole group, pictures included: asking for one column's size ends the program on some broken files
        size = info.row_group(group).total_byte_size
        if size > MAX_GROUP_BYTES or info.num_rows > MAX_RECORDS:
            raise InputError(
                f"{path} unpacks to {size:,} bytes a group and {info.num_rows:,} rows where {MAX_GROUP_BYTES:,} and "
                f"{MAX_RECORDS:,} are read at most; split it"
            )


def _text(cell, limit: int) -> str | None:
    """A cell's text, if it is one of at most so many bytes."""
    # it stays an Arrow value until its length is known: a dictionary repeats one long text for nothing
    value = cell.value if isinstance(cell, pa.DictionaryScalar) else cell
    if value is None or not value.is_valid or pc.binary_length(value).as_py() > limit:
        return None
    return str(value.as_py())


def _document(cell, where: str, gathered: Gathering) -> Any:
    """The JSON value of a cell, None where there is none."""
    text = _text(cell, MAX_CELL_BYTES)
    if text is None:
        gathered.account.dropped.add(f"json missing or over {MAX_CELL_BYTES:,} bytes", where)
        return None
    try:
        return parsed(text)
    except ValueError:
        gathered.account.dropped.add("json that is no JSON", where)
        return None


def _image(document: Any, name: str | None, where: str, gathered: Gathering, nominal: tuple[int, int]) -> str | None:
    """The image of a row, with the size and the attributes that its json tells."""
    told = document if isinstance(document, dict) else {}
    size = (told.get("width"), told.get("height"))
    attributes = {key: told[key] for key in TOLD if told.get(key) is not None and storable(told[key])}
    return gathered.image(name, where, nominal=nominal, size=size, attributes=attributes)


def _add_all(document: Any, key: str, where: str, gathered: Gathering, aliases, keys: set[str]) -> int:
    """How many objects of one image are understood."""
    rows = document
    if isinstance(document, dict):
        rows = next((document[name] for name in aliases["objects"] if isinstance(document.get(name), list)), None)
        keys.update(map(str, document) if rows is None else ())
    if not isinstance(rows, list):
        gathered.account.dropped.add("json without a list of objects", where)
        return 0
    found: list[tuple[Mapping[str, Any], str, dict[Kind, Any], str]] = []
    for number, row in enumerate(rows):
        at = f"{where}, object {number}"
        inside = row.get("properties") if isinstance(row, dict) else None
        flat = {**row, **inside} if isinstance(inside, dict) else row
        if not isinstance(flat, dict):
            gathered.account.dropped.add("no JSON object", at)
            continue
        keys.update(map(str, flat))
        label = next((flat[name].strip() for name in aliases["label"] if text_of(flat.get(name))), None)
        whole = _whole(flat, aliases["polygon"])
        points: dict[Kind, Any] = {} if whole is None else {"polygon": whole}
        for kind in KINDS:
            if kind not in points and (value := _numbers(flat, kind, aliases[kind], at, gathered)):
                points[kind] = value
        if label is None or not points:
            gathered.account.dropped.add("object without a class or a shape", at)
            continue
        found.append((flat, label, points, at))
    flat_numbers = [v for _, _, points, _ in found for values in points.values() for v in _bounds(values)]
    is_part = bool(flat_numbers) and max(flat_numbers) <= 1 and min(flat_numbers) >= 0
    is_part = is_part and not (isinstance(document, dict) and document.get("coordinates") == PIXELS)
    if is_part:
        gathered.account.changed.add("numbers from 0 to 1 taken as parts of the side", where)
    side = gathered.size(key) if is_part else (1, 1)
    return sum(_add_object(key, flat, label, points, side, at, gathered) for flat, label, points, at in found)


def _numbers(row: Mapping[str, Any], kind: str, names: Sequence[str], where: str, gathered: Gathering):
    """Points of the first of these keys that holds any: flat, in pairs, in rings (the outer one), or as GeoJSON."""
    for name in names:
        value, is_line = row.get(name), kind == "line"
        if isinstance(value, dict):
            value = value.get("coordinates") if ("Line" in str(value.get("type"))) is is_line else None
        for _ in range(3):
            points_N2 = points_of(value)
            if points_N2 is not None:
                return points_N2.tolist()
            if not isinstance(value, list) or not value or not isinstance(value[0], list):
                break
            if len(value) > 1:
                gathered.account.changed.add("holes and further parts left out", where)
            value = value[0]
    return None


def _whole(row: Mapping[str, Any], names: Sequence[str]) -> shapely.Geometry | None:
    """The first of these keys that holds a GeoJSON area with holes or several parts, of a size that can be mended."""
    for name in names:
        value = row.get(name)
        if not isinstance(value, dict) or value.get("type") not in ("Polygon", "MultiPolygon"):
            continue
        parts = value.get("coordinates")
        parts = [parts] if value["type"] == "Polygon" else parts
        rings = [part for part in parts if isinstance(part, list) and part] if isinstance(parts, list) else []
        points = [[points_of(ring) for ring in part] for part in rings]
        if not points or any(ring is None or len(ring) < 3 for part in points for ring in part):
            return None
        if sum(len(ring) for part in points for ring in part if ring is not None) > MAX_POINTS:
            return None
        areas = [shapely.Polygon(shell, holes) for shell, *holes in points]
        shape = areas[0] if len(areas) == 1 else shapely.MultiPolygon(areas)
        is_simple = len(areas) == 1 and not areas[0].interiors
        return shape if not is_simple and shape.area > 0 and is_repairable(shape) else None
    return None


def _bounds(values: Any) -> Sequence[float]:
    """The smallest and largest numbers of points, or of a shape."""
    if isinstance(values, shapely.Geometry):
        return values.bounds
    return [bound for column in zip(*values, strict=True) for bound in (min(column), max(column))]


def _add_object(
    key: str, row: Mapping[str, Any], label: str, points: Mapping[Kind, Any], side, where: str, gathered: Gathering
) -> bool:
    reason, boxes = "", {k: (np.array(points[k]) * side).ravel().tolist() for k in ("obb", "hbb") if k in points}
    for kind, values in points.items():
        shape, its, reason = _shape(kind, values, side)
        if shape is not None:
            # a box that only says the shape's bounds is nothing of its own
            others = {k: v for k, v in boxes.items() if k != kind and (k != "hbb" or tuple(v) != shape.bounds)}
            said = row.get("attributes")
            own = said if isinstance(said, dict) and storable(said) else {}
            id_ = row.get("id")
            known = isinstance(id_, str | int) and not isinstance(id_, bool) and len(str(id_)) <= MAX_ID_CHARS
            gathered.add(key, shape, label, its, id=str(id_) if known else None, attributes={**others, **own})
            return True
    gathered.account.dropped.add(reason or "shape that is none", where)
    return False


def _shape(kind: Kind, values: Any, side) -> tuple[shapely.Geometry | None, Kind, str]:
    if isinstance(values, shapely.Geometry):
        return shapely.transform(values, lambda points_N2: points_N2 * side), kind, ""
    points_N2 = np.array(values) * side
    if kind == "line" and len(points_N2) > 1:
        return shapely.LineString(points_N2), "line", ""
    if len(points_N2) == 2:
        shape, reason = box_shape(points_N2.ravel().tolist())
        return shape, "hbb", reason
    shape, reason = outline_shape(points_N2.ravel().tolist())
    return shape, "obb" if kind == "obb" and len(points_N2) == 4 else "polygon", reason


# --- writing --------------------------------------------------------------------------------------------------


def document_of(objects: Objects, size: tuple[int, int], told: Mapping[str, Any], account: Account) -> dict[str, Any]:
    """What the json of one image says: its objects, each with its box and its own shape, in pixels.

    `told` are values for keys of `TOLD`. Points have no place in these files; they are dropped and counted.
    """
    rows = [row for one in objects if (row := _row(one, account)) is not None]
    account.kept += len(rows)
    return {"width": size[0], "height": size[1], "coordinates": PIXELS, **told, "objects": rows}


def _row(one: Object, account: Account) -> dict[str, Any] | None:
    shape = one.geometry
    if shape.geom_type not in ("Polygon", "MultiPolygon", "LineString") or shape.is_empty or not shape.length:
        account.dropped.add(f"a {shape.geom_type} of the kind {one.kind}, for which there is no key", one.id)
        return None
    if one.kind == "mask":
        account.changed.add("mask written as its outline", one.id)
    row: dict[str, Any] = {"id": one.id, "class": one.label, "hbb": list(shape.bounds)}
    if one.kind == "line" or shape.geom_type == "LineString":
        row = {"id": one.id, "class": one.label, "line": _numbers_of(shape)}
    elif one.kind == "obb":
        row["obb"] = _numbers_of(shape.exterior)[:-2]
    elif shape.geom_type == "Polygon" and not shape.interiors:
        row |= {} if one.kind == "hbb" else {"polygon": _numbers_of(shape.exterior)[:-2]}
    else:
        row["polygon"] = shapely.geometry.mapping(shape)
    return {**row, "attributes": dict(one.attributes)} if one.attributes else row


def _numbers_of(line: shapely.Geometry) -> list[float]:
    return shapely.get_coordinates(line).ravel().tolist()
