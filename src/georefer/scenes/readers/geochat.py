"""GeoChat-Instruct (training dialogues) and GeoChat-Bench (questions in JSON lines).

Sources: MBZUAI/GeoChat_Instruct and MBZUAI/GeoChat-Bench on the hub; the scripts of github.com/mbzuai-oryx/GeoChat,
which say what is read of the bench; which file holds what was seen in other projects that convert them.

    GeoChat_Instruct.json      LLaVA rows (see `llava`); "[refer] ..." wants a box, "[identify] ... {<..>|<..>}"
                               a word for one, "[grounding] ..." a description with <p>phrases</p> and their boxes
    referring.jsonl            question_id, image_id, question (the expression), ground_truth: quadrangles in pixels,
                               type ("ref" or other), dataset, obj_ids, size_group
    region_captioning.jsonl    the same keys; the question is the box's text, the ground truth words
    grounding_description.jsonl  image_id, description with boxes
    aid.jsonl, UCmerced.jsonl, lrben.jsonl, hrben.jsonl   question_id, image, text, ground_truth, category

- *Boxes are said in hundredths of the image's sides before turning*, which is done in pixels: without the image's size
  there is none to have. It is the picture's where `images` is given; the bench names the set a picture comes from,
  whose size is known (FAST 600, SIOR 800, SOTA 1024). Questions with boxes about other images are dropped and counted.
- *Which way a box turns was never published*; `dialect` reads "geochat-cw" (default) or "geochat-ccw".
- `image_id` has no ending, and some have ".jpg" although the files are ".png": the name is kept with ".png" in the
  place of either, the original in `params["image_id"]`.
- Answers keep their words, ground truths that are quadrangles become objects. The questions of region_captioning and
  referring are not the prompts: GeoChat's scripts put "[refer] Give me the location of <p> ... </p>" and such around.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import shapely

from georefer.dialects import DIALECTS, Dialect
from georefer.errors import InputError
from georefer.geometry import Frame
from georefer.scenes.interchange.base import Account, plain, quad_corners, quad_shape, stem_of
from georefer.scenes.interchange.files import safe_name, storable
from georefer.scenes.readers.base import Asked, Published, Source, opened
from georefer.scenes.readers.common import points_of, records, write_records
from georefer.scenes.readers.gathering import NO_SIZE, Ids, ReadImage, ReadImages, lines_file, published, read_boxes
from georefer.scenes.readers.llava import Turn, asked_of, plain_asks, turns, write_turns

NOMINAL_PX = {"FAST": 600, "SIOR": 800, "SOTA": 1024}
"""Sides of the pictures by the bench's "dataset"."""

MAX_QUADS = 1_000

_BOXES = re.compile(r"\{\s?<")
_TAGS = (("[refer]", "obb-rec"), ("[identify]", "region-caption"), ("[grounding]", "phrase"))
_OWN = frozenset({"question_id", "image", "text", "question", "ground_truth", "description"})
_FOUND = frozenset({"class", "classes", "expression", "region", "regions"})
_PHRASE = re.compile(r"<p>([^<>]{1,300})</p>")


def _dialect(name: str) -> Dialect:
    if name not in ("geochat-cw", "geochat-ccw"):
        raise InputError(f"dialect={name!r} was given where geochat-cw or geochat-ccw is expected")
    return DIALECTS[name]


def read_instruct(
    path: str | Path,
    images: str | Path | None = None,
    split: str | None = "train",
    *,
    dialect: str = "geochat-cw",
    limit: int | None = None,
) -> Published:
    """GeoChat_Instruct.json, or the folder that holds it. `limit` stops after so many questions."""
    file, said = opened(path, "GeoChat_Instruct*.json", "*.json"), _dialect(dialect)
    account, gathered, ids = Account(), ReadImages(images), Ids()
    questions: list[Asked] = []
    for turn in turns(file, account):
        if limit is not None and len(questions) >= limit:
            break
        image = gathered.find(turn.image)
        if image.size is None and (_BOXES.search(turn.question) or _BOXES.search(turn.answer)):
            account.dropped.add(NO_SIZE, turn.where)
            continue
        asks, objects, params = _understand(turn.question, turn.answer, image, said, account, turn)
        questions.append(asked_of(turn, asks, ids, params, objects, split))
    return published("GeoChat-Instruct", file, gathered, questions, account)


