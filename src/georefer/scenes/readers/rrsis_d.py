"""RRSIS-D: a mask for each expression, on 17,402 images of DIOR (800 pixels).

Source: github.com/Lsan2401/RMSIN (README, refer.py, test.py); arXiv 2312.12470. Licence: not stated; images of DIOR.

    rrsisd/refs(unc).p         a pickle: list of {ref_id, ann_id, image_id, category_id, split, sentences: [{raw, sent,
                               tokens, sent_id}], sent_ids}
    rrsisd/instances.json      COCO: images, 20 categories, annotations whose segmentation is a list of one RLE
    images/rrsisd/JPEGImages/  the pictures

- The pickle is read without pickle (`plain_pickle`): one that holds more than lists, dicts, texts and numbers is
  refused.
- A mask may have several parts. The published loader adds them up and then loses the pixels that two of them cover;
  here they are joined, and counted where they overlap.
- The expressions are DIOR-RSVG's of each image's last object, with a split of their own (train 12,181, val 1,740, test
  3,481): nobody keeps its test images out of DIOR-RSVG's training split.
- Published scores resize masks to 480 pixels; nothing is resized here.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from georefer.errors import InputError
from georefer.geometry import Kind
from georefer.geometry.repair import repaired
from georefer.runlog import written_beside
from georefer.scenes.interchange import rle
from georefer.scenes.interchange.base import Account, LabelledImage
from georefer.scenes.interchange.files import as_numbers, as_whole, load_json, required_name, write_text
from georefer.scenes.readers.base import Asked, Published, Source, opened
from georefer.scenes.readers.common import Gathering, count_left_out, dumped, need_split, outline_shape, text_of, tidy
from georefer.scenes.readers.plain_pickle import read_plain_pickle

SIDE_PX = 800
PICKLE, INSTANCES = "refs(unc).p", "instances.json"
MAX_SENTENCES, MAX_QUESTIONS = 100, 1_000_000
"""Sentences of one reference, and of all: references of a pickle may share one list that is long."""

MAX_PARTS = 1_000


def read(path: str | Path, images: str | Path | None = None, split: str | None = None) -> Published:
    """The folder with the pickle and instances.json (or the one above), or the pickle itself. See the module."""
    found = opened(path, PICKLE, f"*/{PICKLE}")
    gathered = Gathering("rrsis-d", images)
    refs = read_plain_pickle(found)
    if not isinstance(refs, list | tuple):
        raise InputError(f"{found} holds a {type(refs).__name__} where a list of references is expected; check it")
    tables = _tables(found.with_name(INSTANCES))
    need_split(split, {ref.get("split") for ref in refs if isinstance(ref, dict) and text_of(ref.get("split"))}, found)
    seen: set[int] = set()
    known: dict[int, str] = {}
    for number, ref in enumerate(refs):
        where = f"reference {number}"
        id_ = as_whole(ref.get("ref_id")) if isinstance(ref, dict) else None
        if id_ is None or id_ in seen:
            gathered.account.dropped.add("reference without a ref_id of its own", where)
        elif split in (None, ref.get("split")):
            seen.add(id_)
            _reference(ref, id_, tables, known, where, gathered)
            if len(seen) > MAX_QUESTIONS:
                raise InputError(f"{found} holds more than {MAX_QUESTIONS:,} references; check it")
    return gathered.published(found)


def write(published: Published, path: str | Path) -> Account:
    """refs(unc).p and instances.json in a folder, as REFER's code opens them."""
    path, account = Path(path), Account()
    asked: dict[str, list[Asked]] = {}
    count_left_out(published, account, keeps=("bbox",))
    for one in published.questions:
        asked.setdefault(one.image, []).append(one)
    labels = sorted({label for image in published.images.values() for label in image.objects.labels_N})
    numbers = {label: number for number, label in enumerate(labels, 1)}
    tables: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
    tables["categories"] = [{"id": number, "name": label} for label, number in numbers.items()]
    refs: dict[tuple[str, str], dict[str, Any]] = {}
    kept = _own_numbers(image.attributes.get("id") for image in published.images.values())
    all_ids = [id_ for image in published.images.values() for id_ in image.objects.ids_N]
    own = _own_numbers(int(id_) if id_.isascii() and id_.isdigit() and len(id_) < 18 else None for id_ in all_ids)
    written = 0
    for number, (key, image) in enumerate(published.images.items(), 1):
        image_id = kept[number - 1] if kept else number
        ids = _write_image(image, image_id, numbers, tables, own, account)
        for one in asked.get(key, []):
            _write_reference(one, image_id, ids, refs, written, account)
            written += 1
    _check_names(published)
    write_text(path / INSTANCES, dumped(tables))
    with written_beside(path / PICKLE) as beside:
        beside.write_bytes(pickle.dumps(list(refs.values()), protocol=2))
    return account


