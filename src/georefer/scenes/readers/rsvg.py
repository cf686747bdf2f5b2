"""RSVG: expressions for boxes on images of 1024 pixels (GeoVG), and RSVG-HR, the same form in lines of text.

Source: Sun et al., "Visual Grounding in Remote Sensing Images" (ACM MM 2022), 5,505 / 1,201 / 1,227 expressions. The
original's layout is not documented; it circulates as refGeo's rsvg_{train,val,test}.jsonl, read as there. RSVG-HR
(LQVG's repository) has lines `image,x1,y1,x2,y2,expression`. Licence: not stated.

- The published loader of the lines takes the last of the parts that commas make as the expression, so that it loses
  the first half of a sentence with a comma; the whole sentence is kept here, and such lines are counted.
- Known mistakes of RSVG-HR: corners in another order (sorted, counted), boxes that reach out of the image (kept and
  counted; dropped where nothing of them lies inside), commas of another script (read as commas between numbers).
- Sizes of RSVG-HR are not documented: give the folder of its images.
"""

from __future__ import annotations

import re
from pathlib import Path

from georefer.errors import InputError
from georefer.scenes.interchange.files import read_text
from georefer.scenes.readers.base import Published, Source
from georefer.scenes.readers.common import MAX_RECORDS, UNNAMED, Gathering, box_shape, need_split
from georefer.scenes.readers.refgeo import read_file

_SPLITS = ("train", "val", "test")
_COMMA = re.compile(r"\s*[,\uff0c\u3001]\s*")


def read(path: str | Path, images: str | Path | None = None, split: str | None = None) -> Published:
    """The folder with the files of both kinds, or one of them; of one split where asked. See the module."""
    path, gathered = Path(path), Gathering("rsvg", images)
    files = [path] if path.is_file() else _files(path)
    found = {
        file: next((one for one in _SPLITS if one in re.split(r"[_.\-]", file.stem.lower())), None) for file in files
    }
    if path.is_dir():
        need_split(split, found.values(), path)
    for file, its in found.items():
        if path.is_dir() and split not in (None, its):
            continue
        if file.suffix == ".jsonl":
            read_file(file, "rsvg", its or split, gathered)
        else:
            _lines(file, its or split, gathered)
    return gathered.published(path)


def _files(path: Path) -> list[Path]:
    folders = [path, path / "metainfo"]
    files = [file for folder in folders for file in sorted(folder.glob("rsvg_*.jsonl"))]
    files = files or [file for split in _SPLITS for file in sorted(path.glob(f"*{split}*.txt"))]
    if not files:
        raise InputError(
            f"{path} holds neither rsvg_<split>.jsonl nor <split>.txt where RSVG is expected; name its folder"
        )
    return files


def _lines(file: Path, split: str | None, gathered: Gathering) -> None:
    for number, line in enumerate(read_text(file).split("\n"), 1):
        where = f"{file.name}, line {number}"
        if not line.strip():
            continue
        if number > MAX_RECORDS:
            raise InputError(f"{file} holds more than the {MAX_RECORDS:,} lines that are read; split it")
        parts = _COMMA.split(line.strip(), maxsplit=5)
        if len(parts) < 6 or not parts[5].strip():
            gathered.account.dropped.add("line without image, four numbers and an expression", where)
            continue
        name, *numbers, expression = parts
        shape, note = box_shape(numbers)
        key = None if shape is None else gathered.image(name, where)
        if shape is None:
            gathered.account.dropped.add(note, where)
        if shape is None or key is None:
            continue
        if note:
            gathered.account.changed.add(note, where)
        if "," in expression:
            gathered.account.changed.add("comma in the expression, which is kept whole", where)
        x1, y1, x2, y2 = shape.bounds
        width, height = gathered.size(key)
        if width is not None and height is not None and (x1 < 0 or y1 < 0 or x2 > width or y2 > height):
            if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
                gathered.account.dropped.add("box outside the image", where)
                continue
            gathered.account.changed.add("box that reaches out of the image, kept", where)
        own = gathered.add(key, shape, UNNAMED, "hbb")
        gathered.ask(
            f"{split or file.stem}/{number}", key, "rec", text=expression, object_ids=(own,), split=split,
            params={"expression": expression},
        )  # fmt: skip


SOURCE = Source(
    "rsvg",
    "the folder with rsvg_<split>.jsonl (refGeo's) or <split>.txt (RSVG-HR's), or one of these files",
    "not stated",
    read,
)
