"""refGeo: five visual grounding sets in one form (RSVG, DIOR-RSVG, GeoChat, VRSBench, AVVG), detection, and RRSIS-D.

Source: erenzhou/refGeo on the Hub (GeoGround, arXiv 2411.11904); no document describes the files, this is what public
loaders read. AVVG (623 pictures of a drone, 4000 x 2250) was published here; the others keep their own licences.

    metainfo/<subset>_<split>.jsonl    dataset, image_id, question, question_id, bbox [x1, y1, x2, y2], poly: a quad
    metainfo/avvg_detection_*.jsonl    image_id, question (a class, "red car"), poly: a list of quads [[x, y], ...]
    images/<subset>/                   masks/<subset>/<image stem>_<question_id>.png (from SAM, some are missing)

- Numbers are pixels. Images are named `<subset>/<image_id>`; give the folder `images/` for their sizes. GeoChat's ids
  say .jpg where the files are .png, AVVG's files are .JPG: a name takes the ending of the picture that is there.
- Records are wrapped over lines here and there. Polygons without area exist: the box stands in.
- In RSVG and DIOR-RSVG `poly` is the box again, so objects are boxes there; elsewhere they are oriented.
- GeoChat and VRSBench are split anew here, and lack the DIOR images that DIOR-RSVG tests on: numbers on them are not
  those of papers on the originals.
- AVVG's detection says some quads twice: equal quads of one class in one image are one object.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from georefer.errors import InputError
from georefer.geometry import Kind, Object
from georefer.scenes.interchange.base import Account, quad_corners, quad_shape, stem_of
from georefer.scenes.interchange.files import as_numbers
from georefer.scenes.readers.base import Asked, Published, Source
from georefer.scenes.readers.common import (
    UNNAMED,
    Gathering,
    box_numbers,
    box_shape,
    count_left_out,
    need_split,
    outline_shape,
    points_of,
    records,
    text_of,
    tidy,
    write_records,
)
from georefer.scenes.readers.pictures import inside

NOMINAL = {"rsvg": (1024, 1024), "dior_rsvg": (800, 800), "vrsbench": (512, 512), "avvg": (4000, 2250),
           "rrsisd": (800, 800)}  # fmt: skip
"""Sizes of the subsets' images; GeoChat's differ."""

BOXES_ONLY = ("rsvg", "dior_rsvg", "rrsisd")
"""Subsets whose `poly` only repeats the box."""

TOLERANCE_PX = 1.0
MAX_QUADS = 10_000

_NAME = re.compile(r"([A-Za-z0-9_-]{1,60})_(train|val|test)\.jsonl")


def read(path: str | Path, images: str | Path | None = None, split: str | None = None) -> Published:
    """The dataset's folder, its metainfo/, or one file of it; of one split where asked. See the module."""
    path, gathered = Path(path), Gathering("refgeo", images)
    for file, subset, its_split in _files(path, split):
        read_file(file, subset, its_split, gathered)
    return gathered.published(path)


def read_file(file: Path, subset: str, split: str | None, gathered: Gathering) -> None:
    """One file of a subset into what is being gathered."""
    is_detection = subset.endswith("_detection")
    name = subset.removesuffix("_detection")
    masks = file.parent.parent / "masks" / name
    for number, (where, row) in enumerate(records(file, gathered.account)):
        question = text_of(row.get("question"))
        if question is None:
            gathered.account.dropped.add("no question", where)
            continue
        folders = (name, f"{name}_{split}") if split else (name,)
        key = gathered.image(row.get("image_id"), where, nominal=NOMINAL.get(name), subfolders=folders)
        if key is None:
            continue
        id_ = row.get("question_id")
        own = str(id_) if isinstance(id_, int | str) and not isinstance(id_, bool) else str(number)
        params: dict[str, Any] = {"dataset": row.get("dataset", name), "subset": subset, "question_id": own}
        if is_detection:
            ids = _quads(row.get("poly"), question, key, where, gathered)
            params["class"] = question.strip().rstrip(".")
        else:
            ids = _object(row, name, key, where, gathered)
            params["expression"] = question
            if masks.is_dir():
                mask = f"{name}/{stem_of(key.removeprefix(name + '/'))}_{own}.png"
                found = inside(masks.parent, mask)
                params |= {"mask": mask} if found else {}
                if not found:
                    gathered.account.changed.add("mask file missing", where)
        if ids or is_detection:
            gathered.ask(
                f"{subset}_{split or 'all'}/{own}", key, "detection" if is_detection else "rec",
                text=question, object_ids=ids, params=params, split=split,
            )  # fmt: skip


def write(published: Published, path: str | Path) -> Account:
    """metainfo/<subset>_<split>.jsonl in a folder, or one file where `path` ends in .jsonl and one is enough."""
    path, account = Path(path), Account()
    files: dict[str, list[dict[str, Any]]] = {}
    count_left_out(published, account, keeps=("bbox",))
    for one in published.questions:
        image = published.images.get(one.image)
        if image is None or one.asks not in ("rec", "obb-rec", "res", "detection"):
            account.dropped.add("question that is not one of a place", one.id)
            continue
        things = list(image.objects.with_ids(one.object_ids))
        subset = one.params.get("subset") or ("avvg_detection" if one.asks == "detection" else "refgeo")
        row = _row(one, things, str(subset).removesuffix("_detection"), account)
        if row is not None:
            files.setdefault(f"{subset}_{one.split or 'train'}.jsonl", []).append(row)
            account.kept += 1
    if path.suffix == ".jsonl" and len(files) > 1:
        raise InputError(f"{path} is one file where {', '.join(files)} need one each; name a folder")
    for name, rows in files.items():
        write_records(path if path.suffix == ".jsonl" else path / "metainfo" / name, rows)
    return account


