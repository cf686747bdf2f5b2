"""What a build left out: counts by rule, by layer, kinds of problems from the manifest, and pictures of examples.

A dataset may come from anywhere, so what has not the expected form is passed over and no file outside it is read.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from georefer.errors import RasterError
from georefer.evaluation.inspect_scene import data_uri
from georefer.evaluation.inspect_tables import batches, rows_of, scenes_at
from georefer.imagery.encode import decode_image
from georefer.scenes import Dataset

EXAMPLES = 4
"""Examples of a rule that are shown."""

MAX_RULES = 100
MAX_SCENES = 2_000
"""Scenes of a split in which examples are looked for."""

MARGIN_PX = 24
"""Pixels of the scene around a dropped object, at least; more for one with a longer side."""

MAX_PICTURE_BYTES = 8 << 20
MAX_LINES = 200
MAX_AREAS = 12
"""Areas whose registration is shown."""

_COUNT = re.compile(r"([^:]{1,100}): (.{1,300})")
_DROPPED = re.compile(r"(\w+) dropped, (.+)")


@dataclass(frozen=True)
class Table:
    """Counts with the names of rows and columns; None where there is no count."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int | None, ...]], ...]


@dataclass(frozen=True)
class Example:
    """A dropped object: a crop of the scene, and its box (x, y, width, height) in the crop's pixels."""

    rule: str
    label: str
    scene: str
    picture: str
    size: tuple[int, int]
    box: tuple[float, float, float, float]


def tables(manifest: Mapping[str, Any]) -> list[Table]:
    """What was dropped by rule and split, what was kept, and what was read of each layer; empty ones are left out."""
    counts = _counts(manifest.get("counts"))
    dropped = {key: n for key, n in counts.items() if _DROPPED.fullmatch(key[1])}
    kept = {key: n for key, n in counts.items() if key not in dropped}
    splits = [s for s in manifest.get("splits", {}) if any(s == split for split, _ in counts)]
    layers = _counts(manifest.get("features"))
    found = [
        _table("Dropped, by rule", {(rule, split): n for (split, rule), n in dropped.items()}, splits),
        _table("Kept", {(what, split): n for (split, what), n in kept.items()}, splits),
        _table("Features read, by layer", layers, list(dict.fromkeys(what for _, what in layers))),
    ]
    return [table for table in found if table.rows]


def _counts(given: Any) -> dict[tuple[str, str], int]:
    """Counts by what stands before and after the colon of their names."""
    matches = {_COUNT.fullmatch(str(key)): n for key, n in given.items()} if isinstance(given, dict) else {}
    return {(m[1], m[2]): n for m, n in matches.items() if m and isinstance(n, int)}


def _table(title: str, counts: Mapping[tuple[str, str], int], columns: list[str]) -> Table:
    columns += [c for c in dict.fromkeys(column for _, column in counts) if c not in columns]
    names = list(dict.fromkeys(row for row, _ in counts))
    names.sort(key=lambda name: -sum(counts.get((name, c), 0) for c in columns))
    rows = [(name, tuple(counts.get((name, column)) for column in columns)) for name in names[:MAX_LINES]]
    return Table(title, tuple(columns), tuple(rows))