def write_instruct(dataset: Published, path: str | Path, *, dialect: str = "geochat-cw") -> Account:
    """One LLaVA JSON file; answers of other datasets are said in GeoChat's way where objects answer."""
    said = _dialect(dialect)
    return write_turns(dataset, path, lambda asked: _answer_text(dataset, asked, said))


def _answer_text(dataset: Published, asked: Asked, dialect: Dialect) -> str | None:
    image = dataset.images.get(asked.image)
    if image is None or image.width is None or image.height is None:
        return None
    objects, size = image.objects.with_ids(asked.object_ids), (image.width, image.height)
    if not all(kind in dialect.kinds for kind in objects.kinds_N):
        objects = objects.to_obb()
    try:
        return dialect.write(objects, Frame.resize(size, size), labelled=asked.asks not in ("rec", "obb-rec"))
    except ValueError:
        return None


def _understand(
    question: str, answer: str, image: ReadImage, dialect: Dialect, account: Account, turn: Turn
) -> tuple[str, list[str], dict[str, Any]]:
    """(asks, objects that answer, params) of a question in GeoChat's words."""
    regions: list[str] = []
    objects: list[str] = []
    params: dict[str, Any] = {}
    if _BOXES.search(question):
        regions = image.add_reading(read_boxes(dialect, question, image.frame, account, turn.where))
        if regions:
            params["region"] = regions[0]
        if len(regions) > 1:
            params["regions"] = regions
    if _BOXES.search(answer):
        reading = read_boxes(dialect, answer, image.frame, account, turn.where)
        objects = image.add_reading(reading)
        if classes := list(dict.fromkeys(str(label) for label in reading.objects.labels_N if label)):
            params["classes"] = classes
    asks = next((kind for tag, kind in _TAGS if tag in question[:200]), None)
    if asks == "obb-rec" and (phrase := _PHRASE.search(question)):
        params["expression"] = phrase[1].strip()
    if asks is None:
        asks = "phrase" if objects else plain_asks(question, answer, turn.of, bool(regions))
    return asks, objects, params


# --- the bench ------------------------------------------------------------------------------------------------


def read_bench(
    path: str | Path, images: str | Path | None = None, split: str | None = "test", *, dialect: str = "geochat-cw"
) -> Published:
    """One of the bench's JSON-lines files; of a folder referring.jsonl, else the first."""
    file, said = opened(path, "referring.jsonl", "*.jsonl"), _dialect(dialect)
    account, gathered, ids, questions = Account(), ReadImages(images), Ids(), []
    for number, (where, row) in enumerate(records(file, account)):
        asked = _bench_row({"question_id": number, **row}, where, gathered, said, ids, split, account)
        if isinstance(asked, str):
            account.dropped.add(asked, where)
        else:
            questions.append(asked)
    return published("GeoChat-Bench", file, gathered, questions, account)


def _bench_row(
    row: dict[str, Any], where: str, images: ReadImages, dialect: Dialect, ids: Ids, split: str | None, account: Account
) -> Asked | str:
    if not storable(row):
        return "row is nested too deeply or holds no finite number"
    id, truth = row["question_id"], row.get("ground_truth", row.get("description"))
    text = row.get("text", row.get("question"))
    if not isinstance(id, int | str) or isinstance(id, bool):
        return "question_id is no number or text"
    name = safe_name(_full_name(row))
    if name is None:
        return "no image name, or it leads out of its folder"
    if text is not None and not isinstance(text, str):
        return "question is no text"
    side = NOMINAL_PX.get(row["dataset"]) if isinstance(row.get("dataset"), str) else None
    image = images.find(name, (side, side) if side else None)
    params = {key: value for key, value in row.items() if key not in _OWN and key not in _FOUND}
    objects: list[str] = []
    if isinstance(truth, list):
        objects = _quads(truth, image, params, where, account)
        if not objects:
            return "ground truth without a quadrangle that can be read"
        asks, answer = ("obb-rec" if row.get("type", "ref") == "ref" else "phrase"), None
        params["expression"] = text or ""
    elif truth is not None and not isinstance(truth, str):
        return "ground truth is no text and no list of quadrangles"
    else:
        answer = truth
        if image.size is None and (_BOXES.search(text or "") or _BOXES.search(truth or "")):
            return NO_SIZE
        turn = Turn(id, name, 0, 1, text or "", truth or "", where)
        asks, objects, found = _understand(text or "", truth or "", image, dialect, account, turn)
        params |= found
        if "category" in row and "image" in row and asks not in ("classification", "multilabel"):
            asks = "vqa"
    own_id, before = ids.take(str(id))
    if before:
        account.changed.add("question_id used twice, numbered", where)
    if own_id != id:
        params["question_id"] = id
    return Asked(own_id, name, asks, text, answer, tuple(objects), params, split)


