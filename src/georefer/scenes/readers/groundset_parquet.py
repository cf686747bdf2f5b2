"""GroundSet's Parquet files: pictures with their objects in a text column of JSON, whose keys nobody documents.

Rows hold `image` (encoded bytes, not unpacked here), `file_name` and `json`. `ALIASES` are the keys understood; a file
of which no object is understood is refused with the keys that it has. Four numbers are taken as x1, y1, x2, y2; where
all numbers of an image lie between 0 and 1 they are parts of its side.
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
from georefer.geometry import Kind
from georefer.scenes.readers.common import (
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
                key = None if document is None else gathered.image(_text(name, 1000), where, nominal=nominal)
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


def _add_all(document: Any, key: str, where: str, gathered: Gathering, aliases, keys: set[str]) -> int:
    """How many objects of one image are understood."""
    rows = document
    if isinstance(document, dict):
        rows = next((document[name] for name in aliases["objects"] if isinstance(document.get(name), list)), None)
        keys.update(map(str, document) if rows is None else ())
    if not isinstance(rows, list):
        gathered.account.dropped.add("json without a list of objects", where)
        return 0
    found = []
    for number, row in enumerate(rows):
        at = f"{where}, object {number}"
        inside = row.get("properties") if isinstance(row, dict) else None
        flat = {**row, **inside} if isinstance(inside, dict) else row
        if not isinstance(flat, dict):
            gathered.account.dropped.add("no JSON object", at)
            continue
        keys.update(map(str, flat))
        label = next((flat[name].strip() for name in aliases["label"] if text_of(flat.get(name))), None)
        points = {kind: value for kind in KINDS if (value := _numbers(flat, kind, aliases[kind], at, gathered))}
        if label is None or not points:
            gathered.account.dropped.add("object without a class or a shape", at)
            continue
        found.append((label, points, at))
    flat_numbers = [v for _, points, _ in found for values in points.values() for pair in values for v in pair]
    is_part = bool(flat_numbers) and max(flat_numbers) <= 1 and min(flat_numbers) >= 0
    if is_part:
        gathered.account.changed.add("numbers from 0 to 1 taken as parts of the side", where)
    side = gathered.size(key) if is_part else (1, 1)
    return sum(_add_object(key, label, points, side, at, gathered) for label, points, at in found)


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


def _add_object(key: str, label: str, points, side, where: str, gathered: Gathering) -> bool:
    pixels = {kind: (np.array(values) * side) for kind, values in points.items()}
    reason = ""
    for kind, points_N2 in pixels.items():
        numbers = points_N2.ravel().tolist()
        its: Kind = kind
        if kind == "line" and len(points_N2) > 1:
            shape, reason = shapely.LineString(points_N2), ""
        elif len(points_N2) == 2:
            (shape, reason), its = box_shape(numbers), "hbb"
        else:
            (shape, reason), its = outline_shape(numbers), "obb" if kind == "obb" and len(points_N2) == 4 else "polygon"
        if shape is not None:
            others = {k: v.ravel().tolist() for k, v in pixels.items() if k in ("obb", "hbb") and k != kind}
            gathered.add(key, shape, label, its, attributes=others)
            return True
    gathered.account.dropped.add(reason or "shape that is none", where)
    return False
