"""STAR: objects of 48 classes in large satellite images, and triplets of 58 predicates between them.

    train/img/0505.png
    train/object-json/0505.json    labelme: {"imagePath", "imageWidth", "imageHeight",
                                             "shapes": [{"label", "group_id", "points": [[x, y] x 4]}]}
    train/relationship/0505.csv    a head line with subject, subject_ID, relationship, object, object_ID

Source: the release on the hub (Zhuzi24/STAR), as loaders of other projects read it, and github.com/Zhuzi24/SGG-ToolKit
(whose own HDF5 file holds the same, resized). The numbers of classes and predicates differ between projects and change
from 32 on: everything is keyed by name here, and names are mended (`concrere`, `dianmond`, spaces and hyphens).

- An object's id is its `group_id`, which the triplets name. Where shapes share one, the class in the triplet says which
  is meant; what is left is related as the published loader does it, each with each, and counted.
- *Relations*: `LabelledImage.attributes["relations"]` is a list of [subject id, predicate, object id], as the file
  has them. A triplet whose ends are missing, or whose predicate is none of the 58, is dropped and counted.
- Four corners within `tolerance_px` of a rectangle are an OBB; they carry no front.
- Nothing is asked in these files: there are no questions.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shapely

from georefer.errors import InputError
from georefer.scenes.interchange.base import Account, LabelledImage, Rows, plain, quad_corners, quad_shape
from georefer.scenes.interchange.files import (
    as_side,
    as_whole,
    label_files,
    label_paths,
    load_json,
    read_each,
    read_text,
    required_name,
    safe_name,
    write_text,
)
from georefer.scenes.readers.base import Published, Source
from georefer.scenes.readers.common import points_of
from georefer.scenes.readers.gathering import HeaderSizes

CLASSES = (
    "airplane", "boat", "taxiway", "boarding_bridge", "tank", "ship", "crane", "car", "apron", "dock", "storehouse",
    "goods_yard", "truck", "terminal", "runway", "breakwater", "car_parking", "bridge", "cooling_tower",
    "truck_parking", "chimney", "vapor", "coal_yard", "genset", "smoke", "gas_station", "lattice_tower", "substation",
    "containment_vessel", "flood_dam", "ship_lock", "gravity_dam", "arch_dam", "cement_concrete_pavement", "toll_gate",
    "tower_crane", "engineering_vehicle", "unfinished_building", "foundation_pit", "wind_mill", "intersection",
    "roundabout", "ground_track_field", "soccer_ball_field", "basketball_court", "tennis_court", "baseball_diamond",
    "stadium",
)  # fmt: skip
"""Names in the order of FIT-RS; the toolkit's own order differs."""

PREDICATES = (
    "over", "not co-storage with", "connect", "parallelly parked on", "intersect", "co-storage with", "converge",
    "parallelly docked at", "adjacent", "within safe distance of", "through", "approach", "away from",
    "randomly parked on", "run along", "isolatedly parked on", "around", "randomly docked at", "drive off",
    "drive toward", "within danger distance of", "supply to", "isolatedly docked at", "pass across", "not run along",
    "slightly emit", "exhaust to", "violently emit", "incorrectly parked on", "pass under",
    "directly transmit electricity to", "indirectly transmit electricity to", "pass through", "within same line of",
    "within different line of", "directly connected to", "indirectly connected to",
    "driving in the same direction with", "driving in the opposite direction with", "driving alongside with",
    "driving in the same lane with", "driving in the different lane with", "working on", "not working on",
    "parked alongside with", "not parked alongside with", "in the same parking with", "in the different parking with",
    "parking in the same apron with", "parking in the different apron with", "running along the same taxiway with",
    "running along the different taxiway with", "running along the different runway with",
    "docking at the same breakwater with", "docking at the same dock with", "docking at the different dock with",
    "docked alongside with", "not docked alongside with",
)  # fmt: skip
"""Names in the order of FIT-RS."""

MAX_RELATIONS = 1_000_000
"""Triplets of one image at most: the largest has some ten thousand."""

_TYPOS = {"cement_concrere_pavement": "cement_concrete_pavement", "baseball_dianmond": "baseball_diamond"}
_COLUMNS = ("subject", "subject_ID", "relationship", "object", "object_ID")
_SEPARATORS = re.compile(r"[\s_-]+")
_PREDICATES = {_SEPARATORS.sub(" ", name): name for name in PREDICATES}
_SPLITS = ("train", "val", "test")


