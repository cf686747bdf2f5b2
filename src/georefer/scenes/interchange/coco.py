"""COCO JSON: images, categories and annotations in one file; and the list of scored results beside it.

Source: cocodataset.org/#format-data and #format-results; behaviour of pycocotools 2.0.

- `bbox` is [x, y, width, height]: the outer top-left corner in continuous pixels and sizes, not a second corner.
- `segmentation` is a list of rings without holes, whose union is the object, or a run-length mask (RLE), whose
  `size` is [height, width] and which counts *columns*. A ring of four numbers means a box to pycocotools and
  nothing to others: rings of fewer than three points are left out and counted. A shape with holes cannot be said
  in rings: it is written as RLE (at whole pixels) where the image's size is known, else its holes are filled;
  both are counted. `bbox` and `area` stay those of the exact shape.
- `iscrowd` 1 (a crowd, to be ignored by scorers) and a stated `area` that is not the shape's own are kept as
  attributes, since scorers sort objects by it. Whoever changes shapes has to drop that attribute.
- Category ids are any numbers, with gaps and with or without 0: labels are names here, and `Read.classes` keeps
  the ids, to be given to `write`.
- pycocotools takes annotation id 0 for "unmatched": ids are kept where all are different and positive,
  numbered from 1 otherwise. The own id then stands in `object_id`, the kind of shape in `kind`; both are
  additions of this project that others ignore, as they ignore `attributes`, where CVAT and others keep theirs.
- Points and lines are dropped: keypoints are a skeleton, not a place. `info`, `licenses` and supercategories
  are not kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from georefer.errors import InputError
from georefer.geometry import Kind, Object, Objects
from georefer.geometry.repair import areas_only, is_repairable, repaired
from georefer.geometry.shapes import KINDS
from georefer.runlog import written_beside
from georefer.scenes.interchange import rle
from georefer.scenes.interchange.base import Account, LabelledImage, Read, Rows, polygons_of
from georefer.scenes.interchange.files import (
    as_number,
    as_numbers,
    as_side,
    as_whole,
    load_json,
    required_name,
    safe_name,
    storable,
)

_NO_OBJECTS = Objects.none()
_OWN_KEYS = frozenset(
    [
        "id",
        "image_id",
        "category_id",
        "bbox",
        "segmentation",
        "area",
        "iscrowd",
        "attributes",
        "score",
        "kind",
        "object_id",
    ]
)


def read(path: str | Path) -> Read:
    """An annotation file: every image in its order, also those without objects."""
    path, account = Path(path), Account()
    data = load_json(path)
    if not isinstance(data, dict) or not all(isinstance(data.get(key), list) for key in ("images", "annotations")):
        raise InputError(
            f"{path} holds {_outline(data)} where COCO's images, annotations and categories are expected; "
            "read a list of results with coco-results"
        )
    labels = _labels(data.get("categories"), account)
    if data["annotations"] and not labels:
        raise InputError(f"{path} has no categories with id and name where COCO keeps the class names; add them")
    images = _images(data["images"], account)
    rows = {id_: Rows(account) for id_ in images}
    for number, row in enumerate(data["annotations"]):
        _annotation(row, f"annotation {number}", images, labels, rows, account)
    classes = {label: id_ for id_, label in reversed(labels.items())}
    return Read(_with_objects(images, rows), account, dict(sorted(classes.items(), key=lambda item: item[1])))


def read_results(path: str | Path, *, truth: Read) -> Read:
    """A list of {image_id, category_id, bbox or segmentation, score}, on the images and categories of `truth`."""
    path, account = Path(path), Account()
    data = load_json(path)
    if not isinstance(data, list):
        raise InputError(
            f"{path} holds {_outline(data)} where a list of COCO results is expected; read annotations with coco"
        )
    labels = {id_: label for label, id_ in truth.classes.items()}
    images = {image.attributes.get("id"): image for image in truth.images}
    rows = {id_: Rows(account) for id_ in images}
    for number, row in enumerate(data):
        _annotation(row, f"result {number}", images, labels, rows, account, scored=True)
    return Read(_with_objects(images, rows), account, truth.classes)


def write(
    images: Iterable[LabelledImage],
    path: str | Path,
    *,
    classes: Mapping[str, int] | None = None,
    decimals: int = 3,
) -> Account:
    """One annotation file. `classes` fixes the category ids; left out, labels are numbered from 1 by name."""
    images, account = list(images), Account()
    classes = _numbered(images, classes)
    image_ids = _image_ids(images)
    own_ids = [as_whole(one) for image in images for one in image.objects.ids_N]
    keep = len(set(own_ids)) == len(own_ids) and all(id_ is not None and id_ > 0 for id_ in own_ids)
    annotations: list[dict[str, Any]] = []
    for image, image_id in zip(images, image_ids, strict=True):
        for one in image.objects:
            entry = _entry(one, image, classes, account, decimals)
            if entry is None:
                continue
            own = {} if keep else {"object_id": one.id}
            id_ = int(float(one.id)) if keep else len(annotations) + 1
            annotations.append({"id": id_, "image_id": image_id, **entry, **own})
    content = {
        "images": [_image_entry(image, id_) for image, id_ in zip(images, image_ids, strict=True)],
        "annotations": annotations,
        "categories": [{"id": id_, "name": label} for label, id_ in classes.items()],
    }
    _dump(content, Path(path))
    return account


def write_results(images: Iterable[LabelledImage], path: str | Path, *, truth: Read, decimals: int = 3) -> Account:
    """A list of results for the images of `truth`, found by file name; objects without a score are dropped."""
    account, results = Account(), []
    ids = {image.file_name: image.attributes.get("id", n) for n, image in enumerate(truth.images, 1)}
    for image in images:
        if image.file_name not in ids:
            account.dropped.add("image that the truth does not hold", image.file_name, len(image.objects))
            continue
        for one in image.objects:
            if one.score is None:
                account.dropped.add("no score", f"{image.file_name}, object {one.id}")
            elif (entry := _entry(one, image, truth.classes, account, decimals)) is not None:
                keys = (
                    ("category_id", "bbox", "score")
                    if one.kind == "hbb"
                    else ("category_id", "bbox", "segmentation", "score")
                )
                results.append({"image_id": ids[image.file_name], **{key: entry[key] for key in keys}})
    _dump(results, Path(path))
    return account


# --- reading --------------------------------------------------------------------------------------------------


def _labels(categories: object, account: Account) -> dict[int, str]:
    labels: dict[int, str] = {}
    for row in categories if isinstance(categories, list) else []:
        id_, name = (as_whole(row.get("id")), row.get("name")) if isinstance(row, dict) else (None, None)
        if id_ is None or not isinstance(name, str) or not name.strip():
            account.dropped.add("category without id and name", row)
            continue
        if name in labels.values():
            account.changed.add("categories of the same name, read as one", name)
        labels[id_] = name
    return labels


def _images(rows: list[Any], account: Account) -> dict[int | str, LabelledImage]:
    images: dict[int | str, LabelledImage] = {}
    for number, row in enumerate(rows):
        where = f"image {number}"
        id_ = _image_key(row.get("id")) if isinstance(row, dict) else None
        if id_ is None or id_ in images:
            account.dropped.add("image without an id of its own", where)
            continue
        name = safe_name(row.get("file_name"))
        if name is None:
            account.dropped.add("image name leads out of its folder", f"{where}: {row.get('file_name')!r}")
            continue
        own = ("id", "file_name", "width", "height")
        said = {key: value for key, value in row.items() if key not in own and storable(value)}
        width, height = as_side(row.get("width")), as_side(row.get("height"))
        images[id_] = LabelledImage(name, width, height, _NO_OBJECTS, {"id": id_, **said})
    return images


def _image_key(value: object) -> int | str | None:
    """An image's id: a whole number, as COCO has it, or the word that other tools put there."""
    whole = as_whole(value)
    return value if whole is None and isinstance(value, str) else whole