# --- reading --------------------------------------------------------------------------------------------------


def _tables(path: Path) -> tuple[dict[int, Any], dict[int, Any], dict[int, Any]]:
    """images, categories and annotations by id."""
    data = load_json(path)
    if not isinstance(data, dict) or not all(
        isinstance(data.get(key), list) for key in ("images", "categories", "annotations")
    ):
        raise InputError(f"{path} does not hold COCO's images, annotations and categories; check it")
    by_id = [
        {id_: row for row in data[key] if isinstance(row, dict) and (id_ := as_whole(row.get("id"))) is not None}
        for key in ("images", "categories", "annotations")
    ]
    return by_id[0], by_id[1], by_id[2]


def _reference(ref: Mapping[str, Any], ref_id: int, tables, known, where: str, gathered: Gathering) -> None:
    """`known` is the object of each annotation that a reference named before."""
    images, categories, annotations = tables
    ann_id = as_whole(ref.get("ann_id"))
    annotation = annotations.get(ann_id)
    if annotation is None:
        return gathered.account.dropped.add("annotation that instances.json does not hold", where)
    image_id = as_whole(annotation.get("image_id"))
    image = images.get(image_id)
    if image is None:
        return gathered.account.dropped.add("image that instances.json does not hold", where)
    if image_id != as_whole(ref.get("image_id")):
        gathered.account.changed.add("image of the annotation differs from the reference's, which was not taken", where)
    category = categories.get(as_whole(annotation.get("category_id")), {})
    label = text_of(category.get("name"))
    key = gathered.image(
        image.get("file_name"), where, nominal=(SIDE_PX, SIDE_PX), size=(image.get("width"), image.get("height")),
        attributes={"id": image_id},
    )  # fmt: skip
    if key is None or label is None:
        return None if key is None else gathered.account.dropped.add("category without a name", where)
    if ann_id not in known:
        shape, kind, reason = _mask(annotation, gathered.size(key), where, gathered)
        if shape is None:
            return gathered.account.dropped.add(reason, where)
        bbox = annotation.get("bbox")
        box_4 = as_numbers(bbox) if isinstance(bbox, list) and len(bbox) == 4 else None
        said = {} if box_4 is None else {"bbox": box_4.tolist()}
        known[ann_id] = gathered.add(key, shape, label, kind, attributes=said, id=str(ann_id))
    sentences = ref.get("sentences")
    sentences = sentences if isinstance(sentences, list | tuple) else ()
    for number, one in enumerate(sentences[:MAX_SENTENCES]):
        _sentence(one, f"{ref_id}/{number}", key, known[ann_id], ref_id, text_of(ref.get("split")), where, gathered)
    if not sentences or len(sentences) > MAX_SENTENCES:
        gathered.account.dropped.add(f"no sentence, or sentences beyond {MAX_SENTENCES}", where)
    return None


def _sentence(row: object, id_: str, key: str, own: str, ref_id: int, split, where: str, gathered: Gathering) -> None:
    said = row if isinstance(row, dict) else {}
    text = text_of(said.get("raw")) or text_of(said.get("sent"))
    if text is None:
        return gathered.account.dropped.add("sentence without words", where)
    number = as_whole(said.get("sent_id"))
    params = {"expression": text_of(said.get("sent")) or text, "ref_id": ref_id}
    if number is not None:
        params["sent_id"] = number
    return gathered.ask(id_, key, "res", text=text, object_ids=(own,), params=params, split=split)


