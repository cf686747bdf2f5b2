"""Parquet files that hold their pictures, as the `datasets` library writes them: rows one by one, pictures by place.

    data/<split>-00000-of-00001.parquet     columns; a picture is {bytes, path}, or a list of such

The files are not trusted: what a row group claims to unpack to is bounded, and so is a picture. A picture that stands
in many rows is one image, known by its content; where it lies (`PLACE`) is kept, so that its bytes can be had again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from georefer.errors import InputError
from georefer.scenes.interchange.base import stem_of
from georefer.scenes.readers.common import MAX_RECORDS, Gathering
from georefer.scenes.readers.pictures import inside, picture_size

PLACE = "embedded"
"""Attribute of an image: [file, row, column] of its picture."""

MAX_GROUP_BYTES = 4 << 30
MAX_PICTURE_BYTES = 256 << 20

_SPLIT = re.compile(r"(\w+?)-\d+-of-\d+\.parquet")
_BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError, KeyError, ValueError)


def parquet_files(path: Path) -> dict[str, list[Path]]:
    """The Parquet files of a folder, or of its folder `data`, by split; or this one file. Empty if there are none."""
    found_here = sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet"))
    files = [path] if path.suffix == ".parquet" and path.is_file() else found_here
    found: dict[str, list[Path]] = {}
    for file in files:
        named = _SPLIT.fullmatch(file.name)
        found.setdefault(named[1] if named else file.stem, []).append(file)
    return found


def rows(file: Path, *columns: str) -> Iterator[dict[str, Any]]:
    """Rows of those of the columns that there are. InputError for what is no Parquet file, or claims to be too big."""
    try:
        with pq.ParquetFile(file) as parquet:
            _check_claims(file, parquet)
            wanted = [name for name in columns if name in parquet.schema_arrow.names]
            for batch in parquet.iter_batches(4, columns=wanted):
                yield from batch.to_pylist()
    except _BROKEN as error:
        raise InputError(f"{file} is no readable Parquet file ({str(error)[:200]}); fetch it again") from error


def column_names(file: Path) -> list[str]:
    try:
        with pq.ParquetFile(file) as parquet:
            return list(parquet.schema_arrow.names)
    except _BROKEN as error:
        raise InputError(f"{file} is no readable Parquet file ({str(error)[:200]}); fetch it again") from error


def _check_claims(file: Path, parquet: pq.ParquetFile) -> None:
    info = parquet.metadata
    largest = max((info.row_group(n).total_byte_size for n in range(info.num_row_groups)), default=0)
    if largest > MAX_GROUP_BYTES or info.num_rows > MAX_RECORDS:
        raise InputError(
            f"{file} unpacks to {largest:,} bytes a group and {info.num_rows:,} rows where {MAX_GROUP_BYTES:,} and "
            f"{MAX_RECORDS:,} are read at most; split it"
        )


def picture_in(cell: Any) -> tuple[bytes | None, str | None]:
    """(bytes, the path it had) of a cell: {bytes, path}, bytes alone, or the first of a list of such."""
    if isinstance(cell, list):
        cell = cell[0] if cell else None
    said = cell.get("path") if isinstance(cell, dict) else None
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    known = isinstance(data, bytes) and 0 < len(data) <= MAX_PICTURE_BYTES
    return data if known else None, said if isinstance(said, str) else None


class Embedded:
    """The images of such files, made known to a `Gathering`."""

    def __init__(self, gathered: Gathering):
        self.gathered = gathered
        self._by_content: dict[str, str] = {}
        self._taken: set[str] = set()

    def image(self, cell: Any, place: tuple[str, int, str], where: str) -> str | None:
        """The key of the image in a cell; None (and counted) where there is no picture.

        It is named as its path was, where no other picture is, else by its content.
        """
        data, said = picture_in(cell)
        size = None if data is None else picture_size(BytesIO(data))
        if data is None or size is None:
            self.gathered.account.dropped.add("row without a readable picture", where)
            return None
        digest = hashlib.sha256(data).hexdigest()
        if digest in self._by_content:
            return self._by_content[digest]
        name = PurePosixPath((said or "").replace("\\", "/")).name
        if not name or stem_of(name) in self._taken:
            ending = ".png" if data.startswith(b"\x89PNG") else ".jpg"
            name = f"{stem_of(name)}-{digest[:16]}{ending}" if name else f"{digest[:16]}{ending}"
        key = self.gathered.image(name, where, size=size, attributes={PLACE: list(place)})
        if key is not None:
            self._by_content[digest] = key
            self._taken.add(stem_of(name))
        return key


def embedded_picture(folder: Path, attributes: Mapping[str, Any]) -> bytes | None:
    """The bytes of an image that was read from such a file in a folder; None for an image that was not.

    InputError where the file has gone, or changed.
    """
    place = attributes.get(PLACE)
    if place is None:
        return None
    name, row, column = place
    file = inside(folder, name) or inside(folder, f"data/{name}")
    if file is None:
        raise InputError(f"{folder} holds no {name}, in which the picture is; give the folder of the Parquet files")
    data, _ = picture_in(_cell(file, int(row), column))
    if data is None:
        raise InputError(f"{file} holds no picture in row {row}; it has changed since it was read, so read it again")
    return data


def _cell(file: Path, row: int, column: str) -> Any:
    try:
        with pq.ParquetFile(file) as parquet:
            for group in range(parquet.num_row_groups):
                count = parquet.metadata.row_group(group).num_rows
                if row < count:
                    return _group(file, file.stat().st_mtime_ns, group, column)[row].as_py()
                row -= count
    except _BROKEN as error:
        raise InputError(f"{file} is no readable Parquet file ({str(error)[:200]}); fetch it again") from error
    return None


@lru_cache(maxsize=1)
def _group(file: Path, changed_ns: int, group: int, column: str) -> pa.ChunkedArray:
    """One column of one row group; questions come in the order of the file, so that the next picture is in it too."""
    with pq.ParquetFile(file) as parquet:
        return parquet.read_row_group(group, columns=[column]).column(column)