def _annotation(
    row: Any,
    where: str,
    images: Mapping[Any, LabelledImage],
    labels: Mapping[Any, str],
    rows: Mapping[Any, Rows],
    account: Account,
    scored: bool = False,
) -> None:
    if not isinstance(row, dict):
        return account.dropped.add("no JSON object", where)
    image = images.get(_image_key(row.get("image_id")))
    if image is None:
        return account.dropped.add("image that the file does not hold", where)
    label = labels.get(as_whole(row.get("category_id")))
    if label is None:
        return account.dropped.add("category that the file does not hold", where)
    score = as_number(row.get("score"))
    if score is None and (scored or row.get("score") is not None):
        return account.dropped.add("score is no number", where)
    shape, kind, reason = _shape(row, image, account, where)
    if shape is None:
        return account.dropped.add(reason, where)
    own_id = row.get("object_id", row.get("id"))
    id_ = str(own_id) if isinstance(own_id, int | str) and not scored else None
    rows[image.attributes["id"]].add(
        shape, label, kind, score=score, attributes=_attributes(row, shape, account, where), id=id_
    )


def _shape(row, image: LabelledImage, account: Account, where: str) -> tuple[Any, Kind, str]:
    """(geometry, kind, "") or (None, "hbb", why there is none). A box stands in for an outline that is unusable."""
    segmentation, reason = row.get("segmentation"), "neither box nor outline"
    said = row.get("kind") if row.get("kind") in KINDS else None
    if isinstance(segmentation, dict):
        shape, reason = rle.to_geometry(segmentation, image.width, image.height)
        if shape is not None:
            return shape, rle.KIND, ""
    elif isinstance(segmentation, list) and segmentation and said != "hbb":
        shape = _rings(segmentation, account, where)
        if shape is not None:
            is_box = said == "obb" and shape.geom_type == "Polygon" and len(shape.exterior.coords) == 5
            return shape, "obb" if is_box else "polygon", ""
        reason = "outline without area"
    box_4 = as_numbers(row["bbox"]) if isinstance(row.get("bbox"), list) and len(row["bbox"]) == 4 else None
    if box_4 is None or box_4[2] <= 0 or box_4[3] <= 0:
        return None, "hbb", reason if segmentation or box_4 is None else "no area"
    if segmentation and said != "hbb":
        account.changed.add(f"{reason}, box kept instead", where)
    x, y, width, height = box_4
    return shapely.box(x, y, x + width, y + height), "hbb", ""


