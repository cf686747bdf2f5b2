"""Datasets on disk: scenes and questions in Parquet, a manifest written last.

    folder/
      scenes/train-00000.parquet, ...     one row a scene: image {bytes, path}, objects, grid, provenance
      questions/train-00000.parquet, ...  one row a question: task, params, answer
      README.md                           dataset card: what, from where, under which licence
      manifest.json                       counts, file hashes, the resolved recipe; its presence means "whole"

`datasets.load_dataset(folder, "scenes")` and `pandas.read_parquet` read the same files. Geometry is WKB in
scene pixels; attributes, provenance and params are JSON text, since every row may have other keys.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from affine import Affine
from pyproj import CRS

from georefer.errors import ConfigError, DatasetError
from georefer.geometry import GeoGrid, Objects
from georefer.imagery.encode import decode_image
from georefer.runlog import swap_folder
from georefer.scenes.journal import JOURNAL, TABLES, Journal, TableWriter
from georefer.scenes.schema import Question, Scene, SceneRelation

FORMAT = 1
"""Version of the layout above; a folder of another version is refused."""

_OBJECT = pa.struct(
    {
        "id": pa.string(),
        "label": pa.string(),
        "kind": pa.string(),
        "geometry": pa.binary(),
        "bbox": pa.list_(pa.float32()),
        "score": pa.float64(),
        "attributes": pa.string(),
    }
)
_RELATION = pa.struct(
    {"subject": pa.string(), "predicate": pa.string(), "object": pa.string(), "evidence": pa.string()}
)
SCENE_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        "width": pa.int32(),
        "height": pa.int32(),
        "split": pa.string(),
        "crs": pa.string(),
        "transform": pa.list_(pa.float64()),
        "gsd_m": pa.float64(),
        "footprint": pa.string(),
        "objects": pa.list_(_OBJECT),
        "provenance": pa.string(),
        "relations": pa.list_(_RELATION),
    }
)
QUESTION_SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "scene_id": pa.string(),
        "task": pa.string(),
        "params": pa.string(),
        "answer_ids": pa.list_(pa.string()),
        "answer_text": pa.string(),
    }
)


@dataclass(frozen=True)
class Dataset:
    """A whole dataset folder; made by `open_dataset`. Scenes are read on demand."""

    folder: Path
    manifest: Mapping[str, Any]

    def scenes(self, split: str) -> Iterator[Scene]:
        """All scenes of a split in stored order, one batch in memory at a time."""
        for path in self._files("scenes", split):
            with _parquet(path) as file:
                for batch in file.iter_batches(batch_size=64):
                    yield from map(row_to_scene, batch.to_pylist())

    def questions(self, split: str) -> list[Question]:
        """All questions of a split in stored order."""
        return [
            row_to_question(row) for path in self._files("questions", split) for row in pq.read_table(path).to_pylist()
        ]

    def pictures(self, split: str) -> Pictures:
        """Images of a split by number, in the order of `scenes`."""
        return Pictures(self._files("scenes", split))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the manifest: answers remember which dataset they were given on."""
        return hashlib.sha256(json.dumps(self.manifest, sort_keys=True).encode()).hexdigest()[:16]

    def _files(self, table: str, split: str) -> list[Path]:
        names = [n for n in self.manifest["files"] if n.startswith(f"{table}/{split}-")]
        if not names:
            found = ", ".join(self.manifest["splits"]) or "none"
            raise DatasetError(f"{self.folder} has no split '{split}' (found: {found}); name one of those")
        return [self.folder / name for name in names]


