"""FIT-RS, the training files of SkySenseGPT: dialogues about 512 px tiles of STAR, with oriented boxes and graphs.

Source: FIT-RS on the hub (ll-13/FIT-RS) and github.com/Luo-Z13/SkySenseGPT at a980ffe: `FIT-RS-train-1415k.json`, its
sampled subset, and the files of single tasks. LLaVA rows (see `llava`), answers in the dialect "fit-rs".

- *Tiles*: `0505__512__2884___5768.png` is the tile of scene 0505 with its corner at pixel (2884, 5768). Scene, corner
  and size become the image's attributes "scene", "tile" and "tile_size", so objects can be moved back into the scene
  and neighbours that overlap are known. Their size is the picture's where `images` is given, else the one in the name.
- *No task is named in the merged file*: `asks` is told from the answer's form where it has one (graphs, predicates,
  boxes), else from the wording; the files of single tasks say it in their names, `asks=` says it for a whole file.
- *An object has no name*: it is its box. Equal boxes of one image are one object, whatever question says them; boxes
  in a question are "region" (the first) and "regions". A box that nothing gives a class is an "object".
- *Graphs*: `params["relations"]` holds [subject id, predicate, object id]; the image's attribute "relations" gathers
  those of all its questions. Answers cut by their authors have `params["truncated"]`.
- Sizes of boxes are percent of the tile, two decimals in newer files, whole in older ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from georefer.dialects import Reading
from georefer.dialects.fit import FitDialect
from georefer.errors import InputError
from georefer.geometry import Frame
from georefer.scenes.interchange.base import Account
from georefer.scenes.readers.base import ASKS, Asked, Published, Source, opened
from georefer.scenes.readers.dota import tile_of
from georefer.scenes.readers.gathering import Ids, ReadImage, ReadImages, count_problems, published, read_boxes
from georefer.scenes.readers.llava import asked_of, plain_asks, turns, write_turns

TILE_PX = 512
MAX_RELATIONS = 100_000
"""Relations that an image's attribute gathers at most."""

_BOXES = re.compile(r"\{\s?<")
_SUBJECT = re.compile(r"subject:\s?([^,<>\n]{1,100}),\s?object:\s?([^,<>\n]{1,100})", re.IGNORECASE)
_BETWEEN = re.compile(
    r"there (?:is|are) \d{1,4} relationships? between ([^<>:\n]{1,100}?) and ([^<>:\n]{1,100}):", re.I
)
_PREDICATE = re.compile(r"<([^<>/]{1,100})>")
_REL = re.compile(r"<rel>([^<>]{1,100})</rel>")
_FILES = (
    ("imageclassification", "classification"), ("regioncaption", "region-caption"),
    ("region_caption", "region-caption"), ("imagecaption", "caption"), ("image_caption", "caption"),
    ("multiturn", "chat"), ("vqa", "vqa"),
)  # fmt: skip
"""What the names of single-task files say of questions whose answers have no shapes."""

_DIALECT = FitDialect()


def read(
    path: str | Path,
    images: str | Path | None = None,
    split: str | None = None,
    *,
    asks: str | None = None,
    limit: int | None = None,
) -> Published:
    """A FIT-RS JSON file, or the folder that holds one. `limit` stops after so many questions."""
    if asks is not None and asks not in ASKS:
        raise InputError(f"asks={asks!r} was given where one of {', '.join(ASKS)} is expected")
    file = opened(path, "FIT-RS-train-1415k.json", "FIT-RS*.json", "*.json")
    account, gathered, ids = Account(), ReadImages(images), Ids()
    questions: list[Asked] = []
    hint = next((kind for part, kind in _FILES if part in file.name.lower()), None)
    for turn in turns(file, account):
        if limit is not None and len(questions) >= limit:
            break
        image = tile_image(gathered, turn.image)
        found = understand(turn.question, turn.answer, image, account, turn.where)
        kind = asks or found.asks
        if kind is None:
            kind = plain_asks(turn.question, turn.answer, turn.of, "region" in found.params)
            kind = hint if hint and kind not in ("multilabel", "chat") else kind
        questions.append(asked_of(turn, kind, ids, found.params, found.object_ids, split))
    return published("FIT-RS", file, gathered, questions, account)


def write(dataset: Published, path: str | Path) -> Account:
    """One LLaVA JSON file; answers of other datasets are said in FIT's own words where objects answer."""
    return write_turns(dataset, path, lambda asked: answer_text(dataset, asked))


def answer_text(dataset: Published, asked: Asked) -> str | None:
    """The answer in the dialect "fit-rs" from the objects that answer; None where that cannot be said."""
    image = dataset.images.get(asked.image)
    if image is None or image.width is None or image.height is None:
        return None
    objects = image.objects.with_ids(asked.object_ids)
    frame = Frame.resize((image.width, image.height), (image.width, image.height))
    try:
        return _DIALECT.write(objects.to_obb(), frame, labelled=asked.asks != "detection")
    except ValueError:
        return None


