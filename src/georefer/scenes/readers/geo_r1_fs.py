"""Geo-R1's few-shot sets by name: VRSBench-FS (a box), EarthReason-FS (masks), NWPU-FS (all objects of a class).

Source: datasets omlab/VRSBench-FS and omlab/EarthReason-FS, repository Geo-R1/geo-r1 at c2f2131; arXiv 2509.21976.
Licence: none is stated; the images keep those of VRSBench, EarthReason and NWPU VHR-10.

    data/<split>-*.parquet      train_1shot, train_5shot, train_10shot, val (EarthReason-FS: test too), pictures inside
    VRSBench-FS                 images [{bytes, path}], problem, answer [x1, y1, x2, y2], category, is_unique "True"
    *.json, *.jsonl             the repository's own files, see `geo_r1`; NWPU-FS comes in these alone

- The training splits lie within each other, so one split is read at a time: with several there, it must be named.
- Numbers are pixels of the picture as it is. `is_unique` is text in VRSBench-FS and a truth value in the authors' later
  SARDet_REC6-FS, which reads by the name vrsbench-fs as well.
- The columns of EarthReason-FS are published nowhere but in the files. Understood are those of the JSON lines (problem,
  bbox_list, mask, category, id), `masks` and `answer` for the second and third, a mask as a picture, boxes also flat,
  as JSON text, or as objects with `bbox_2d`. A file without any of these is refused with the columns that it has.
- Masks of JSON lines are looked for by name in a folder masks/ or labels/ beside the file or the images.
- An empty list of boxes, or a mask without pixels, says that nothing is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from georefer.errors import InputError
from georefer.scenes.readers import geo_r1
from georefer.scenes.readers.base import Published, Source
from georefer.scenes.readers.common import Gathering, parsed, records
from georefer.scenes.readers.embedded import Embedded, column_names, parquet_files, picture_in, rows
from georefer.scenes.readers.pictures import mask_shape

PICTURES, BOXES, MASKS = ("images", "image"), ("bbox_list", "answer", "solution"), ("mask", "masks")
"""Names of columns, the first one that is there counts."""

_REST = ("id", "problem", "category", "is_unique")
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_LICENCE = "not stated; images as in "


def read_vrsbench(path: str | Path, images: str | Path | None = None, split: str | None = None) -> Published:
    """VRSBench-FS, one split: a folder or file of Parquet with pictures, or of REC rows in JSON. See the module."""
    return _read("VRSBench-FS", Path(path), images, split)


def read_earthreason(path: str | Path, images: str | Path | None = None, split: str | None = None) -> Published:
    """EarthReason-FS, one split: a folder or file of Parquet with pictures, or of GRES rows in JSON lines."""
    return _read("EarthReason-FS", Path(path), images, split)


def read_nwpu(path: str | Path, images: str | Path | None = None, split: str | None = None) -> Published:
    """NWPU-FS: COCO annotations, or the folder with them and nwpu_exist_cat.json; `split` chooses among several."""
    found = geo_r1.read(_chosen(Path(path), split, "annotations*.json"), images, split)
    return Published("NWPU-FS", found.images, found.questions, found.account)


def _read(name: str, path: Path, images: str | Path | None, split: str | None) -> Published:
    by_split = parquet_files(path)
    if by_split:
        if path.is_dir() and (split not in by_split if split else len(by_split) > 1):
            raise InputError(
                f"{path} has the splits {', '.join(sorted(by_split))} where one is read at a time; name it with --split"
            )
        gathered = Gathering(name)
        for file in by_split[split] if split in by_split else next(iter(by_split.values())):
            _parquet(file, split or next(iter(by_split)), gathered)
        return gathered.published(path)
    file = _chosen(path, split, "*.jsonl", "*.json")
    gathered = Gathering(name, images)
    masks = _masks(file, images)
    for number, (where, row) in enumerate(records(file, gathered.account)):
        if masks is not None and isinstance(row.get("mask"), str):
            row["mask"] = PurePosixPath(row["mask"].replace("\\", "/")).name
        geo_r1.add_named_row(row, number, where, split, masks, gathered)
    return gathered.published(file)


# --- the repository's files -----------------------------------------------------------------------------------


def _chosen(path: Path, split: str | None, *patterns: str) -> Path:
    """The file itself, or the one in the folder (whose name has the split in it, where one is asked for)."""
    if path.is_file():
        return path
    files = sorted({file for pattern in patterns for file in path.glob(pattern) if file.name != geo_r1.EXISTING})
    fitting = [file for file in files if split is None or split in file.stem]
    if len(fitting) != 1:
        raise InputError(
            f"{path} holds {', '.join(file.name for file in files) or f'no {patterns[0]}'} where one file"
            f"{f' of the split {split}' if split else ''} is expected; name the file"
        )
    return fitting[0]


def _masks(file: Path, images: str | Path | None) -> Path | None:
    """A folder of masks beside the file or the images."""
    bases = [file.parent, *((Path(images), Path(images).parent) if images is not None else ())]
    folders = (base / name for base in bases for name in ("masks", "labels"))
    return next((folder for folder in folders if folder.is_dir()), None)


# --- Parquet with pictures ------------------------------------------------------------------------------------


def _parquet(file: Path, split: str, gathered: Gathering) -> None:
    there = column_names(file)
    picture, boxes, mask = (next((n for n in names if n in there), "") for names in (PICTURES, BOXES, MASKS))
    if "problem" not in there or not picture or not (boxes or mask):
        raise InputError(
            f"{file} has the columns {', '.join(there)[:300]} where problem, {' or '.join(PICTURES)}, and one of "
            f"{', '.join((*BOXES, *MASKS))} are expected; check that it is {gathered.name}"
        )
    is_rec = gathered.name == "VRSBench-FS"
    embedded = Embedded(gathered)
    for number, row in enumerate(rows(file, picture, boxes, mask, *_REST)):
        where = f"{file.name}, row {number}"
        key = embedded.image(row.get(picture), (file.name, number, picture), where)
        if key is None:
            continue
        plain: dict[str, Any] = {name: row[name] for name in _REST if row.get(name) is not None}
        plain["is_unique"] = _truth(plain.get("is_unique"))
        said = _boxes(row.get(boxes))
        if is_rec:
            plain["solution"] = said[0] if said is not None and len(said) == 1 else row.get(boxes)
        else:
            plain["bbox_list"] = said
        data = picture_in(row.get(mask))[0] if mask else None
        found = None if data is None else mask_shape(data, gathered.size(key))
        plain.setdefault("id", f"{split}_{number}")
        geo_r1.add_row(plain, number, key, where, split, found, gathered)


def _truth(value: Any) -> bool | None:
    if isinstance(value, str):
        return _TRUTHS.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _boxes(value: Any) -> list[Any] | None:
    """A list of boxes: given as such, flat, as JSON text, or as objects with bbox_2d; None for anything else."""
    if isinstance(value, str):
        try:
            value = parsed(value)
        except ValueError:
            return None
    value = [value] if isinstance(value, dict) else value
    if not isinstance(value, list):
        return None
    if value and all(isinstance(number, int | float) for number in value):
        return [value[n : n + 4] for n in range(0, len(value), 4)]
    return list(_each(value))


def _each(value: list[Any]) -> Iterator[Any]:
    for one in value:
        yield one.get("bbox_2d", one.get("bbox")) if isinstance(one, dict) else one


SOURCES = (
    Source(
        "vrsbench-fs",
        "Geo-R1's few-shot set: the folder with data/<split>-*.parquet (its pictures inside), or REC rows in JSON",
        _LICENCE + "VRSBench (DOTA and DIOR)",
        read_vrsbench,
        holds_pictures=True,
    ),
    Source(
        "nwpu-fs",
        "Geo-R1's few-shot set: COCO annotations*.json, beside nwpu_exist_cat.json",
        _LICENCE + "NWPU VHR-10",
        read_nwpu,
    ),
    Source(
        "earthreason-fs",
        "Geo-R1's few-shot set: the folder with data/<split>-*.parquet (its pictures inside), or GRES rows in JSON",
        _LICENCE + "EarthReason",
        read_earthreason,
        holds_pictures=True,
    ),
)