class Pictures:
    """Decoded images (uint8, height x width x 3) by number, read when asked for: no dataset needs to fit into memory.

    Threads may share one; each call opens its file anew.
    """

    def __init__(self, files: Sequence[Path]):
        self._groups: list[tuple[Path, int]] = []
        self._starts = [0]
        for path in files:
            with _parquet(path) as file:
                for group in range(file.num_row_groups):
                    self._groups.append((path, group))
                    self._starts.append(self._starts[-1] + file.metadata.row_group(group).num_rows)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> np.ndarray:
        if not 0 <= number < len(self):
            raise IndexError(f"image {number} was asked for where there are {len(self)}")
        at = bisect_right(self._starts, number) - 1
        path, group = self._groups[at]
        with _parquet(path) as file:
            try:
                images = file.read_row_group(group, columns=["image.bytes"]).column("image")
            except (pa.ArrowInvalid, OSError) as error:
                raise DatasetError(f"{path} is damaged ({error}); build the dataset again") from error
        return decode_image(images[number - self._starts[at]]["bytes"].as_py())


def open_dataset(folder: Path | str) -> Dataset:
    """The dataset in a folder, after checking that it is whole; DatasetError says what is missing."""
    folder = Path(folder)
    path = folder / "manifest.json"
    if not path.is_file():
        inside = sorted(found.parent.name for found in folder.glob("*/manifest.json"))
        do = (
            f"give one of those in it ({', '.join(inside[:5])})" if inside else "build it (again) with 'georefer build'"
        )
        raise DatasetError(f"{folder} has no manifest.json, so it is no finished dataset; {do}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version, files = manifest["format"], manifest["files"]
    except ValueError as error:
        raise DatasetError(f"{path} is damaged ({error!r}); build the dataset again") from error
    except (KeyError, TypeError) as error:
        raise DatasetError(
            f"{path} is not a dataset's ({error!r}); give a folder that 'georefer build' or 'georefer fewshot' wrote"
        ) from error
    if version != FORMAT:
        raise DatasetError(f"{folder} has format {version}, this georefer reads {FORMAT}; build the dataset again")
    for name, entry in files.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != entry["bytes"]:
            raise DatasetError(f"{file} is missing or not {entry['bytes']} bytes long; build the dataset again")
    return Dataset(folder, manifest)


@dataclass(frozen=True, eq=False)
class Part:
    """Some scenes of a split with the questions about them, as they are stored; and counts for the manifest."""

    scenes: pa.Table
    questions: pa.Table
    counts: Mapping[str, int]

    @classmethod
    def of(cls, scenes: Sequence[Scene], questions: Sequence[Question], counts: Mapping[str, int]) -> Part:
        return cls(_to_table(scenes, SCENE_SCHEMA), _to_table(questions, QUESTION_SCHEMA), counts)


class DatasetWriter:
    """Writes a dataset beside its final place and moves it there when everything is on disk.

    Use as a context manager; an exception inside leaves the final place untouched. With `resume`, a text that
    stands for everything that decides the content, what is on disk survives a kill, an interrupt and errors that
    are not the recipe's: a later writer with the same text goes on there. Give every part of `parts_done` again
    from that number on, in the same order; the dataset ends with the same bytes.
    """

    def __init__(self, folder: Path | str, *, replace: bool = False, resume: str | None = None):
        self.folder = Path(folder)
        self.partial = self.folder.with_name(self.folder.name + ".partial")
        self.replace = replace
        self.counts: Counter[str] = Counter()
        """Sum of the counts of all parts so far."""
        self._resume = resume
        self._journal = Journal(self.partial / JOURNAL)
        self._tables: dict[str, TableWriter] = {}
        self._parts: Counter[str] = Counter()

    def __enter__(self) -> DatasetWriter:
        if self.folder.exists() and not self.replace:
            raise DatasetError(f"{self.folder} exists already; choose another folder or say --overwrite")
        if self.folder.exists() and not self.folder.is_dir():
            raise DatasetError(f"{self.folder} is a file where a dataset folder is to be made; choose another folder")
        if self.folder.exists() and any(self.folder.iterdir()) and not (self.folder / "manifest.json").is_file():
            raise DatasetError(f"{self.folder} exists and is no dataset, so it is not replaced; choose another folder")
        if not self._journal.reopen(self._resume):
            shutil.rmtree(self.partial, ignore_errors=True)
            self.partial.mkdir(parents=True)
            self._journal.start(self._resume)
        return self

    def __exit__(self, kind, *_: object) -> None:
        if kind is None:
            return
        for table in self._tables.values():
            table.drop()
        is_recipe = issubclass(kind, ConfigError | DatasetError)
        if self._resume is None or is_recipe or not self._journal.files:
            shutil.rmtree(self.partial, ignore_errors=True)

    def write(self, split: str, scenes: Iterable[Scene], questions: Iterable[Question]) -> None:
        """One split, streamed: `scenes` may be a generator; it is used up before `questions`."""
        for some in _batches(scenes):
            self._table("scenes", split).add(_to_table(some, SCENE_SCHEMA))
        for few in _batches(questions):
            self._table("questions", split).add(_to_table(few, QUESTION_SCHEMA))
        self.close(split)

    def parts_done(self, split: str) -> int:
        """How many parts of a split an earlier writer has left on disk; their counts are in `counts` then."""
        done = self._journal.whole_parts(split)
        for kind in TABLES:
            rows = self._journal.rows(kind, split)
            self._tables[f"{kind}/{split}"] = self._new_table(kind, split, rows - sum(p[kind] for p in done))
        for part in done:
            self.counts.update(part["counts"])
        self._parts[split] = len(done)
        return len(done)

    def append(self, split: str, part: Part) -> None:
        """The next part of a split; its files are written as they fill."""
        self._table("scenes", split).add(part.scenes)
        self._table("questions", split).add(part.questions)
        self.counts.update(part.counts)
        sizes = {"scenes": part.scenes.num_rows, "questions": part.questions.num_rows}
        self._journal.add_part(split, self._parts[split], sizes, part.counts)
        self._parts[split] += 1

    def close(self, split: str) -> None:
        """Ends a split: what is left is written."""
        for kind in TABLES:
            self._table(kind, split).close()

    def finish(self, card: str, **manifest: Any) -> Dataset:
        """Writes the card, then the manifest, then moves the folder to its final place."""
        (self.partial / "README.md").write_text(card, encoding="utf-8")
        splits: dict[str, dict[str, int]] = {}
        for name, table in self._tables.items():
            splits.setdefault(name.split("/")[1], {})[name.split("/")[0]] = table.rows
        names = [
            n for s in splits for kind in TABLES for n in sorted(self._journal.files) if n.startswith(f"{kind}/{s}-")
        ]
        files = {name: self._journal.files[name] for name in names}
        content = {"format": FORMAT, "splits": splits, **manifest, "files": files}
        (self.partial / "manifest.json").write_text(json.dumps(content, indent=1, default=str), encoding="utf-8")
        self._journal.path.unlink()
        swap_folder(self.partial, self.folder)
        return open_dataset(self.folder)

    def _table(self, kind: str, split: str) -> TableWriter:
        name = f"{kind}/{split}"
        if name not in self._tables:
            self._tables[name] = self._new_table(kind, split, 0)
        return self._tables[name]

    def _new_table(self, kind: str, split: str, skip: int) -> TableWriter:
        schema = _marked(SCENE_SCHEMA if kind == "scenes" else QUESTION_SCHEMA)
        return TableWriter(self.partial, f"{kind}/{split}", schema, self._journal, skip)


def _batches(things: Iterable[Any], size: int = 64) -> Iterator[list[Any]]:
    iterator = iter(things)
    while batch := list(islice(iterator, size)):
        yield batch


def _to_table(things: Sequence[Any], schema: pa.Schema) -> pa.Table:
    to_row = _scene_to_row if schema is SCENE_SCHEMA else _question_to_row
    return pa.Table.from_pylist([to_row(thing) for thing in things], _marked(schema))


def _marked(schema: pa.Schema) -> pa.Schema:
    """Scene tables tell the datasets library which column holds images."""
    if "image" not in schema.names:
        return schema
    from_arrow = {name: _feature(schema.field(name).type) for name in schema.names}
    features = {**from_arrow, "image": {"_type": "Image"}}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _feature(kind: pa.DataType) -> Any:
    """The datasets library's own description of an Arrow type."""
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    names = {pa.float64(): "float64", pa.float32(): "float32"}
    return {"dtype": names.get(kind, str(kind)), "_type": "Value"}


def _parquet(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{path} is no readable Parquet file ({error}); build the dataset again") from error


# --- rows ------------------------------------------------------------------------------------------------


def _scene_to_row(scene: Scene) -> dict[str, Any]:
    grid, objects = scene.grid, scene.objects
    shapes_N = shapely.to_wkb(objects.geometries_N)
    return {
        "id": scene.id,
        "image": {"bytes": scene.image, "path": f"{scene.id}.png"},
        "width": grid.width,
        "height": grid.height,
        "split": scene.split,
        "crs": None if grid.crs is None else crs_to_text(grid.crs),
        "transform": list(grid.transform)[:6],
        "gsd_m": grid.gsd_m,
        "footprint": shapely.to_wkt(grid.footprint, rounding_precision=9) if grid.crs else None,
        "objects": [
            {
                "id": o.id,
                "label": o.label,
                "kind": o.kind,
                "geometry": shape,
                "bbox": bounds,
                "score": o.score,
                "attributes": json.dumps(o.attributes, sort_keys=True),
            }
            for o, shape, bounds in zip(objects, shapes_N, objects.hbb_N4.tolist(), strict=True)
        ],
        "provenance": json.dumps(scene.provenance, sort_keys=True),
        "relations": [
            {**vars(relation), "evidence": json.dumps(relation.evidence, sort_keys=True)}
            for relation in scene.relations
        ],
    }


def row_to_scene(row: dict[str, Any]) -> Scene:
    """A scene from its row in the table."""
    crs = None if row["crs"] is None else _crs(row["crs"])
    stored = row["objects"]
    objects = Objects.of(
        shapely.from_wkb(np.array([o["geometry"] for o in stored], dtype=object)),
        [o["label"] for o in stored],
        kind=[o["kind"] for o in stored],
        ids=[o["id"] for o in stored],
        scores=[o["score"] for o in stored],
        attributes=[json.loads(o["attributes"]) for o in stored],
    )
    grid = GeoGrid(crs, Affine(*row["transform"]), row["width"], row["height"])
    # datasets written before relations were stored have none
    relations = tuple(
        SceneRelation(r["subject"], r["predicate"], r["object"], json.loads(r["evidence"]))
        for r in row.get("relations") or ()
    )
    provenance = json.loads(row["provenance"])
    return Scene(row["id"], row["image"]["bytes"], objects, grid, row["split"], provenance, relations)


@lru_cache(maxsize=64)
def _crs(text: str) -> CRS:
    return CRS.from_user_input(text)


def _question_to_row(question: Question) -> dict[str, Any]:
    return {
        "id": question.id,
        "scene_id": question.scene_id,
        "task": question.task,
        "params": json.dumps(question.params, sort_keys=True),
        "answer_ids": list(question.answer_ids),
        "answer_text": question.answer_text,
    }


def row_to_question(row: dict[str, Any]) -> Question:
    """A question from its row in the table."""
    return Question(
        row["id"], row["scene_id"], row["task"], json.loads(row["params"]), tuple(row["answer_ids"]), row["answer_text"]
    )


def crs_to_text(crs: CRS) -> str:
    """`EPSG:2154` where the CRS has such a code, its WKT otherwise."""
    authority = crs.to_authority(min_confidence=100)
    return ":".join(authority) if authority else crs.to_wkt()