# --- tiles ----------------------------------------------------------------------------------------------------


def tile_image(images: ReadImages, name: str) -> ReadImage:
    """The image of a tile, with the attributes that its name tells."""
    tile = tile_of(name)
    side = tile.get("tile_size") or TILE_PX
    image = images.find(name, (side, side))
    image.attributes.update(tile)
    return image


# --- texts ----------------------------------------------------------------------------------------------------


class Understood:
    """What a question and its answer say; `asks` is None where the answer's form does not tell."""

    def __init__(self) -> None:
        self.asks: str | None = None
        self.object_ids: list[str] = []
        self.params: dict[str, Any] = {}


_TASKS: Mapping[str, str] = {
    "task1": "detection", "task2": "relation", "task3": "relation-reasoning", "task4": "object-reasoning",
    "task5": "region-graph", "task6": "image-graph",
}  # fmt: skip
"""Codes of the complex tasks in the field "category"."""


def understand(
    question: str, answer: str, image: ReadImage, account: Account, where: str, task: str | None = None
) -> Understood:
    """Regions, objects, predicates and relations of a question; `task` is FIT's code where the file has it."""
    found = Understood()
    found.asks = _TASKS.get(task or "")
    regions = []
    if _BOXES.search(question):
        regions = image.add_reading(read_boxes(_DIALECT, question, image.frame, account, where))
        if regions:
            found.params["region"] = regions[0]
        if len(regions) > 1:
            found.params["regions"] = regions
    if _BOXES.search(answer):
        _with_boxes(found, answer, image, regions, account, where)
    elif between := _BETWEEN.search(answer):
        found.asks = found.asks or "relation"
        predicates = [p for p in _PREDICATE.findall(answer, between.end()) if p != "rel"]
        found.params |= {"classes": [between[1].strip(), between[2].strip()], "predicates": predicates}
    elif ends := _SUBJECT.search(answer):
        found.asks = found.asks or "relation-reasoning"
        found.params |= {"subject": ends[1].strip(), "object": ends[2].strip(), "predicates": _REL.findall(answer)}
    elif answer.lstrip()[:9].lower() == "i'm sorry" and "[detection]" in question:
        found.asks = found.asks or "detection"
    return found


def _with_boxes(found: Understood, answer: str, image: ReadImage, regions, account: Account, where: str) -> None:
    """An answer with boxes: a class, boxes of several, or a graph (of a region, which is "it", or of the image)."""
    graph = "<rel>" in answer
    about_it = graph and bool(regions) and found.asks != "image-graph"
    if about_it:
        region = image.shape_of(regions[0])
        reading = _DIALECT.read_region(answer, image.frame, region)
        count_problems(reading, account, where)
        ids = [regions[0], *image.add_reading(reading, 1)]
        found.object_ids = ids[1:]
    else:
        reading = read_boxes(_DIALECT, answer, image.frame, account, where)
        ids = found.object_ids = image.add_reading(reading)
    if graph:
        found.params["relations"] = _relations(reading, ids, image, account, where)
    if any(problem.kind == "truncated" for problem in reading.problems):
        found.params["truncated"] = True
    labels = list(dict.fromkeys(str(label) for label in reading.objects.labels_N if label))
    if found.asks is None:
        found.asks = _asks_of_boxes(answer, graph, about_it, regions)
    if found.asks == "detection" and len(labels) == 1:
        found.params["class"] = labels[0]
    elif found.asks == "phrase":
        found.params["classes"] = labels


def _asks_of_boxes(answer: str, graph: bool, about_it: bool, regions: list[str]) -> str:
    if graph:
        return "region-graph" if about_it else "image-graph"
    if regions:
        return "object-reasoning"
    return "phrase" if "<ref>" in answer else "detection"


def _relations(reading: Reading, ids: list[str], image: ReadImage, account: Account, where: str) -> list[list[str]]:
    found = [[ids[r.subject], r.predicate, ids[r.object]] for r in reading.relations]
    known = image.relations
    for triplet in map(tuple, found):
        if triplet not in known and len(known) >= MAX_RELATIONS:
            account.changed.add(
                f"more than {MAX_RELATIONS:,} relations of one image, left out of its attributes", where
            )
            break
        known[triplet] = None
    return found


SOURCE = Source(
    "fit-rs",
    "FIT-RS-train-1415k.json, its sampled subset or a file of one task; or the folder that holds one",
    "CC-BY-NC-4.0 (STAR's images: academic use)",
    read,
    write,
)
