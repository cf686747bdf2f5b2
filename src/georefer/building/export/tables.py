"""Parquet with pictures inside: a flat table for the datasets library, and TRL's columns.

    hf    data/<split>-00000.parquet   one row a question: image, prompt, answer, and all that a scorer needs
    trl   data/<split>-00000.parquet   prompt and completion as messages, images; the same columns for rewards beside

Source: huggingface.co/docs/datasets (Image feature: {bytes, path}) and TRL's docs, dataset_formats and GRPO: a reward
is given every column besides prompt and completion. So the gold answer stands in `solution` too, and `width`,
`height`, `frame` (for `Frame(**json)`) and `dialect` are what it needs to read an answer into pixels.

- `answer_boxes` are [x1, y1, x2, y2] in pixels of the picture, `answer_shapes` the exact shapes as WKT there.
- Rows of one scene follow each other and share a dictionary page: the picture is stored once in a row group.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from georefer.building.export.base import Format, Job, Sample, Shown

ROWS_A_FILE, ROWS_A_GROUP = 20_000, 1_000
BYTES_A_GROUP = 256 << 20
"""Pictures held in memory before a row group is written."""

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
"""The column type of a picture, which the datasets library decodes."""

_MESSAGES = pa.list_(pa.struct({"role": pa.string(), "content": pa.string()}))
_FACTS: dict[str, pa.DataType] = {
    "id": pa.string(), "scene_id": pa.string(), "task": pa.string(), "dialect": pa.string(), "frame": pa.string(),
    "width": pa.int32(), "height": pa.int32(), "params": pa.string(), "answer_ids": pa.list_(pa.string()),
    "answer_labels": pa.list_(pa.string()), "answer_boxes": pa.list_(pa.list_(pa.float64())),
    "answer_shapes": pa.list_(pa.string()), "answer_text": pa.string(),
}  # fmt: skip
_COLUMNS: dict[str, dict[str, pa.DataType]] = {
    "hf": {"image": IMAGE, "prompt": pa.string(), "answer": pa.string(), **_FACTS, "provenance": pa.string()},
    "trl": {
        "prompt": _MESSAGES, "completion": _MESSAGES, "images": pa.list_(IMAGE), "solution": pa.string(), **_FACTS,
    },
}  # fmt: skip


class Table:
    """The Parquet files of one split, written group by group.

    A group ends with the scene that makes it `rows_a_group` rows or `BYTES_A_GROUP` bytes of pictures long, a file
    with the group that makes it `rows_a_file` rows long. `name_of(split, number, how many)` names the files in the end.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        columns: dict[str, pa.DataType],
        *,
        rows_a_file: int | None = None,
        rows_a_group: int | None = None,
        name_of: Callable[[str, int, int], str] | None = None,
    ):
        self.folder, self.split, self.name_of = folder, split, name_of
        self.rows_a_file, self.rows_a_group = rows_a_file or ROWS_A_FILE, rows_a_group or ROWS_A_GROUP
        self.schema = pa.schema(columns).with_metadata({"huggingface": json.dumps({"info": {"features": {
            name: _feature(kind) for name, kind in columns.items()
        }}})})  # fmt: skip
        self.rows: list[dict[str, Any]] = []
        self.number = self.in_file = self.bytes = 0
        self.writer: pq.ParquetWriter | None = None

    def add(self, rows: list[dict[str, Any]], picture_bytes: int) -> None:
        """The rows of one scene."""
        self.rows += rows
        self.bytes += picture_bytes
        if len(self.rows) >= self.rows_a_group or self.bytes >= BYTES_A_GROUP:
            self._flush()

    def close(self) -> None:
        # a split without a row still gets its file, so that readers find its columns
        if self.rows or self.number == 0:
            self._flush()
        if self.writer is not None:
            self.writer.close()
        if self.name_of is not None:
            for number in range(self.number):
                self._path(number).rename(self.folder / self.name_of(self.split, number, self.number))

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.split}-{number:05d}.parquet"

    def _flush(self) -> None:
        if self.writer is None:
            path = self._path(self.number)
            self.writer = pq.ParquetWriter(path, self.schema, dictionary_pagesize_limit=2 * BYTES_A_GROUP)
            self.number += 1
        self.writer.write_table(pa.Table.from_pylist(self.rows, self.schema), row_group_size=max(1, len(self.rows)))
        self.in_file += len(self.rows)
        self.rows, self.bytes = [], 0
        if self.in_file >= self.rows_a_file:
            self.writer.close()
            self.writer, self.in_file = None, 0


def _write(shown: Iterable[Shown], job: Job, name: str, row_of: Callable[[Shown, Sample, Job], dict[str, Any]]) -> None:
    folder = job.out / "data"
    folder.mkdir()
    tables = {split: Table(folder, split, _COLUMNS[name]) for split in job.splits}
    for one in shown:
        tables[one.split].add([row_of(one, sample, job) for sample in one.samples], len(one.picture.data))
    for table in tables.values():
        table.close()


def _flat(one: Shown, sample: Sample, job: Job) -> dict[str, Any]:
    return {
        "image": image_cell(one), "prompt": sample.prompt, "answer": sample.answer, **_facts(one, sample, job),
        "provenance": json.dumps(one.scene.provenance, sort_keys=True),
    }  # fmt: skip


def _trl(one: Shown, sample: Sample, job: Job) -> dict[str, Any]:
    return {
        "prompt": [{"role": "user", "content": sample.prompt}],
        "completion": [{"role": "assistant", "content": sample.answer}],
        "images": [image_cell(one)],
        "solution": sample.answer,
        **_facts(one, sample, job),
    }


def image_cell(one: Shown) -> dict[str, Any]:
    """A scene's picture as the datasets library keeps it."""
    return {"bytes": one.picture.data, "path": one.picture.name}


def _facts(one: Shown, sample: Sample, job: Job) -> dict[str, Any]:
    assert one.frame is not None and job.dialect is not None
    question, objects, (width, height) = sample.question, sample.objects, one.scene.size
    return {
        "id": question.id,
        "scene_id": one.scene.id,
        "task": question.task,
        "dialect": job.dialect.name,
        "frame": json.dumps(one.frame.describe(), sort_keys=True),
        "width": width,
        "height": height,
        "params": json.dumps(question.params, sort_keys=True),
        "answer_ids": list(question.answer_ids),
        "answer_labels": objects.labels_N.tolist(),
        "answer_boxes": objects.hbb_N4.tolist(),
        "answer_shapes": [str(text) for text in shapely.to_wkt(objects.geometries_N, rounding_precision=6)],
        "answer_text": question.answer_text,
    }


def _feature(kind: pa.DataType) -> Any:
    """The datasets library's own description of an Arrow type."""
    if kind == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    return {"dtype": "float64" if kind == pa.float64() else str(kind), "_type": "Value"}


_TABLE = "data/{split}-*.parquet"

HF = Format(
    "hf",
    "A table for the datasets library, one row a question: load_dataset on this folder",
    partial(_write, name="hf", row_of=_flat),
    embeds="yes",
    table=_TABLE,
)
TRL = Format(
    "trl",
    "TRL's prompt, completion and images, with columns for rewards beside: load_dataset on this folder",
    partial(_write, name="trl", row_of=_trl),
    embeds="yes",
    table=_TABLE,
)
