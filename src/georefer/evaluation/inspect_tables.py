"""Parts of a dataset's tables: some scenes by their place, some questions by their scene, some columns of all rows.

An inspection shows two dozen scenes of what may be half a million, so nothing here holds more than one batch of a
table and what was asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from georefer.errors import DatasetError
from georefer.scenes import Dataset, Question, Scene
from georefer.scenes.store import row_to_question, row_to_scene

ROWS_AT_ONCE = 512


def batches(dataset: Dataset, table: str, split: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """All rows of a split of "scenes" or "questions", in stored order, with these columns alone."""
    for file in _files(dataset, table, split):
        yield from file.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(columns))


def scenes_at(dataset: Dataset, split: str, rows: Collection[int]) -> Iterator[Scene]:
    """The scenes in these rows of a split, in stored order; only the row groups that hold them are read."""
    return map(row_to_scene, _rows_at(dataset, split, rows))


def ids_at(dataset: Dataset, split: str, rows: Collection[int]) -> list[str]:
    """The ids of the scenes in these rows, in stored order."""
    return [row["id"] for row in _rows_at(dataset, split, rows, ["id"])]


def _rows_at(
    dataset: Dataset, split: str, rows: Collection[int], columns: list[str] | None = None
) -> Iterator[dict[str, Any]]:
    wanted, start = sorted(rows), 0
    for file in _files(dataset, "scenes", split):
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            places = [row - start for row in wanted if start <= row < start + count]
            if places:
                yield from file.read_row_group(group, columns).take(places).to_pylist()
            start += count


def rows_of(dataset: Dataset, split: str, ids: Collection[str]) -> dict[str, int]:
    """The rows of the scenes with these ids; ids that are not there are left out."""
    found: dict[str, int] = {}
    start = 0
    values = pa.array(sorted(ids), pa.string())
    for batch in batches(dataset, "scenes", split, ["id"]) if ids else ():
        for row in np.flatnonzero(pc.is_in(batch["id"], values).to_numpy(zero_copy_only=False)).tolist():
            found.setdefault(batch["id"][row].as_py(), start + row)
        start += batch.num_rows
    return found


def questions_about(
    dataset: Dataset, split: str, scene_ids: Collection[str], tasks: Collection[str] = ()
) -> dict[str, list[Question]]:
    """The questions about these scenes (of these tasks, where some are named), by scene, in stored order."""
    found: dict[str, list[Question]] = {}
    scenes, names = pa.array(sorted(scene_ids), pa.string()), pa.array(sorted(tasks), pa.string())
    for file in _files(dataset, "questions", split):
        for batch in file.iter_batches(batch_size=8 * ROWS_AT_ONCE):
            chosen = pc.is_in(batch["scene_id"], scenes)
            if tasks:
                chosen = pc.and_(chosen, pc.is_in(batch["task"], names))
            for question in map(row_to_question, batch.filter(chosen).to_pylist()):
                found.setdefault(question.scene_id, []).append(question)
    return found


def spread(dataset: Dataset, split: str, count: int, tasks: Collection[str] = ()) -> list[int]:
    """Rows of at most `count` scenes, spread evenly; with tasks, of scenes asked so, spread by a hash of their ids."""
    if not tasks:
        total = sum(file.metadata.num_rows for file in _files(dataset, "scenes", split))
        return np.unique(np.linspace(0, total - 1, min(count, total)).astype(int)).tolist() if total else []
    least: dict[str, bytes] = {}
    names, before = pa.array(sorted(tasks), pa.string()), None
    for batch in batches(dataset, "questions", split, ["scene_id", "task"]):
        for id_ in batch["scene_id"].filter(pc.is_in(batch["task"], names)).unique().to_pylist():
            digest = hashlib.blake2b(id_.encode(), digest_size=8).digest()
            if id_ in least or (before is not None and digest >= before):
                continue
            least[id_] = digest
            if len(least) > count:
                del least[max(least, key=least.__getitem__)]
                before = max(least.values(), default=b"")
    return sorted(rows_of(dataset, split, least).values())


def _splits(dataset: Dataset) -> Mapping[str, Any]:
    return dataset.manifest["splits"]


def _files(dataset: Dataset, table: str, split: str) -> Iterator[pq.ParquetFile]:
    if split not in _splits(dataset):
        raise DatasetError(
            f"{dataset.folder} has no split '{split}' (found: {', '.join(_splits(dataset)) or 'none'}); name one"
        )
    for name in dataset.manifest["files"]:
        if name.startswith(f"{table}/{split}-"):
            try:
                file = pq.ParquetFile(dataset.folder / name)
            except (pa.ArrowInvalid, OSError) as error:
                raise DatasetError(
                    f"{dataset.folder / name} is no readable Parquet file ({error}); build the dataset again"
                ) from error
            with file:
                yield file