def class_name(said: str) -> str:
    """A class as FIT-RS spells it; names that are none of the 48 come back in the same form."""
    name = _SEPARATORS.sub("_", said.strip().lower())
    return _TYPOS.get(name, name)


def predicate_name(said: str) -> str | None:
    """A predicate as FIT-RS spells it, or None if it is none of the 58."""
    return _PREDICATES.get(_SEPARATORS.sub(" ", said.strip().lower()))


def read(
    path: str | Path, images: str | Path | None = None, split: str | None = None, *, tolerance_px: float = 1.0
) -> Published:
    """The folder of a split (with `object-json`), one that holds train, val and test, or one object file.

    Of several splits `split` picks one; the image's attribute "split" says which it belongs to.
    """
    path, account = Path(path), Account()
    found: list[LabelledImage] = []
    for name, objects in _folders(path, split):
        found += _read_folder(objects, images, name, tolerance_px, account)
    known: dict[str, LabelledImage] = {}
    for image in found:
        if image.file_name in known:
            account.changed.add("image in several splits, the first counts", image.file_name)
        known.setdefault(image.file_name, image)
    return Published("STAR", known, (), account)


def _folders(path: Path, split: str | None) -> list[tuple[str | None, Path]]:
    """(split, where its objects lie)."""
    if path.is_dir():
        inside = [(name, path / name / "object-json") for name in _SPLITS if (path / name / "object-json").is_dir()]
        if inside and split is not None:
            inside = [(name, folder) for name, folder in inside if name == split]
            if not inside:
                raise InputError(f"{path} holds no split {split!r} with object-json; name one of those that are there")
        if inside:
            return list(inside)
        if (path / "object-json").is_dir():
            return [(split or (path.name if path.name in _SPLITS else None), path / "object-json")]
    return [(split, path)]


def _read_folder(path: Path, images, split: str | None, tolerance_px: float, account: Account) -> list[LabelledImage]:
    folder = path if path.is_dir() else path.parent
    beside = folder.parent / "img"
    sizes = HeaderSizes(images if images is not None else beside if beside.is_dir() else None)

    def one(stem: str, file: Path) -> LabelledImage | None:
        said = load_json(file)
        if not isinstance(said, dict) or not isinstance(said.get("shapes"), list):
            raise InputError(
                f'{file} is no labelme file with "shapes" where STAR\'s objects are expected; check the path'
            )
        name = safe_name(stem + ".png")
        if name is None:
            account.dropped.add("image name leads out of its folder", file.name)
            return None
        rows = Rows(account)
        ends: list[tuple[int | None, str]] = []
        for number, shape in enumerate(said["shapes"]):
            _object(shape, f"{file.name}, shape {number}", rows, ends, tolerance_px)
        objects = rows.objects()
        # ids are settled only now: a group that comes twice got a free number
        groups: dict[int, list[tuple[str, str]]] = {}
        for id, (group, label) in zip(objects.ids_N, ends, strict=True):
            if group is not None:
                groups.setdefault(group, []).append((str(id), label))
        attributes: dict[str, Any] = {"split": split} if split else {}
        relations = folder.parent / "relationship" / f"{stem}.csv"
        if relations.is_file() and relations.resolve().is_relative_to(folder.parent.resolve()):
            attributes["relations"] = list(_relations(relations, groups, account))
        width, height = sizes(name) or (as_side(said.get("imageWidth")), as_side(said.get("imageHeight")))
        return LabelledImage(name, width, height, objects, attributes)

    return list(read_each(path, label_files(path, ".json", account), one, account))


def _object(shape: Any, where: str, rows: Rows, said: list[tuple[int | None, str]], tolerance_px: float) -> None:
    dropped = rows.account.dropped
    if not isinstance(shape, dict) or not isinstance(shape.get("label"), str) or not shape["label"].strip():
        return dropped.add("no class name", where)
    corners_42 = points_of(shape.get("points"))
    if corners_42 is None or len(corners_42) != 4:
        return dropped.add("not four corners", where)
    if shapely.convex_hull(shapely.MultiPoint(corners_42)).area == 0:
        return dropped.add("no area", where)
    label = class_name(shape["label"])
    if label not in CLASSES:
        rows.account.changed.add("class is none of STAR's 48, kept", where)
    elif label != shape["label"]:
        rows.account.changed.add("class spelled otherwise, mended", where)
    geometry, kind, notes = quad_shape(corners_42, tolerance_px)
    for note in notes:
        rows.account.changed.add(note, where)
    group = as_whole(shape.get("group_id"))
    said.append((group, label))
    return rows.add(geometry, label, kind, id=None if group is None else str(group))