def plain_lines(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Nested JSON values as (name, value) lines, for reports whose form is their own; at most `MAX_LINES`."""
    lines: list[tuple[str, str]] = []
    stack = [(name, value)]
    while stack and len(lines) < MAX_LINES:
        name, value = stack.pop()
        if isinstance(value, dict):
            stack += [(f"{name}, {key}".strip(", ")[:200], value[key]) for key in reversed(list(value)[:MAX_LINES])]
        elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value[:MAX_LINES]):
            stack += [(name, inner) for inner in reversed(value[:MAX_LINES])]
        elif value not in ({}, [], None, ""):
            said = ", ".join(map(str, value[:20])) if isinstance(value, list) else str(value)
            lines.append((name, said[:500]))
    return lines


# --- pictures -------------------------------------------------------------------------------------------------


def examples(dataset: Dataset) -> list[Example]:
    """At most `EXAMPLES` dropped objects of each rule, from what scenes say in their provenance under "dropped".

    Those of the first scenes of each split: a rule that comes up later only is counted, not shown.
    """
    found = []
    seen: Counter[str] = Counter()
    for split in dataset.manifest["splits"]:
        wanted: dict[str, list[Dropped]] = {}
        for id_, dropped in _dropped(dataset, split):
            if seen[dropped.rule] < EXAMPLES and (dropped.rule in seen or len(seen) < MAX_RULES):
                seen[dropped.rule] += 1
                wanted.setdefault(id_, []).append(dropped)
        for scene in scenes_at(dataset, split, rows_of(dataset, split, wanted).values()):
            found += [_example(scene.id, dropped, scene.pixels()) for dropped in wanted[scene.id]]
    return sorted(found, key=lambda example: (example.rule, example.scene))


class Dropped(NamedTuple):
    """An object of a scene that is not asked about, its box in the scene's pixels."""

    label: str
    rule: str
    x1: float
    y1: float
    x2: float
    y2: float


def _dropped(dataset: Dataset, split: str) -> Iterator[tuple[str, Dropped]]:
    rows = (row for batch in batches(dataset, "scenes", split, ["id", "provenance"]) for row in batch.to_pylist())
    for row in islice(rows, MAX_SCENES):
        said = json.loads(row["provenance"])
        listed = said.get("dropped") if isinstance(said, dict) else None
        for entry in listed if isinstance(listed, list) else ():
            if _is_whole(entry):
                yield row["id"], Dropped(*entry)


def _is_whole(entry: Any) -> bool:
    if not isinstance(entry, list) or len(entry) != 6 or not all(isinstance(text, str) for text in entry[:2]):
        return False
    box = entry[2:]
    is_plain = all(isinstance(v, int | float) and abs(v) < 1e6 for v in box)
    return is_plain and box[0] <= box[2] and box[1] <= box[3]


def _example(scene: str, dropped: Dropped, image_HW3: np.ndarray) -> Example:
    height, width = image_HW3.shape[:2]
    label, rule, x1, y1, x2, y2 = dropped
    side = int(max(x2 - x1, y2 - y1) + 2 * max(MARGIN_PX, x2 - x1, y2 - y1))
    (left, right), (top, bottom) = (
        _span((low + high) / 2, side, end) for low, high, end in ((x1, x2, width), (y1, y2, height))
    )
    crop_HW3 = image_HW3[top:bottom, left:right]
    return Example(
        rule, label, scene,
        data_uri(crop_HW3, is_exact=crop_HW3.size < 200_000),
        (right - left, bottom - top), (x1 - left, y1 - top, x2 - x1, y2 - y1),
    )  # fmt: skip


def _span(middle: float, side: int, end: int) -> tuple[int, int]:
    """So many pixels around a middle, moved to where the scene has pixels."""
    side = min(side, end)
    begin = int(min(max(0, middle - side / 2), end - side))
    return begin, begin + side


def registration(dataset: Dataset) -> tuple[list[tuple[str, str]], list[str]]:
    """The estimates of how far labels lie from the imagery, area by area, in lines; their pictures as data URIs."""
    given = dataset.manifest.get("registration")
    areas = given if isinstance(given, dict) else {}
    if "picture" in areas or "regions" in areas:
        areas = {"": areas}
    lines: list[tuple[str, str]] = []
    pictures = []
    for name, area in list(areas.items())[:MAX_AREAS]:
        if isinstance(area, dict):
            lines += plain_lines({k: v for k, v in area.items() if k not in ("picture", "by_region")}, str(name))
            picture = area.get("picture")
            pictures += [_stored_picture(dataset.folder, picture)] if isinstance(picture, str) else []
    return lines, [picture for picture in pictures if picture]


def _stored_picture(folder: Path, name: str) -> str:
    """A PNG or JPEG within the dataset's folder; nothing for anything else."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file() or path.stat().st_size > MAX_PICTURE_BYTES:
        return ""
    data = path.read_bytes()
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    try:
        decode_image(data)
    except RasterError:
        return ""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