def _mask(row: Mapping[str, Any], size, where: str, gathered: Gathering) -> tuple[shapely.Geometry | None, Kind, str]:
    """Of one RLE, a list of them, or a list of rings."""
    said = row.get("segmentation")
    parts = said if isinstance(said, list) else [said]
    if len(parts) > MAX_PARTS:
        return None, rle.KIND, f"mask of more than {MAX_PARTS} parts"
    shapes, reason = [], "no mask"
    for part in parts:
        shape, why = rle.to_geometry(part, *size) if isinstance(part, dict) else outline_shape(part)
        if shape is None:
            reason = why
        else:
            shapes.append(shape)
    if shapes and len(shapes) < len(parts):
        gathered.account.changed.add(f"part of a mask left out: {reason}", where)
    if not shapes:
        return None, rle.KIND, reason
    kind: Kind = rle.KIND if all(isinstance(part, dict) for part in parts) else "polygon"
    if len(shapes) == 1:
        return shapes[0], kind, ""
    together = shapely.union_all(repaired(np.array(shapes, dtype=object)))
    if together.area < sum(shape.area for shape in shapes) - 0.01:
        gathered.account.changed.add("parts of a mask that overlap, joined", where)
    return together, kind, ""


# --- writing --------------------------------------------------------------------------------------------------


def _own_numbers(ids) -> list[int] | None:
    """The ids that things have already, where all are different whole numbers."""
    found = [id_ if isinstance(id_, int) and not isinstance(id_, bool) else None for id_ in ids]
    whole = [id_ for id_ in found if id_ is not None]
    return whole if len(set(whole)) == len(found) else None


def _check_names(published: Published) -> None:
    for image in published.images.values():
        required_name(image)


def _write_image(image: LabelledImage, image_id: int, numbers, tables, own, account: Account):
    """The annotation and category of each object that could be written."""
    sides = {"width": image.width, "height": image.height}
    tables["images"].append({"id": image_id, "file_name": image.file_name, **sides})
    ids: dict[str, tuple[int, int]] = {}
    for thing in image.objects:
        where = f"{image.file_name}, object {thing.id}"
        coded = rle.of_geometry(thing.geometry, image.width, image.height)
        if coded is None:
            account.dropped.add(f"a {thing.kind} without pixels, or in an image of unknown size", where)
            continue
        if thing.kind != rle.KIND:
            account.changed.add(f"a {thing.kind} written as whole pixels", where)
        ids[thing.id] = (int(thing.id) if own else len(tables["annotations"]) + 1, numbers[thing.label])
        x1, y1, x2, y2 = thing.geometry.bounds
        bbox = thing.attributes.get("bbox") or [x1, y1, x2 - x1, y2 - y1]
        tables["annotations"].append(
            {"id": ids[thing.id][0], "image_id": image_id, "category_id": numbers[thing.label], "segmentation": [coded],
             "bbox": [tidy(value) for value in bbox], "area": tidy(thing.geometry.area), "iscrowd": 0}
        )  # fmt: skip
        account.kept += 1
    return ids


def _write_reference(one: Asked, image_id: int, ids: dict[str, tuple[int, int]], refs, number: int, account) -> None:
    if one.asks not in ("res", "rec", "obb-rec") or not one.text or len(one.object_ids) != 1:
        return account.dropped.add("question that is no expression for one object", one.id)
    if one.object_ids[0] not in ids:
        return account.dropped.add("expression for an object that was not written", one.id)
    ann_id, category = ids[one.object_ids[0]]
    place = (one.image, str(one.params.get("ref_id", one.id)))
    if place not in refs:
        ref_id = one.params.get("ref_id", len(refs))
        refs[place] = {
            "ref_id": ref_id, "ann_id": ann_id, "image_id": image_id, "category_id": category,
            "split": one.split or "train", "sentences": [], "sent_ids": [],
        }  # fmt: skip
    sent = str(one.params.get("expression", one.text))
    sent_id = one.params.get("sent_id", number)
    refs[place]["sentences"].append({"raw": one.text, "sent": sent, "tokens": sent.lower().split(), "sent_id": sent_id})
    refs[place]["sent_ids"].append(sent_id)
    return None


SOURCE = Source(
    "rrsis-d",
    "the folder with refs(unc).p and instances.json",
    "not stated; images of DIOR, academic use only",
    read,
    write,
)
