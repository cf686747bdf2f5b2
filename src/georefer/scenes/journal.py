"""Tables on their way to disk, and the journal by which a killed write goes on where its files end.

The journal is a file of JSON lines beside the tables: the text that the writer stands for, every finished file
with its hash, and every part with its number of rows. Files fill at other places than parts end, so going on
means: from the last part of which every row lies in finished files, leaving out the rows of later parts that lie
there too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from georefer.runlog import JsonLines

JOURNAL = "journal.jsonl"
TABLES = ("scenes", "questions")

ROWS_PER_FILE = 2_000
ROWS_PER_GROUP = 64
"""Rows that readers and writers hold in memory at a time."""


class Journal:
    """What is whole on disk: `files` by name (rows, bytes, sha256), and the parts before them."""

    def __init__(self, path: Path):
        self.path = path
        self.files: dict[str, dict[str, Any]] = {}
        self._parts: dict[str, list[dict[str, Any]]] = {}
        self._lines = JsonLines(path)

    def start(self, resume: str | None) -> None:
        """A new journal of a writer that stands for `resume`."""
        self._lines.append([{"resume": resume}])

    def reopen(self, resume: str | None) -> bool:
        """Takes up a journal of the same text; False where there is none, or it has nothing to go on from."""
        if resume is None or not self.path.is_file():
            return False
        try:
            lines = self._lines.read()
        except ValueError:
            return False
        if not lines or lines[0] != {"resume": resume}:
            return False
        files = {line["file"]: line for line in lines if "file" in line}
        self.files = self._unharmed(files)
        parts = [line for line in lines if "part" in line]
        for split in {part["split"] for part in parts}:
            self._parts[split] = self._before_files(split, [p for p in parts if p["split"] == split])
        self._rewrite(resume)
        return True

    def add_file(self, name: str, rows: int) -> None:
        path = self.path.parent / name
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.files[name] = {"rows": rows, "bytes": path.stat().st_size, "sha256": digest}
        self._lines.append([{"file": name, **self.files[name]}])

    def add_part(self, split: str, number: int, rows: Mapping[str, int], counts: Mapping[str, int]) -> None:
        self._lines.append([{"part": number, "split": split, **rows, "counts": dict(counts)}])

    def whole_parts(self, split: str) -> list[dict[str, Any]]:
        """The parts of a split that need not be made again."""
        return self._parts.get(split, [])

    def rows(self, kind: str, split: str) -> int:
        """Rows of a table that lie in finished files."""
        return sum(entry["rows"] for name, entry in self.files.items() if name.startswith(f"{kind}/{split}-"))

    def _unharmed(self, files: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """The files that are as they were written; of each table only those before the first that is not."""
        kept: dict[str, dict[str, Any]] = {}
        harmed: set[str] = set()
        for name in sorted(files):
            path, stem = self.path.parent / name, name.rpartition("-")[0]
            if stem not in harmed and path.is_file():
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
                if digest == files[name]["sha256"]:
                    kept[name] = {key: files[name][key] for key in ("rows", "bytes", "sha256")}
                    continue
            harmed.add(stem)
        return kept

    def _before_files(self, split: str, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
        room = {kind: self.rows(kind, split) for kind in TABLES}
        for number, part in enumerate(parts):
            room = {kind: room[kind] - part[kind] for kind in TABLES}
            if min(room.values()) < 0:
                return parts[:number]
        return parts

    def _rewrite(self, resume: str) -> None:
        """Only what is gone on from: later lines will be written again."""
        self.path.unlink()
        parts = [part for parts in self._parts.values() for part in parts]
        self._lines.append(
            [{"resume": resume}, *({"file": name, **entry} for name, entry in self.files.items()), *parts]
        )


class TableWriter:
    """One table of one split in files of `ROWS_PER_FILE` rows; `skip` rows come that lie on disk already."""

    def __init__(self, folder: Path, stem: str, schema: pa.Schema, journal: Journal, skip: int):
        self._folder, self._stem, self._schema, self._journal = folder, stem, schema, journal
        self._skip = skip
        names = [name for name in journal.files if name.startswith(f"{stem}-")]
        self.rows = sum(journal.files[name]["rows"] for name in names)
        self._number = len(names)
        self._waiting: list[pa.Table] = []
        self._file: pq.ParquetWriter | None = None
        self._in_file = 0

    def add(self, table: pa.Table) -> None:
        skipped = min(self._skip, table.num_rows)
        self._skip -= skipped
        table = table.slice(skipped)
        self.rows += table.num_rows
        self._waiting.append(table)
        while sum(t.num_rows for t in self._waiting) >= min(ROWS_PER_GROUP, ROWS_PER_FILE - self._in_file):
            self._write_group()

    def close(self) -> None:
        """Writes what waits; a table without any row still gets its (empty) file, so that readers find it."""
        if any(t.num_rows for t in self._waiting) or not (self.rows or self._number):
            self._write_group()
        if self._file is not None:
            self._finish_file()

    def drop(self) -> None:
        """Lets go of the file that is being written."""
        if self._file is not None:
            self._file.close()

    def _write_group(self) -> None:
        table = pa.concat_tables(self._waiting) if self._waiting else self._schema.empty_table()
        group = table.slice(0, min(ROWS_PER_GROUP, ROWS_PER_FILE - self._in_file))
        self._waiting = [table.slice(group.num_rows)]
        if self._file is None:
            path = self._folder / self._name
            path.parent.mkdir(exist_ok=True)
            self._file = pq.ParquetWriter(path, self._schema)
        self._file.write_table(group.combine_chunks(), row_group_size=ROWS_PER_GROUP)
        self._in_file += group.num_rows
        if self._in_file == ROWS_PER_FILE:
            self._finish_file()

    @property
    def _name(self) -> str:
        return f"{self._stem}-{self._number:05d}.parquet"

    def _finish_file(self) -> None:
        assert self._file is not None
        self._file.close()
        self._journal.add_file(self._name, self._in_file)
        self._file, self._in_file = None, 0
        self._number += 1
