"""VRSBench: patches of DOTA and DIOR (512 pixels) with captions, referring sentences on boxes, and questions.

Source: xiang709/VRSBench on the Hub, github.com/lx709/VRSBench at d38cee1; arXiv 2406.12384. Licence: annotations
CC-BY-4.0; images of DOTA and DIOR, academic use only.

    Annotations_{train,val}/<patch>.json      image, caption, objects[obj_id, obj_cls, referring_sentence,
                                              obj_corner (8 parts of the side), obj_coord (4), is_unique, obj_position,
                                              obj_rel_position, obj_size, obj_rel_size, flag], qa_pairs[ques_id,
                                              question, type, answer]
    VRSBench_EVAL_{referring,vqa,Cap}.json    lists of image_id, question, ground_truth, dataset, question_id, type,
                                              and for sentences unique, obj_corner, obj_cls, obj_ids, size_group

- Boxes are parts of the side (0 to 1) and may reach over the image's edge; they are not cut.
- Objects from DIOR (patches named by digits) were made from horizontal boxes: they are boxes here. DOTA's are oriented.
- In the lists `ground_truth` is {<x1><y1><x2><y2>} in hundredths of the side, rounded down: a box of 5 pixels may
  vanish. The corners stand beside it in full; where they do not, the hundredths are taken, and counted.
- The lists write `unique` where the published metric asks for `is_unique`: both are read, and both are written.
- `obj_ids` is [0] in every row of the published lists: it says nothing, and is not kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from georefer.errors import InputError
from georefer.geometry import Kind, Object
from georefer.scenes.interchange.base import Account, LabelledImage, count_losses, quad_corners, quad_shape, stem_of
from georefer.scenes.interchange.files import as_numbers, label_files, read_text, required_name, storable, write_text
from georefer.scenes.readers.base import Asked, Published, Source
from georefer.scenes.readers.common import (
    UNNAMED,
    Gathering,
    box_shape,
    count_left_out,
    dumped,
    head_of,
    need_split,
    outline_shape,
    parsed,
    records,
    text_of,
    write_records,
)

SIDE_PX = 512
TOLERANCE_PX = 1.0
CAPTION = "Describe the image in detail"
SAID = ("is_unique", "obj_position", "obj_rel_position", "obj_size", "obj_rel_size", "flag")
"""What annotations say of an object, kept as attributes."""

MAX_ROWS = 10_000
"""Objects, and questions, of one patch."""

_SPLITS = ("train", "val", "test")
_DIOR = re.compile(r"[0-9]{4,6}_[0-9]{4}(?:\.\w+)?")
_HUNDREDTHS = re.compile(r"\{<(\d{1,3})><(\d{1,3})><(\d{1,3})><(\d{1,3})>\}")


def read(path: str | Path, images: str | Path | None = None, split: str | None = None) -> Published:
    """A folder of annotations (of one split where asked), one of them, or a list of VRSBench_EVAL_*. See the module."""
    path, gathered = Path(path), Gathering("vrsbench", images)
    if path.is_file() and head_of(path).startswith(b"["):
        ids: set[str] = set()
        for where, row in records(path, gathered.account):
            _eval_row(row, where, split, gathered, ids)
        return gathered.published(path)
    files = label_files(path, ".json", gathered.account)
    its = {file: next((s for s in _SPLITS if s in stem.lower().split("/")[0].split("_")), None) for stem, file in files}
    if path.is_dir():
        own = next((s for s in _SPLITS if s in path.name.lower().split("_")), None)
        its = {file: found or own for file, found in its.items()}
        need_split(split, its.values(), path)
    for _, file in files:
        if split in (None, its[file]) or path.is_file():
            _patch(file, its[file] or split, gathered)
    return gathered.published(path)


def write(published: Published, path: str | Path) -> Account:
    """Into a folder one annotation for each image; into a .json the list of questions that the metrics read."""
    path, account = Path(path), Account()
    if path.suffix == ".json":
        count_left_out(published, account, keeps=("is_unique", "obj_size"))
        rows = [_eval_written(one, published, number, account) for number, one in enumerate(published.questions)]
        write_records(path, [row for row in rows if row is not None], indent=4)
        return account
    asked: dict[str, list[Asked]] = {}
    written: set[Path] = set()
    for name, image in published.images.items():
        count_losses(account, name, image.objects, keeps=SAID, scores=False)
    for one in published.questions:
        asked.setdefault(one.image, []).append(one)
    for key, image in published.images.items():
        annotation = _annotation(image, asked.get(key, []), account)
        if annotation is not None:
            own = next((one.split for one in asked.get(key, []) if one.split), "train")
            file = path / f"Annotations_{own}" / f"{stem_of(required_name(image))}.json"
            if file in written:
                raise InputError(f"two images would share the annotation {file}; give them names that differ")
            written.add(file)
            write_text(file, dumped(annotation, indent=2))
    return account


# --- annotations ----------------------------------------------------------------------------------------------


def _patch(file: Path, split: str | None, gathered: Gathering) -> None:
    try:
        row = parsed(read_text(file))
    except (ValueError, InputError):
        return gathered.account.dropped.add("file that is no JSON", file.name)
    where = file.name
    if not isinstance(row, dict) or not any(key in row for key in ("objects", "caption", "qa_pairs")):
        return gathered.account.dropped.add("file without objects, caption or qa_pairs", where)
    key = _image(row.get("image") or f"{file.stem}.png", where, gathered)
    if key is None:
        return None
    for number, one in enumerate(_rows(row, "objects", where, gathered)):
        _annotated(one, number, key, f"{where}, object {number}", split, gathered)
    if caption := text_of(row.get("caption")):
        gathered.ask(f"{key}/caption", key, "caption", text=CAPTION, answer=caption, split=split)
    for number, one in enumerate(_rows(row, "qa_pairs", where, gathered)):
        question, answer = text_of(one.get("question")), one.get("answer")
        if question is None or not isinstance(answer, int | float | str):
            gathered.account.dropped.add("no question or no answer", f"{where}, question {number}")
            continue
        params = {name: one[name] for name in ("type", "ques_id") if name in one}
        gathered.ask(f"{key}/qa/{number}", key, "vqa", text=question, answer=str(answer), params=params, split=split)
    return None


def _image(name: object, where: str, gathered: Gathering) -> str | None:
    if isinstance(name, str) and "." not in name:
        name += ".png"
    stem = name.rsplit("/", 1)[-1] if isinstance(name, str) else ""
    source = "DIOR" if _DIOR.fullmatch(stem) else "DOTA"
    return gathered.image(name, where, nominal=(SIDE_PX, SIDE_PX), attributes={"source": source})


def _rows(row: Mapping[str, Any], name: str, where: str, gathered: Gathering) -> list[dict[str, Any]]:
    values = row.get(name)
    rows = values if isinstance(values, list) else []
    good = [one for one in rows[:MAX_ROWS] if isinstance(one, dict)]
    if len(good) < len(rows):
        gathered.account.dropped.add(f"{name} that are no JSON objects, or more than {MAX_ROWS}", where)
    return good


def _annotated(row: dict[str, Any], number: int, key: str, where: str, split, gathered: Gathering) -> None:
    shape, kind, reason = _shape(row, key, where, gathered)
    if shape is None:
        return gathered.account.dropped.add(reason, where)
    said = {name: row[name] for name in SAID if row.get(name) is not None and storable(row[name])}
    id_ = row.get("obj_id")
    own = str(id_) if isinstance(id_, int | str) else str(number)
    label = text_of(row.get("obj_cls")) or UNNAMED
    own = gathered.add(key, shape, label, kind, id=own, attributes=said)
    if sentence := text_of(row.get("referring_sentence")):
        params = {"expression": sentence, "class": label, "is_unique": row.get("is_unique")}
        gathered.ask(f"{key}/ref/{own}", key, "rec", text=sentence, object_ids=(own,), params=params, split=split)
    return None


def _shape(row: dict[str, Any], key: str, where: str, gathered) -> tuple[shapely.Geometry | None, Kind, str]:
    """Of the corners, else of the box; both are parts of the side."""
    side = gathered.size(key)
    corners, box = row.get("obj_corner"), row.get("obj_coord")
    corners_8 = as_numbers(corners) if isinstance(corners, list) and len(corners) == 8 else None
    if corners_8 is not None:
        corners_42 = corners_8.reshape(4, 2) * side
        ring, _ = outline_shape(corners_42.ravel().tolist())
        if ring is not None and ring.area > 0:
            return _of_corners(corners_42, key, where, gathered)
    box_4 = as_numbers(box) if isinstance(box, list) and len(box) == 4 else None
    if box_4 is None:
        return None, "hbb", "no corners with an area"
    shape, note = box_shape((box_4.reshape(2, 2) * side).ravel().tolist())
    if shape is not None:
        gathered.account.changed.add(note or "no corners with an area, box kept instead", where)
    return shape, "hbb", note


def _of_corners(
    corners_42: np.ndarray, key: str, where: str, gathered: Gathering
) -> tuple[shapely.Geometry, Kind, str]:
    around = shapely.box(*corners_42.min(axis=0), *corners_42.max(axis=0))
    if _DIOR.fullmatch(key.rsplit("/", 1)[-1]) and shapely.Polygon(corners_42).area >= around.area - 0.01:
        return around, "hbb", ""
    shape, kind, notes = quad_shape(corners_42, TOLERANCE_PX)
    for note in notes:
        gathered.account.changed.add(note, where)
    return shape, kind, ""


def _annotation(image: LabelledImage, asked: list[Asked], account: Account) -> dict[str, Any] | None:
    if image.width is None or image.height is None:
        account.dropped.add("image of unknown size", image.file_name, max(1, len(image.objects)))
        return None
    sentences = {id_: one for one in asked if one.asks in ("rec", "obb-rec") for id_ in one.object_ids}
    objects = []
    for thing in image.objects:
        corners = _corners(thing, image, account)
        if corners is None:
            continue
        said = {name: thing.attributes[name] for name in SAID if name in thing.attributes}
        if thing.id in sentences and sentences[thing.id].params.get("is_unique") is not None:
            said.setdefault("is_unique", sentences[thing.id].params["is_unique"])
        own = int(thing.id) if thing.id.isascii() and thing.id.isdigit() and len(thing.id) < 18 else thing.id
        sentence = {"referring_sentence": sentences[thing.id].text} if thing.id in sentences else {}
        xs, ys = corners[::2], corners[1::2]
        coord = [min(xs), min(ys), max(xs), max(ys)]
        objects.append(
            {"obj_id": own, "obj_cls": thing.label, **sentence, "obj_corner": corners, "obj_coord": coord, **said}
        )
        account.kept += 1
    pairs = [one for one in asked if one.asks in ("vqa", "presence", "choice")]
    caption = next((one.answer for one in asked if one.asks == "caption"), None)
    for one in asked:
        if one.asks not in ("rec", "obb-rec", "vqa", "presence", "choice", "caption"):
            account.dropped.add(f"question that asks for {one.asks}", one.id)
        elif one.asks in ("rec", "obb-rec") and sentences.get(next(iter(one.object_ids), "")) is not one:
            account.dropped.add("second sentence of an object, or one of several objects", one.id)
    qa_pairs = [
        {"ques_id": one.params.get("ques_id", number), "question": one.text, "type": one.params.get("type", ""),
         "answer": one.answer}
        for number, one in enumerate(pairs)
    ]  # fmt: skip
    head = {"image": image.file_name, **({"caption": caption} if caption else {})}
    return {**head, "objects": objects, "qa_pairs": qa_pairs}


def _corners(thing: Object, image: LabelledImage, account: Account) -> list[float] | None:
    corners_42, notes = quad_corners(thing.geometry, thing.kind)
    where = f"{image.file_name}, object {thing.id}"
    if corners_42 is None or image.width is None or image.height is None:
        account.dropped.add(f"a {thing.kind} without area, or in an image of unknown size", where)
        return None
    for note in notes:
        account.changed.add(note, where)
    if thing.kind == "hbb" and not _DIOR.fullmatch(image.file_name.rsplit("/", 1)[-1]):
        account.changed.add("box written by its corners, which read as an oriented box", where)
    return [round(value, 9) for value in (corners_42 / (image.width, image.height)).ravel().tolist()]


# --- lists for the metrics ------------------------------------------------------------------------------------


def _eval_row(row: dict[str, Any], where: str, split: str | None, gathered: Gathering, ids: set[str]) -> None:
    key = _image(row.get("image_id"), where, gathered)
    question, truth, kind = text_of(row.get("question")), row.get("ground_truth"), row.get("type")
    if key is None or question is None or not isinstance(truth, int | float | str):
        return None if key is None else gathered.account.dropped.add("no question or no ground truth", where)
    id_ = str(row.get("question_id", len(ids)))
    if id_ in ids:
        gathered.account.changed.add("id used twice in one file, kept", where)
    ids.add(id_)
    said = {name: row[name] for name in ("type", "dataset", "size_group") if row.get(name) is not None}
    if kind != "ref" and _HUNDREDTHS.fullmatch(str(truth)) is None:
        asks = "caption" if kind == "caption" else "vqa"
        return gathered.ask(id_, key, asks, text=question, answer=str(truth), params=said, split=split)
    shape: shapely.Geometry | None = None
    shape_kind: Kind = "hbb"
    if row.get("obj_corner") is not None:
        shape, shape_kind, _ = _shape({"obj_corner": row["obj_corner"]}, key, where, gathered)
    hundredths = _HUNDREDTHS.fullmatch(str(truth).replace(" ", ""))
    if shape is None and hundredths is not None:
        parts = [int(value) / 100 for value in hundredths.groups()]
        shape, _, _ = _shape({"obj_coord": parts}, key, where, gathered)
    if shape is None:
        return gathered.account.dropped.add("neither corners nor a box with an area", where)
    label = text_of(row.get("obj_cls")) or UNNAMED
    own = gathered.add(key, shape, label, shape_kind)
    unique = row.get("is_unique", row.get("unique"))
    params = {**said, "expression": question, "class": label, "is_unique": unique}
    return gathered.ask(
        id_, key, "rec", text=question, answer=str(truth), object_ids=(own,), params=params, split=split
    )


def _eval_written(one: Asked, published: Published, number: int, account: Account) -> dict[str, Any] | None:
    image = published.images.get(one.image)
    id_ = int(one.id) if one.id.isascii() and one.id.isdigit() and len(one.id) < 18 else number
    if str(id_) != one.id:
        account.changed.add("id replaced by its place", one.id)
    name = one.params.get("type") or {"rec": "ref", "obb-rec": "ref"}.get(one.asks, one.asks)
    row = {"image_id": one.image, "question": one.text, "ground_truth": one.answer,
           "dataset": one.params.get("dataset", "RSBench"), "question_id": id_, "type": name}  # fmt: skip
    if one.asks not in ("rec", "obb-rec"):
        if one.answer is None:
            account.dropped.add(f"question that asks for {one.asks} without an answer in words", one.id)
            return None
        account.kept += 1
        return row
    things = [] if image is None else list(image.objects.with_ids(one.object_ids))
    corners = _corners(things[0], image, account) if image is not None and len(things) == 1 else None
    if corners is None:
        account.dropped.add(f"sentence of {len(things)} objects where one is written", one.id)
        return None
    account.kept += 1
    unique = one.params.get("is_unique")
    size = one.params.get("size_group", things[0].attributes.get("obj_size", ""))
    return {**row, "ground_truth": _hundredths(corners), "unique": unique, "is_unique": unique, "obj_corner": corners,
            "obj_cls": things[0].label, "obj_ids": [0], "size_group": size}  # fmt: skip


def _hundredths(corners: list[float]) -> str:
    xs, ys = corners[::2], corners[1::2]
    edges = (max(min(xs), 0), max(min(ys), 0), min(max(xs), 1), min(max(ys), 1))
    return "{" + "".join(f"<{int(100 * edge)}>" for edge in edges) + "}"


SOURCE = Source(
    "vrsbench",
    "a folder of annotations (one JSON a patch), one of them, or a list VRSBench_EVAL_*.json",
    "annotations CC-BY-4.0; images of DOTA and DIOR, academic use only",
    read,
    write,
)