def _rings(segmentation: list[Any], account: Account, where: str) -> shapely.Geometry | None:
    parts = []
    for ring in segmentation:
        numbers = as_numbers(ring) if isinstance(ring, list) and len(ring) >= 6 and len(ring) % 2 == 0 else None
        part = None if numbers is None else shapely.Polygon(numbers.reshape(-1, 2))
        if part is None or shapely.convex_hull(part).area == 0:
            account.changed.add("ring without three points left out", where)
        elif not is_repairable(part):
            account.changed.add("ring that crosses itself too often left out", where)
        else:
            parts.append(part)
    if len(parts) < 2:
        return parts[0] if parts else None
    together = shapely.MultiPolygon(parts)
    if together.is_valid:
        return together
    account.changed.add("overlapping rings joined", where)
    return areas_only(np.array([shapely.union_all(repaired(np.array(parts, dtype=object)))], dtype=object))[0]


def _attributes(row: dict[str, Any], shape: shapely.Geometry, account: Account, where: str) -> dict[str, Any]:
    inside = row.get("attributes")
    found = {key: value for key, value in row.items() if key not in _OWN_KEYS}
    found |= inside if isinstance(inside, dict) else {}
    kept = {key: value for key, value in found.items() if storable(value)}
    if len(kept) < len(found):
        account.changed.add("attributes nested too deeply or infinite left out", where)
    if as_whole(row.get("iscrowd")):
        kept["iscrowd"] = 1
    area = as_number(row.get("area"))
    # files round areas to a few digits
    if area is not None and area > 0 and abs(area - shape.area) > 1e-3 * shape.area + 0.01:
        kept["area"] = area
    return kept


