"""Geo-R1's few-shot sets, made up: Parquet with pictures inside as the datasets library writes it, and their JSON."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

PICTURE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
TYPES = {
    "images": pa.list_(PICTURE), "image": PICTURE, "mask": PICTURE, "problem": pa.string(), "category": pa.string(),
    "answer": pa.list_(pa.float64()), "is_unique": pa.string(), "id": pa.string(),
    "bbox_list": pa.list_(pa.list_(pa.float64())),
}  # fmt: skip


def encoded(seed: int, size: tuple[int, int] = (64, 48), format: str = "PNG") -> bytes:
    """A picture of noise of its own."""
    noise_HW3 = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)
    return _saved(noise_HW3, format)


def encoded_mask(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (64, 48)) -> bytes:
    grey_HW = np.zeros((size[1], size[0]), dtype=np.uint8)
    for x1, y1, x2, y2 in boxes:
        grey_HW[y1:y2, x1:x2] = 255
    return _saved(grey_HW, "PNG")


def _saved(pixels: np.ndarray, format: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


def cell(data: bytes | None, path: str | None = None) -> dict[str, Any]:
    return {"bytes": data, "path": path}


def parquet_rows(
    path: Path, rows: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType] | None = None, **options: Any
) -> Path:
    """A Parquet file of the rows; `types` are those of columns where they differ from `TYPES`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    schema = pa.schema({name: {**TYPES, **(types or {})}[name] for name in names})
    pq.write_table(pa.Table.from_pylist(list(rows), schema), path, **options)
    return path


def rec_row(seed: int, box: Sequence[float], category: str = "ship", unique: str = "True", **more: Any):
    """A row of VRSBench-FS; pictures with the same seed are the same."""
    return {
        "images": [cell(encoded(seed))], "problem": f"the {category} of {seed} at {box[0]}", "answer": list(box),
        "category": category, "is_unique": unique, **more,
    }  # fmt: skip


def vrsbench_fs(folder: Path) -> Path:
    """Splits train_1shot within train_10shot, and val: of two pictures one is asked about twice."""
    train = [rec_row(1, (2, 3, 20, 30)), rec_row(2, (5, 5, 30, 40), "plane", "False")]
    val = [rec_row(3, (1, 1, 9, 9)), rec_row(3, (10, 10, 30, 30), "plane"), rec_row(4, (4, 8, 40, 44), unique="False")]
    for split, rows in (("train_1shot", train[:1]), ("train_10shot", train), ("val", val)):
        parquet_rows(folder / "data" / f"{split}-00000-of-00001.parquet", rows, row_group_size=2)
    return folder