# --- reading --------------------------------------------------------------------------------------------------


def _files(path: Path, split: str | None) -> list[tuple[Path, str, str | None]]:
    if path.is_file():
        named = _NAME.fullmatch(path.name)
        if named and split not in (None, named.group(2)):
            need_split(split, [named.group(2)], path)
        return [(path, named.group(1), named.group(2)) if named else (path, "refgeo", split)]
    folder = path / "metainfo" if (path / "metainfo").is_dir() else path
    found = [(file, named) for file in sorted(folder.glob("*.jsonl")) if (named := _NAME.fullmatch(file.name))]
    if not found:
        raise InputError(f"{path} holds no metainfo/<subset>_<split>.jsonl where refGeo is expected; name its folder")
    need_split(split, [named.group(2) for _, named in found], path)
    return [(file, named.group(1), named.group(2)) for file, named in found if split in (None, named.group(2))]


def _object(row: dict[str, Any], subset: str, key: str, where: str, gathered: Gathering) -> tuple[str, ...]:
    """The object of one expression: its quad where that says more than the box does."""
    box, note = box_shape(row.get("bbox"))
    quad_42 = points_of(row.get("poly"))
    shape: shapely.Geometry | None = None
    kind: Kind = "obb"
    if subset not in BOXES_ONLY and quad_42 is not None:
        shape, kind, reason = _quad(quad_42, where, gathered)
        if shape is None and box is not None:
            gathered.account.changed.add(f"{reason}, box kept instead", where)
    if shape is None:
        shape, kind = box, "hbb"
        if box is not None and note:
            gathered.account.changed.add(note, where)
    if shape is None:
        gathered.account.dropped.add(note, where)
        return ()
    stated = as_numbers(row["bbox"]) if box is not None else None
    attributes = {}
    if stated is not None and kind != "hbb" and np.abs(stated - shape.bounds).max() > 0.01:
        attributes["bbox"] = stated.tolist()
    return (gathered.add(key, shape, UNNAMED, kind, attributes=attributes),)


def _quad(quad_42: np.ndarray, where: str, gathered: Gathering) -> tuple[shapely.Geometry | None, Kind, str]:
    shape, reason = outline_shape(quad_42.ravel().tolist())
    if shape is None or len(quad_42) != 4 or shape.area == 0:
        return (shape if shape is not None and shape.area else None), "polygon", reason or "outline without area"
    turned, kind, notes = quad_shape(quad_42, TOLERANCE_PX)
    for one in notes:
        gathered.account.changed.add(one, where)
    return turned, kind, ""


def _quads(polys: object, label: str, key: str, where: str, gathered: Gathering) -> tuple[str, ...]:
    """All objects of a class: `poly` is a list of quads, or one quad alone."""
    rows = polys if isinstance(polys, list) else []
    if points_of(rows) is not None:
        rows = [rows]
    ids = []
    for row in rows[:MAX_QUADS]:
        quad_42 = points_of(row)
        shape, kind, reason = (None, "obb", "no quad") if quad_42 is None else _quad(quad_42, where, gathered)
        if shape is None:
            gathered.account.dropped.add(reason, where)
        else:
            ids.append(gathered.add(key, shape, label.strip().rstrip("."), kind))
    if len(rows) > MAX_QUADS:
        gathered.account.dropped.add(f"more than {MAX_QUADS} quads in one record", where, len(rows) - MAX_QUADS)
    return tuple(dict.fromkeys(ids))


# --- writing --------------------------------------------------------------------------------------------------


def _row(one: Asked, things: list[Object], subset: str, account: Account) -> dict[str, Any] | None:
    quads = list(_written(things, one.id, account))
    name = one.image.removeprefix(f"{subset}/")
    id_ = str(one.params.get("question_id", one.id))
    own = int(id_) if id_.isascii() and id_.isdigit() and len(id_) < 18 and str(int(id_)) == id_ else id_
    row = {
        "dataset": one.params.get("dataset", subset),
        "image_id": name,
        "question": one.text or "",
        "question_id": own,
    }
    if one.asks == "detection":
        return {**row, "poly": quads}
    if len(quads) != 1:
        account.dropped.add(f"expression of {len(quads)} areas where one is written", one.id)
        return None
    if things[0].label != UNNAMED:
        account.changed.add("class left out", one.id)
    if things[0].kind == "hbb" and subset not in BOXES_ONLY:
        account.changed.add("box written as a quad, which reads as an oriented box", one.id)
    bbox = things[0].attributes.get("bbox") or box_numbers(things[0].geometry)
    return {**row, "bbox": [tidy(value) for value in bbox], "poly": quads[0]}


def _written(things: Iterable[Object], where: str, account: Account):
    for thing in things:
        corners_42, notes = quad_corners(thing.geometry, thing.kind)
        if corners_42 is None:
            account.dropped.add(f"a {thing.kind} has no area to write", where)
            continue
        for note in notes:
            account.changed.add(note, where)
        yield [[tidy(value) for value in pair] for pair in corners_42.tolist()]


SOURCE = Source(
    "refgeo",
    "the folder with metainfo/, that folder, or one <subset>_<split>.jsonl of it",
    "of each subset its own; AVVG's is not stated",
    read,
    write,
)
