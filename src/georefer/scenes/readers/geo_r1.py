"""Geo-R1's few-shot sets: VRSBench-FS (a box), EarthReason-FS (a mask), NWPU-FS (all objects of a class).

Source: github.com/Geo-R1/geo-r1 at c2f2131, run_scripts/; arXiv 2509.21976. Licence: the repository states none; the
images keep those of VRSBench, EarthReason and NWPU VHR-10.

    REC    a JSON array or lines of {image, problem, solution [x1, y1, x2, y2], is_unique}
    GRES   lines of {id, image, mask, problem, category, bbox_list [[x1, y1, x2, y2], ...]}
    OVD    annotations*.json (COCO) beside nwpu_exist_cat.json {image id: [class names]}

- Numbers are pixels of the original image. The files hold no sizes, and the same form carries images of several
  datasets (also DIOR-RSVG, RRSIS-D), so a size is known only where `images` holds the picture.
- Paths of `image` and `mask` may be absolute ones of the authors' machine: the file name is kept, and counted.
- GRES: the mask is taken where the folder `masks` holds it, else the boxes. An empty `bbox_list` says that nothing is
  there; the published score then gives 0 to everybody.
- OVD asks of each image only for classes that are in it: there is no question whose answer is "none". Without
  nwpu_exist_cat.json the classes of the annotations are asked for, which is the same where the two agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import shapely

from georefer.errors import InputError
from georefer.scenes.interchange import coco
from georefer.scenes.interchange.base import Account
from georefer.scenes.interchange.files import load_json
from georefer.scenes.readers.base import Asked, Published, Source, opened
from georefer.scenes.readers.common import (
    UNNAMED,
    Gathering,
    box_numbers,
    box_shape,
    count_left_out,
    head_of,
    records,
    text_of,
    tidy,
    write_records,
)
from georefer.scenes.readers.pictures import inside, read_mask

REC_LEAD = "Please provide the bounding box coordinate of the region this sentence describes: "
EXISTING = "nwpu_exist_cat.json"
MAX_BOXES = 1_000

FoundMask = tuple[shapely.Geometry | None, str]
"""A mask's outline, or None and why there is none ("": it has no pixels, which is how files say "nothing")."""


def read(
    path: str | Path,
    images: str | Path | None = None,
    split: str | None = None,
    *,
    masks: str | Path | None = None,
) -> Published:
    """One file of the three forms, or the folder with COCO annotations; `split` names what the file is of."""
    path = opened(path, "annotations*.json", "*.jsonl", "*.json")
    gathered = Gathering("geo-r1", images)
    if not _is_coco(path):
        for number, (where, row) in enumerate(records(path, gathered.account)):
            add_named_row(row, number, where, split, None if masks is None else Path(masks), gathered)
        return gathered.published(path)
    _detection(path, split, gathered)
    return gathered.published(path)


def write(published: Published, path: str | Path) -> Account:
    """One file: lines where its name ends in .jsonl, else an array. Boxes for "rec", box lists for "res" questions.

    COCO's form is not written here but by `georefer.scenes.interchange.coco`.
    """
    path, account = Path(path), Account()
    rows: list[dict[str, Any]] = []
    kinds = {one.asks for one in published.questions if one.asks in ("rec", "obb-rec", "res")}
    if "res" in kinds and len(kinds) > 1:
        raise InputError(f"{path} would hold boxes and masks where a file holds one of the two; write them apart")
    count_left_out(published, account)
    for one in published.questions:
        row = _written(one, published, account)
        if row is None:
            continue
        if "id" not in row and one.id != str(len(rows)):
            account.changed.add("id left out", one.id)
        rows.append(row)
        account.kept += 1
    write_records(path, rows)
    return account


# --- reading --------------------------------------------------------------------------------------------------


def _is_coco(path: Path) -> bool:
    head = head_of(path)
    return path.suffix == ".json" and head.startswith(b"{") and b'"problem"' not in head


def add_named_row(
    row: Mapping[str, Any], number: int, where: str, split: str | None, masks: Path | None, gathered: Gathering
) -> None:
    """One row that names its image, and its mask in the folder `masks`, if there is one."""
    if text_of(row.get("problem")) is None or not {"solution", "bbox_list", "mask"} & set(row):
        return gathered.account.dropped.add("no problem, or neither solution nor bbox_list nor mask", where)
    key = gathered.image(_own_name(row.get("image"), where, gathered), where)
    if key is None:
        return None
    mask: FoundMask | None = None
    if masks is not None and "solution" not in row and text_of(row.get("mask")):
        name = str(_own_name(row["mask"], where, gathered))
        mask = read_mask(inside(masks, name), gathered.size(key))
    return add_row(row, number, key, where, split, mask, gathered)


def add_row(
    row: Mapping[str, Any], number: int, key: str, where: str, split: str | None, mask: FoundMask | None,
    gathered: Gathering,
) -> None:  # fmt: skip
    """One row of REC or GRES on a known image. `mask` is its outline, or None with the reason; None: it has none."""
    problem = text_of(row.get("problem"))
    if problem is None or not {"solution", "bbox_list", "mask"} & set(row):
        return gathered.account.dropped.add("no problem, or neither solution nor bbox_list nor mask", where)
    label = text_of(row.get("category")) or UNNAMED
    id_ = row.get("id")
    own = str(id_) if isinstance(id_, int | str) else str(number)
    if "solution" in row:
        shape, note = box_shape(row["solution"])
        if shape is None:
            return gathered.account.dropped.add(note, where)
        if note:
            gathered.account.changed.add(note, where)
        params = {"expression": problem.removeprefix(REC_LEAD), "is_unique": row.get("is_unique")}
        ids = (gathered.add(key, shape, label, "hbb"),)
        return gathered.ask(own, key, "rec", text=problem, object_ids=ids, params=params, split=split)
    found = _areas(row, key, label, where, mask, gathered)
    if found is None:
        return None
    params = {name: row[name] for name in ("mask", "category", "bbox_list") if row.get(name) is not None}
    return gathered.ask(own, key, "res", text=problem, object_ids=found, params=params, split=split)