def _relations(path: Path, groups: dict[int, list[tuple[str, str]]], account: Account) -> Iterator[list[str]]:
    lines = csv.DictReader(io.StringIO(read_text(path)))
    kept = 0
    try:
        if missing := [name for name in _COLUMNS if name not in (lines.fieldnames or ())]:
            account.dropped.add(f"relation file without the columns {', '.join(missing)}", path.name)
            return
        for number, row in enumerate(lines, 2):
            for triplet in _triplets(row, f"{path.name}:{number}", groups, account):
                if kept >= MAX_RELATIONS:
                    account.dropped.add(f"more than {MAX_RELATIONS:,} relations of one image", path.name)
                    return
                kept += 1
                yield triplet
    except csv.Error as error:
        account.dropped.add(f"relation file that is no CSV from here on ({error})", path.name)


def _triplets(row: dict[str, Any], where: str, groups, account: Account) -> list[list[str]]:
    predicate = predicate_name(row["relationship"] or "")
    if predicate is None:
        account.dropped.add("relation: predicate is none of STAR's 58", where)
        return []
    ends = []
    for role in ("subject", "object"):
        group = as_whole(row[f"{role}_ID"] or "")
        members = groups.get(group, []) if group is not None else []
        named = [id for id, label in members if label == class_name(row[role] or "")]
        if not named:
            account.dropped.add(f"relation: no {role} of this id and class", where)
            return []
        if len(named) > 1:
            account.changed.add("relation names an id of several objects, taken for each", where)
        ends.append(named)
    return [[subject, predicate, object_] for subject in ends[0] for object_ in ends[1]]


# --- writing --------------------------------------------------------------------------------------------------


def write(published: Published, path: str | Path, *, decimals: int = 2) -> Account:
    """`object-json` and `relationship` in the folder `path`, for images with whole numbers as objects' ids or any."""
    images, account = list(published.images.values()), Account()
    path = Path(path)
    objects = label_paths(images, path / "object-json", ".json")
    for image, file, table in zip(images, objects, label_paths(images, path / "relationship", ".csv"), strict=True):
        groups, shapes = {}, []
        taken = {number for one in image.objects if (number := as_whole(one.id)) is not None}
        free = iter(number for number in range(2 * len(image.objects) + 1) if number not in taken)
        for one in image.objects:
            corners_42, notes = quad_corners(one.geometry, one.kind)
            if corners_42 is None:
                account.dropped.add(f"a {one.kind} has no corners to write", f"{image.file_name}, object {one.id}")
                continue
            for note in notes:
                account.changed.add(note, f"{image.file_name}, object {one.id}")
            number = as_whole(one.id)
            groups[one.id] = (next(free) if number is None else number, one.label)
            points = [[float(plain(value, decimals)) for value in point] for point in corners_42]
            shapes.append(
                {"label": one.label, "points": points, "group_id": groups[one.id][0], "shape_type": "polygon"}
            )
            account.kept += 1
        said = {"shapes": shapes, "imagePath": required_name(image), "imageData": None,
                "imageHeight": image.height, "imageWidth": image.width}  # fmt: skip
        write_text(file, json.dumps(said, ensure_ascii=False) + "\n")
        write_text(table, _table(image, groups, account))
    return account


def _table(image: LabelledImage, groups: dict[str, tuple[int, str]], account: Account) -> str:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    for subject, predicate, object_ in image.attributes.get("relations", ()):
        if subject not in groups or object_ not in groups:
            account.dropped.add("relation: an end is not written", image.file_name)
            continue
        (subject_id, subject_label), (object_id, object_label) = groups[subject], groups[object_]
        rows.writerow([subject_label, subject_id, predicate, object_label, object_id])
    return text.getvalue()


SOURCE = Source(
    "star",
    "the folder of a split with object-json and relationship, or the one that holds train, val and test",
    "CC-BY-NC-4.0 by the publisher; images: academic use",
    read,
    write,
)
