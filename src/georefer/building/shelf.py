"""Shelf: the features of an area on disk, by place, so that a country's take no more memory than a town's.

Features come in batches and are first spread over at most `COARSE` x `COARSE` pieces of the area, then piece by piece
over cells: squares whose side is the smallest power of two that holds the feature's longer side, at least `CELL_PX`.
A cell holds the features whose middle lies in it, so none reaches further than half a cell beyond it. Both files are
nameless ones in the folder for temporary files (TMPDIR), which vanish with the process.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import shapely

from georefer.building.hygiene import DUPLICATE_PX, duplicates
from georefer.geometry import Objects

COARSE = 16
CELL_PX = 1024.0
"""Smallest side of a cell, pixels."""

Cell = tuple[int, int, int]
"""Power of two of its side, and its column and row."""

_EDGES = ("x1", "y1", "x2", "y2")
_SCHEMA = pa.schema(
    [("order", pa.int64()), ("layer", pa.int32()), ("fid", pa.int64()), ("id", pa.string()), ("label", pa.int32())]
    + [("shape", pa.binary()), ("drawn", pa.binary()), ("attributes", pa.string()), ("area", pa.float64())]
    + [(edge, pa.float64()) for edge in _EDGES]
)


class Shelf:
    """Add batches, `finish`, then ask what is `near` some boxes. Shapes are valid areas in pixels, or empty."""

    def __init__(self, width: int, height: int) -> None:
        self._piece_2 = np.array([width, height]) / COARSE
        self._spilled: dict[int, list[tuple[int, int]]] = {}
        self._cells: dict[Cell, tuple[int, int]] = {}
        self._levels: dict[int, list[Cell]] = {}
        self._file, self._spill = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        self._labels: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        """Features, without duplicates once it is finished."""
        return self._count

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes there are, sorted."""
        return tuple(sorted(self._labels))

    def add(
        self, layer: int, fids_N: np.ndarray, ids: Sequence[str | None], labels: Sequence[str], shapes_N: np.ndarray,
        attributes: Sequence[Mapping[str, Any]], drawn_N: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """Features of a layer in their order; `ids` are their own where they have some, `drawn_N` shapes with no area
        yet."""
        count = len(shapes_N)
        if not count:
            return
        bounds_N4 = shapely.bounds(shapes_N).reshape(-1, 4)
        columns = [
            np.arange(self._count, self._count + count), np.full(count, layer), fids_N, pa.array(ids, pa.string()),
            [self._labels.setdefault(label, len(self._labels)) for label in labels],
            pa.array(shapely.to_wkb(shapes_N), pa.binary()), pa.array(_without_area(shapes_N, drawn_N), pa.binary()),
            [json.dumps(one, default=str) if one else None for one in attributes],
            shapely.area(shapes_N), *bounds_N4.T,
        ]  # fmt: skip
        table = pa.RecordBatch.from_arrays(
            [pa.array(column, kind.type) for column, kind in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
        )
        self._count += count
        piece_N2 = np.clip(np.nan_to_num(_middles(bounds_N4)) // self._piece_2, 0, COARSE - 1)
        for piece, rows in _grouped((piece_N2[:, 0] * COARSE + piece_N2[:, 1]).astype(np.int64)):
            self._spilled.setdefault(piece, []).append(_written(self._spill, table.take(pa.array(rows))))

    def finish(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Puts all into cells, without shapes that were there before under the same class.

        What was left out by layer, in its order: feature numbers, and bounds (N, 4) in pixels.
        """
        left_out: dict[int, list[tuple[int, int, tuple[float, ...]]]] = {}
        for piece in sorted(self._spilled):
            table = _together([_read(self._spill, place) for place in self._spilled[piece]])
            again_N = _again(table)
            if again_N.any():
                gone = table.filter(pa.array(again_N)).to_pydict()
                for i, layer in enumerate(gone["layer"]):
                    bounds = tuple(gone[edge][i] for edge in _EDGES)
                    left_out.setdefault(layer, []).append((gone["order"][i], gone["fid"][i], bounds))
                table = table.filter(pa.array(~again_N))
                self._count -= int(again_N.sum())
            self._shelve(table)
        self._spill.close()
        self._spilled = {}
        for cell in self._cells:
            self._levels.setdefault(cell[0], []).append(cell)
        return {
            layer: (np.array([fid for _, fid, _ in sorted(rows)]), np.array([b for *_, b in sorted(rows)]))
            for layer, rows in left_out.items()
        }

    def near(self, boxes_N4: np.ndarray) -> pa.RecordBatch:
        """The rows of the features whose bounds meet a box (x1, y1, x2, y2), in the order they came."""
        boxes_N4 = np.asarray(boxes_N4, dtype=np.float64)
        cells = {cell for level in self._levels for box in boxes_N4.tolist() for cell in self._meeting(level, box)}
        around_4 = np.hstack(
            [boxes_N4[:, :2].min(axis=0, initial=np.inf), boxes_N4[:, 2:].max(axis=0, initial=-np.inf)]
        )
        parts = [_meeting(_read(self._file, self._cells[cell]), around_4[None]) for cell in sorted(cells)]
        return _in_order(_meeting(_together(parts), boxes_N4))

    def everything(self) -> pa.RecordBatch:
        """All rows in the order they came; takes memory for all."""
        return _in_order(_together(list(self.parts())))

    def objects(self, rows: pa.RecordBatch, prefixes: Mapping[int, tuple[str, bool]]) -> tuple[Objects, np.ndarray]:
        """Objects of some rows and their areas; `prefixes` begin the ids of a layer, which are own ones or numbers."""
        if not rows.num_rows:
            return Objects.none(), np.empty(0)
        names = list(self._labels)
        parts = zip(rows["layer"].to_pylist(), rows["fid"].to_pylist(), rows["id"].to_pylist(), strict=True)
        ids = [_id(prefixes[layer], fid, own) for layer, fid, own in parts]
        objects = Objects.of(
            shapely.from_wkb(rows["shape"].to_numpy(zero_copy_only=False)),
            [names[code] for code in rows["label"].to_pylist()],
            ids=ids,
            attributes=[json.loads(text) if text else {} for text in rows["attributes"].to_pylist()],
        )
        return objects, _numbers(rows, "area")

    def drawn(self, rows: pa.RecordBatch) -> np.ndarray | None:
        """The shapes of some rows as they were drawn, lines and points; None where the areas were."""
        if rows["drawn"].null_count == rows.num_rows:
            return None
        texts = zip(rows["drawn"].to_pylist(), rows["shape"].to_pylist(), strict=True)
        return shapely.from_wkb(np.array([drawn or shape for drawn, shape in texts], dtype=object))

    def bounds(self) -> np.ndarray:
        """Bounds (N, 4) of all features in the order they came."""
        names = ("order", *_EDGES)
        parts = [np.column_stack([_numbers(rows, name) for name in names]) for rows in self.parts()]
        rows_N5 = np.concatenate([np.empty((0, 5)), *parts])
        return rows_N5[np.argsort(rows_N5[:, 0]), 1:]

    def parts(self) -> Iterator[pa.RecordBatch]:
        """All rows, those of a cell at a time."""
        return (_read(self._file, place) for place in self._cells.values())

    def _shelve(self, table: pa.RecordBatch) -> None:
        bounds_N4 = np.column_stack([_numbers(table, edge) for edge in _EDGES])
        longest_N = np.nan_to_num((bounds_N4[:, 2:] - bounds_N4[:, :2]).max(axis=1, initial=0))
        level_N = np.ceil(np.log2(np.maximum(longest_N / CELL_PX, 1))).astype(np.int64)
        cell_N2 = (np.nan_to_num(_middles(bounds_N4)) // (CELL_PX * 2.0 ** level_N[:, None])).astype(np.int64)
        cells_N3 = np.column_stack([level_N, cell_N2])
        # pieces cut the area at other places than cells, so a cell can come from several
        found, which_N = np.unique(cells_N3, axis=0, return_inverse=True)
        for number, rows in _grouped(which_N.ravel()):
            level, column, row = found[number].tolist()
            part = table.take(pa.array(rows))
            if (before := self._cells.get((level, column, row))) is not None:
                part = _together([_read(self._file, before), part])
            self._cells[level, column, row] = _written(self._file, part)

    def _meeting(self, level: int, box: Sequence[float]) -> Iterator[Cell]:
        """Cells of a level that can hold a feature which meets a box."""
        side = CELL_PX * 2.0**level
        left, top = (int((v - side / 2) // side) for v in box[:2])
        right, bottom = (int((v + side / 2) // side) for v in box[2:])
        if (right - left + 1) * (bottom - top + 1) > len(self._levels[level]):
            yield from (c for c in self._levels[level] if left <= c[1] <= right and top <= c[2] <= bottom)
            return
        for column in range(left, right + 1):
            for row in range(top, bottom + 1):
                if (level, column, row) in self._cells:
                    yield level, column, row


def _meeting(table: pa.RecordBatch, boxes_N4: np.ndarray) -> pa.RecordBatch:
    """The rows whose bounds meet a box."""
    x1_N, y1_N, x2_N, y2_N = (_numbers(table, edge) for edge in _EDGES)
    meets_N = np.zeros(table.num_rows, dtype=bool)
    for x1, y1, x2, y2 in boxes_N4.tolist():
        meets_N |= (x1_N <= x2) & (y1_N <= y2) & (x2_N >= x1) & (y2_N >= y1)
    return table.filter(pa.array(meets_N))


def _again(table: pa.RecordBatch) -> np.ndarray:
    """Which rows repeat the shape and class of one before (in the order they came)."""
    again_N = np.zeros(table.num_rows, dtype=bool)
    keys = [np.nan_to_num(np.round(_numbers(table, edge) / DUPLICATE_PX)) + 0.0 for edge in _EDGES]
    _, which_N, count_K = np.unique(
        np.column_stack([*keys, _numbers(table, "label")]), axis=0, return_inverse=True, return_counts=True
    )
    # equal shapes have equal bounds, and few shapes have those of another
    rows = np.flatnonzero(count_K[which_N.ravel()] > 1)
    if len(rows):
        rows = rows[np.argsort(_numbers(table, "order")[rows])]
        some = table.take(pa.array(rows))
        shapes_K = shapely.from_wkb(some["shape"].to_numpy(zero_copy_only=False))
        again_N[rows] = duplicates(shapes_K, _numbers(some, "label"))
    return again_N


def _without_area(shapes_N: np.ndarray, drawn_N: np.ndarray | None) -> list[bytes | None]:
    """WKB of what was drawn without an area; None where the shape is what was drawn."""
    if drawn_N is None or (shapely.get_dimensions(drawn_N) == 2).all():
        return [None] * len(shapes_N)
    flat_N = shapely.get_dimensions(drawn_N) < 2
    return [wkb if flat else None for wkb, flat in zip(shapely.to_wkb(drawn_N), flat_N.tolist(), strict=True)]


def _middles(bounds_N4: np.ndarray) -> np.ndarray:
    """Middles (N, 2) of bounds, so rounded that shapes which count as equal have the same."""
    rounded_N4 = np.round(bounds_N4 / DUPLICATE_PX) * DUPLICATE_PX
    return (rounded_N4[:, :2] + rounded_N4[:, 2:]) / 2


def _grouped(keys_N: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Every key with its places in order."""
    order_N = np.argsort(keys_N, kind="stable")
    keys, starts = np.unique(keys_N[order_N], return_index=True)
    yield from zip(keys.tolist(), np.split(order_N, starts[1:]), strict=True)


def _id(prefix: tuple[str, bool], fid: int, own: str | None) -> str:
    layer, has_own = prefix
    number, _, name = layer.partition("/")
    return f"{number}/{own}" if has_own else f"{number}/{name}-{fid}"


def _numbers(table: pa.RecordBatch, name: str) -> np.ndarray:
    return table[name].to_numpy(zero_copy_only=False)


def _in_order(table: pa.RecordBatch) -> pa.RecordBatch:
    return table.take(pa.array(np.argsort(_numbers(table, "order"), kind="stable")))


def _together(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.concat_batches(parts) if parts else pa.RecordBatch.from_pylist([], schema=_SCHEMA)


def _written(file: Any, rows: pa.RecordBatch) -> tuple[int, int]:
    """Place and length of rows put at the end of a file."""
    start = file.seek(0, os.SEEK_END)
    return start, file.write(rows.serialize())


def _read(file: Any, place: tuple[int, int]) -> pa.RecordBatch:
    file.seek(place[0])
    return pa.ipc.read_record_batch(pa.py_buffer(file.read(place[1])), _SCHEMA)