def _areas(
    row: Mapping[str, Any], key: str, label: str, where: str, mask: FoundMask | None, gathered: Gathering
) -> tuple[str, ...] | None:
    """The objects that answer: the mask's, else the boxes'; None where neither can be used."""
    if mask is not None:
        shape, reason = mask
        if shape is not None:
            return (gathered.add(key, shape, label, "mask"),)
        if not reason:
            return ()
        gathered.account.changed.add(f"{reason}, boxes kept instead", where)
    boxes = row.get("bbox_list")
    if not isinstance(boxes, list) or len(boxes) > MAX_BOXES:
        gathered.account.dropped.add(f"bbox_list is no list of at most {MAX_BOXES} boxes", where)
        return None
    ids = []
    for box in boxes:
        shape, note = box_shape(box)
        if shape is None:
            gathered.account.dropped.add(note, where)
        else:
            ids.append(gathered.add(key, shape, label, "hbb"))
    # a question all of whose boxes are bad would become one for nothing
    return tuple(dict.fromkeys(ids)) if ids or not boxes else None


def _own_name(name: object, where: str, gathered: Gathering) -> object:
    """The last part of an absolute path, which is somebody else's folder; other names as they are."""
    if isinstance(name, str) and re.match(r"/|[A-Za-z]:[\\/]", name):
        gathered.account.changed.add("path of another machine, its file name kept", where)
        return PurePosixPath(name.replace("\\", "/")).name
    return name


def _detection(path: Path, split: str | None, gathered: Gathering) -> None:
    found = coco.read(path)
    for mine, its in (
        (gathered.account.dropped, found.account.dropped),
        (gathered.account.changed, found.account.changed),
    ):
        mine.counts.update(its.counts)
        mine.examples.update(its.examples)
    existing = _existing(path.with_name(EXISTING))
    for image in found:
        key = gathered.image(image.file_name, path.name, size=(image.width, image.height), attributes=image.attributes)
        if key is None:
            continue
        ids: dict[str, list[str]] = {}
        for thing in image.objects:
            own = gathered.add(key, thing.geometry, thing.label, thing.kind, id=thing.id, attributes=thing.attributes)
            ids.setdefault(thing.label, []).append(own)
        own_id = str(image.attributes.get("id"))
        for label in ids if existing is None else existing.get(own_id, ()):
            if label not in found.classes:
                gathered.account.dropped.add("class that the annotations do not know", f"{own_id}: {label[:60]}")
                continue
            gathered.ask(
                f"{own_id}/{label}", key, "detection", object_ids=tuple(ids.get(label, ())), split=split,
                params={"class": label},
            )  # fmt: skip


def _existing(path: Path) -> dict[str, list[str]] | None:
    """The classes to ask for, by image id."""
    if not path.is_file():
        return None
    data = load_json(path)
    if not isinstance(data, dict):
        raise InputError(f"{path} holds no object of lists of class names by image id; fetch it again")
    return {
        id_: list(dict.fromkeys(name for name in names if isinstance(name, str)))
        for id_, names in data.items()
        if isinstance(names, list)
    }


# --- writing --------------------------------------------------------------------------------------------------


def _written(one: Asked, published: Published, account: Account) -> dict[str, Any] | None:
    image = published.images.get(one.image)
    if image is None or one.asks not in ("rec", "obb-rec", "res"):
        account.dropped.add(f"question that asks for {one.asks}", one.id)
        return None
    things = [thing for thing in image.objects.with_ids(one.object_ids) if shapely.get_dimensions(thing.geometry) == 2]
    boxes = [box_numbers(thing.geometry) for thing in things]
    if one.asks == "res":
        said = one.params.get("bbox_list")
        category = one.params.get("category") or next((thing.label for thing in things), "")
        mask = one.params.get("mask") or f"masks/{one.id}.png"
        if any(thing.kind in ("mask", "polygon") for thing in things):
            account.changed.add("outline left to the mask's file, which is not written", one.id)
        return {"id": one.id, "image": one.image, "mask": mask, "problem": one.text or "", "category": category,
                "bbox_list": said if isinstance(said, list) else boxes}  # fmt: skip
    if len(boxes) != 1:
        account.dropped.add(f"expression of {len(boxes)} areas where one is written", one.id)
        return None
    if things[0].label != UNNAMED:
        account.changed.add("class left out", one.id)
    if things[0].kind != "hbb":
        account.changed.add("shape written as its box", one.id)
    expression = str(one.params.get("expression", one.text or ""))
    problem = one.text if published.name == "geo-r1" and one.text else REC_LEAD + expression
    unique = one.params.get("is_unique")
    if unique is None:
        account.changed.add("not known whether unique, written as not", one.id)
    return {"image": one.image, "problem": problem, "solution": [tidy(value) for value in boxes[0]],
            "is_unique": bool(unique)}  # fmt: skip


SOURCE = Source(
    "geo-r1",
    "a file of REC (JSON) or GRES (JSON lines) rows, or the folder with COCO annotations and nwpu_exist_cat.json",
    "not stated; images as in VRSBench, EarthReason and NWPU VHR-10",
    read,
    write,
)