def _full_name(row: dict[str, Any]) -> object:
    """The image's name: as it stands under "image"; under "image_id" with .png in the place of its ending."""
    if "image" in row or not isinstance(row.get("image_id"), str):
        return row.get("image")
    return stem_of(row["image_id"]) + ".png"


def _quads(truth: list[Any], image: ReadImage, params: dict[str, Any], where: str, account: Account) -> list[str]:
    """Quadrangles [[x, y] x 4], or flat rows of eight, as objects; what the row says of them goes along."""
    found = []
    ids = params.get("obj_ids")
    for place, quad in enumerate(truth[:MAX_QUADS]):
        corners_42 = points_of(quad)
        if corners_42 is None or len(corners_42) != 4 or shapely.convex_hull(shapely.MultiPoint(corners_42)).area == 0:
            account.dropped.add("quadrangle without four corners or area", where)
            continue
        shape, kind, notes = quad_shape(corners_42, 1.0)
        for note in notes:
            account.changed.add(note, where)
        about = {"obj_id": ids[place]} if isinstance(ids, list) and len(ids) == len(truth) else {}
        found.append(image.add(shape, "", kind, about))
    return found


def write_bench(dataset: Published, path: str | Path) -> Account:
    """JSON lines as GeoChat's own scripts read them; objects that answer are written as quadrangles in pixels."""
    account = Account()
    write_records(lines_file(path), _bench_rows(dataset, account))
    return account


def _bench_rows(dataset: Published, account: Account) -> Iterator[dict[str, Any]]:
    for asked in dataset:
        if safe_name(asked.image) is None:
            raise InputError(f"the image name {asked.image[:200]!r} leads out of its folder; rename the image")
        text = asked.text if asked.text is not None else asked.params.get("expression")
        refers = asked.answer is None and bool(asked.object_ids)
        truth = _written_quads(dataset, asked, account) if refers else asked.answer
        described = text is None and isinstance(truth, str)
        if (text is None and not described) or (refers and not truth):
            account.dropped.add("no shape to write" if refers and not truth else "no expression", asked.id)
            continue
        account.kept += 1
        kept = {key: value for key, value in asked.params.items() if key not in _FOUND}
        row = {"question_id": kept.pop("question_id", asked.id)}
        said = {} if truth is None else {"ground_truth": truth}
        stem = asked.image.removesuffix(PurePosixPath(asked.image).suffix)
        if described:
            yield {**row, "image_id": kept.pop("image_id", stem), "description": truth, **kept}
        elif refers or "image_id" in kept:
            row["image_id"] = kept.pop("image_id", stem)
            # the scripts ask every row for these
            kept = {
                "type": "ref",
                "dataset": dataset.name,
                "obj_ids": list(asked.object_ids),
                "size_group": "",
            } | kept
            yield {**row, "question": text, **said, **kept}
        else:
            yield {**row, "image": asked.image, "text": text, **said, **kept}


def _written_quads(dataset: Published, asked: Asked, account: Account) -> list[list[list[float]]]:
    quads = []
    for one in dataset.images[asked.image].objects.with_ids(asked.object_ids):
        corners_42, notes = quad_corners(one.geometry, one.kind)
        if corners_42 is None:
            account.dropped.add(f"a {one.kind} has no corners to write", asked.id)
            continue
        for note in notes:
            account.changed.add(note, asked.id)
        quads.append([[float(plain(value, 2)) for value in point] for point in np.asarray(corners_42)])
    return quads


SOURCES = (
    Source(
        "geochat-instruct",
        "GeoChat_Instruct.json, or the folder that holds it",
        "Apache-2.0 by the publisher; images by their own terms (DOTA, DIOR, FAIR1M: academic use)",
        read_instruct,
        write_instruct,
    ),
    Source(
        "geochat-bench",
        "a JSON-lines file of GeoChat-Bench, or the folder that holds one",
        "Apache-2.0 by the publisher; images by their own terms (DOTA, DIOR, FAIR1M: academic use)",
        read_bench,
        write_bench,
    ),
)