def _with_objects(images: Mapping[Any, LabelledImage], rows: Mapping[Any, Rows]) -> tuple[LabelledImage, ...]:
    return tuple(
        LabelledImage(image.file_name, image.width, image.height, rows[id_].objects(), image.attributes)
        for id_, image in images.items()
    )


# --- writing --------------------------------------------------------------------------------------------------


def _entry(one: Object, image: LabelledImage, classes, account: Account, decimals: int) -> dict[str, Any] | None:
    where = f"{image.file_name}, object {one.id}"
    shape = one.geometry
    if shapely.get_dimensions(shape) < 2 or shape.is_empty:
        account.dropped.add(f"a {one.kind} has no area to write", where)
        return None
    if one.label not in classes:
        account.dropped.add("class that has no number in classes", where)
        return None
    x1, y1, x2, y2 = shape.bounds
    stated = {key: one.attributes[key] for key in ("area", "iscrowd") if key in one.attributes}
    entry: dict[str, Any] = {
        "category_id": classes[one.label],
        "bbox": [round(value, decimals) for value in (x1, y1, x2 - x1, y2 - y1)],
        "segmentation": [] if one.kind == "hbb" else _segmentation(one, image, account, where, decimals),
        "area": round(stated.get("area", shape.area), decimals),
        "iscrowd": stated.get("iscrowd", 0),
        "kind": one.kind,
    }
    if one.score is not None:
        entry["score"] = one.score
    if extra := {key: value for key, value in one.attributes.items() if key not in stated}:
        entry["attributes"] = extra
    account.kept += 1
    return entry


def _segmentation(one: Object, image: LabelledImage, account: Account, where: str, decimals: int) -> Any:
    parts = polygons_of(one.geometry)
    has_holes = any(len(part.interiors) for part in parts)
    if one.kind == "mask" or has_holes:
        coded = rle.of_geometry(one.geometry, image.width, image.height)
        if coded is not None:
            if one.kind != "mask":
                account.changed.add("shape with holes written as a mask of whole pixels", where)
            return coded
    if has_holes:
        account.changed.add("holes filled", where)
    return [[round(v, decimals) for v in np.asarray(p.exterior.coords)[:-1, :2].ravel().tolist()] for p in parts]


def _numbered(images: list[LabelledImage], classes: Mapping[str, int] | None) -> dict[str, int]:
    if classes is None:
        labels = sorted({label for image in images for label in image.objects.labels_N})
        return {label: number for number, label in enumerate(labels, 1)}
    if len(set(classes.values())) < len(classes):
        raise InputError(
            "two classes were given the same number where category ids are expected to differ; correct them"
        )
    return dict(classes)


def _image_ids(images: list[LabelledImage]) -> list[int]:
    """The images' own COCO ids where all have one of their own, else 1, 2, ..."""
    ids = [image.attributes.get("id") for image in images]
    whole = [id_ for id_ in ids if isinstance(id_, int) and not isinstance(id_, bool)]
    return whole if len(set(whole)) == len(images) else list(range(1, len(images) + 1))


def _image_entry(image: LabelledImage, id_: int) -> dict[str, Any]:
    sides = {"width": image.width, "height": image.height}
    entry = {"id": id_, "file_name": required_name(image), **{k: v for k, v in sides.items() if v is not None}}
    return entry | {key: value for key, value in image.attributes.items() if key not in entry}


def _dump(content: Any, path: Path) -> None:
    try:
        text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path.name} was not written: an attribute is no JSON value ({error}); use plain values"
        ) from error
    with written_beside(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _outline(data: Any) -> str:
    """What a JSON file holds, in a few words."""
    if isinstance(data, dict):
        return f"an object with {', '.join(sorted(map(str, data))[:6]) or 'nothing'}"[:200]
    return f"a list of {len(data)}" if isinstance(data, list) else f"a single {type(data).__name__}"
