"""GroundSet: cadastral objects of France on 672-pixel patches of 0.2 m, with questions of seven tasks.

Source: RogerFerrod/GroundSet on the Hub and github.com/rogerferrod/GroundSet at 84aeed1 (its loaders); arXiv
2603.14609. Licence: CC-BY-4.0, imagery and vectors IGN Open Licence 2.0.

    finetuning/{train,test}-*.parquet                image, file_name, json (a text that holds JSON)
    instructions/train/GroundSet_TRAIN_it.json       one array of {image, human, gpt}; or JSON lines of them
    instructions/test/GroundSet_EVAL_<task>.jsonl    {id, image, question, answer, class?, noise?}

- Test files hold parts of the side (0 to 1), train files whole numbers from 0 to 1000. Both become pixels here;
  `params["scale"]` says what the texts, which stay as they are, speak of.
- The task stands in the file's name only. Train files do not name it: it is guessed from question and answer, and
  `params["task"]` is then "guessed". A box for a class and one for a phrase look alike: both are "detection".
- The keys inside the Parquet files' `json` are documented nowhere: see `groundset_parquet`.
- `image` may be null, "null" or "": a question without an image, whose `Asked.image` is "".
- The published code multiplies numbers in questions by replacing texts, so that 0.1 also changes 0.15. `write` gives
  every number four decimals, of which none lies within another.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from georefer.errors import InputError
from georefer.geometry import Kind
from georefer.scenes.interchange.base import Account
from georefer.scenes.interchange.files import as_number
from georefer.scenes.readers.base import Asked, Published, Source
from georefer.scenes.readers.common import (
    UNNAMED,
    Gathering,
    box_shape,
    count_left_out,
    outline_shape,
    records,
    text_of,
    write_records,
)
from georefer.scenes.readers.groundset_parquet import ALIASES, read_parquet

SIDE_PX = 672
NOMINAL = (SIDE_PX, SIDE_PX)

TASKS = {
    "caption": "caption", "classification": "classification", "classification_free": "classification",
    "detection": "detection", "phrase": "phrase", "rec": "rec", "segment": "segment", "vqa": "presence",
    "open": "chat",
}  # fmt: skip
"""What each task of a test file asks for."""

MAX_LISTS = 2_000
"""Lists of numbers read from one text."""

MAX_NAMES, MAX_LOOK_BACK = 200, 1_000
"""Class names of one question, and characters before a list in which they are looked for."""

_N = r"-?[0-9]{1,9}(?:\.[0-9]{1,17})?"
_LIST = re.compile(rf"\[\s*+({_N}(?:\s*+,\s*+{_N}){{3,8191}}+)\s*+\]")
_NAMES = re.compile(r"\[\s*+['\"]([^\[\]]{1,5000})['\"]\s*+\]")
_BETWEEN_NAMES = re.compile(r"['\"]\s?,\s?['\"]")


def read(
    path: str | Path,
    images: str | Path | None = None,
    split: str | None = None,
    *,
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> Published:
    """One file, or the files of the dataset's folder (of one split, "train" or "test"). See the module."""
    gathered = Gathering("groundset", images)
    for file, its_split in _files(Path(path), split):
        if file.suffix == ".parquet":
            read_parquet(file, gathered, NOMINAL, {k: (*(aliases or {}).get(k, ()), *v) for k, v in ALIASES.items()})
        else:
            _read_instructions(file, its_split, gathered)
    return gathered.published(Path(path))


def write(published: Published, path: str | Path) -> Account:
    """A train file (.json, or .jsonl), or into a folder one test file for each task.

    Numbers in the texts are brought to the file's scale. Images that nobody asks about are left out and counted.
    """
    path, account = Path(path), Account()
    count_left_out(published, account)
    if path.suffix in (".json", ".jsonl") and "_EVAL_" not in path.name:
        numbered = enumerate(published.questions)
        write_records(path, [_train_row(one, number, published, account) for number, one in numbered])
        return account
    by_task: dict[str, list[dict[str, Any]]] = {}
    for one in published.questions:
        task = next((t for t in (str(one.params.get("task")), *TASKS) if t in TASKS and TASKS[t] == one.asks), None)
        if task is None or not one.image:
            account.dropped.add("question of no task of GroundSet's tests", one.id)
        else:
            by_task.setdefault(task, []).append(_test_row(one, published, account))
    if path.suffix and len(by_task) > 1:
        raise InputError(f"{path} is one file where {', '.join(by_task)} need one each; name a folder")
    for task, rows in by_task.items():
        write_records(path if path.suffix else path / f"GroundSet_EVAL_{task}.jsonl", rows)
    return account


# --- which files ----------------------------------------------------------------------------------------------


def _files(path: Path, split: str | None) -> list[tuple[Path, str | None]]:
    if path.is_file():
        return [(path, split or _split_of(path))]
    found = [
        file
        for ending in (".parquet", ".jsonl", ".json")
        for file in sorted(path.rglob(f"*{ending}"))
        if file.is_file() and _split_of(file) is not None and file.resolve().is_relative_to(path.resolve())
    ]
    chosen = [(file, _split_of(file)) for file in found if split in (None, _split_of(file))]
    if not chosen:
        raise InputError(
            f"{path} holds no GroundSet file{f' of the split {split}' if split else ''} where train-*.parquet, "
            "GroundSet_TRAIN_it.json or GroundSet_EVAL_<task>.jsonl are expected; name the folder or a file "
            "(links that lead out of the folder are not followed)"
        )
    return chosen


def _split_of(file: Path) -> str | None:
    name = file.name.lower()
    if "_eval_" in name or name.startswith("test-"):
        return "test"
    return "train" if "_train" in name or name.startswith("train-") else None


# --- instructions ---------------------------------------------------------------------------------------------


def _read_instructions(file: Path, split: str | None, gathered: Gathering) -> None:
    task = file.name.split("_EVAL_")[1].split(".")[0] if "_EVAL_" in file.name else None
    if task is not None and task not in TASKS:
        raise InputError(f"{file} asks for {task[:50]!r} where one of {', '.join(TASKS)} is expected; rename the file")
    ids: set[str] = set()
    for number, (where, row) in enumerate(records(file, gathered.account)):
        is_train = "human" in row or "gpt" in row
        question, answer = (row.get(key) for key in (("human", "gpt") if is_train else ("question", "answer")))
        question, answer = text_of(question), text_of(answer)
        if question is None or (answer is None and is_train):
            gathered.account.dropped.add("no question or no answer", where)
            continue
        has_none = is_train and row.get("image") in (None, "null", "")
        key = "" if has_none else gathered.image(row.get("image"), where, nominal=NOMINAL)
        if key is None:
            continue
        id_ = str(row["id"]) if isinstance(row.get("id"), int | str) else str(number)
        if id_ in ids:
            gathered.account.changed.add("id used twice in one file, kept", where)
        ids.add(id_)
        said = {name: row[name] for name in ("class", "noise") if row.get(name) is not None}
        kept = {"scale": 1000 if is_train else 1, "task": task or "guessed", **said}
        _ask(id_, key, question, answer or "", kept, split, where, gathered)


def _ask(id_, key: str, question: str, answer: str, params: dict[str, Any], split, where: str, gathered) -> None:
    asks = TASKS.get(params["task"]) or _guessed(question, answer)
    classes = class_names(question)
    if asks == "phrase" and classes:
        params["classes"] = classes
    region: str | None = None
    objects: tuple[str, ...] = ()
    if key and asks == "classification":
        found = _objects(question, [answer.strip()], key, params["scale"], where, gathered)
        region = found[0] if found else None
    elif key and asks in ("detection", "rec", "phrase", "segment"):
        labels = classes if asks == "phrase" else [text_of(params.get("class")) or UNNAMED]
        objects = _objects(answer, labels, key, params["scale"], where, gathered)
    if region is not None:
        params["region"] = region
    gathered.ask(id_, key, asks, text=question, answer=answer, object_ids=tuple(objects), params=params, split=split)


def _guessed(question: str, answer: str) -> str:
    """What a train record asks for: see the module."""
    word = answer.strip(" .!").lower()
    lists = [text.count(",") + 1 for text in _LIST.findall(answer)]
    if _LIST.search(question):
        return "classification" if not lists else "chat"
    if lists:
        return "segment" if max(lists) >= 6 else "phrase" if class_names(question) else "detection"
    if word in ("yes", "no"):
        return "presence"
    return "detection" if word == "none" else "chat"


def class_names(question: str) -> list[str]:
    """The names in a question's ['a', "b's"]; they hold commas and apostrophes."""
    found = _NAMES.search(question)
    return _BETWEEN_NAMES.split(found.group(1))[:MAX_NAMES] if found else []


def _objects(text: str, labels: Sequence[str], key: str, scale: int, where: str, gathered) -> tuple[str, ...]:
    """The ids of what the lists of a text say. One label is that of all; of several, the last that stands before."""
    ids, label, end = [], labels[0] if len(labels) == 1 else UNNAMED, 0
    for number, match in enumerate(_LIST.finditer(text)):
        if number >= MAX_LISTS:
            gathered.account.dropped.add(f"more than {MAX_LISTS} lists in one text", where)
            break
        if len(labels) > 1:
            before = text[max(end, match.start() - MAX_LOOK_BACK) : match.start()].lower()
            places = [(at + len(name), len(name), name) for name in labels if (at := before.rfind(name.lower())) >= 0]
            label, end = max(places)[2] if places else label, match.end()
        shape, kind, reason = _shape([float(value) for value in match.group(1).split(",")], scale, gathered.size(key))
        if shape is None:
            gathered.account.dropped.add(reason, where)
            continue
        if reason:
            gathered.account.changed.add(reason, where)
        ids.append(gathered.add(key, shape, label, kind))
    return tuple(dict.fromkeys(ids))


def _shape(values: list[float], scale: float, size) -> tuple[shapely.Geometry | None, Kind, str]:
    if min(values) < 0 or max(values) > scale:
        return None, "hbb", f"numbers outside 0 to {scale:g}"
    if len(values) % 2:
        return None, "hbb", "odd count of numbers"
    pixels = (np.array(values).reshape(-1, 2) / scale * size).ravel().tolist()
    kind: Kind = "hbb" if len(pixels) == 4 else "polygon"
    shape, reason = box_shape(pixels) if kind == "hbb" else outline_shape(pixels)
    return shape, kind, reason


# --- writing --------------------------------------------------------------------------------------------------


def _train_row(one: Asked, number: int, published: Published, account: Account) -> dict[str, Any]:
    answer = _scaled(one, one.answer, published, 1000, account)
    lost = {"id": one.id != str(number), "task": one.params.get("task", "guessed") != "guessed"}
    lost |= {name: name in one.params for name in ("class", "noise")}
    if any(lost.values()):
        account.changed.add(f"{', '.join(name for name, is_lost in lost.items() if is_lost)} left out", one.id)
    account.kept += 1
    return {"image": one.image or None, "human": _said(one, one.text, 1000), "gpt": answer}


def _test_row(one: Asked, published: Published, account: Account) -> dict[str, Any]:
    number = int(one.id) if one.id.isascii() and one.id.isdigit() and str(int(one.id[:18])) == one.id else None
    said = {name: one.params[name] for name in ("class", "noise") if name in one.params}
    answer = _scaled(one, one.answer, published, 1, account)
    image = published.images.get(one.image)
    labels = set() if image is None or one.asks == "phrase" else set(image.objects.with_ids(one.object_ids).labels_N)
    if labels - {str(one.params.get("class")), UNNAMED}:
        account.changed.add("class of objects that the question does not name left out", one.id)
    account.kept += 1
    row = {"id": one.id if number is None else number, "image": one.image, "question": _said(one, one.text, 1)}
    return {**row, "answer": answer, **said}


def _scaled(one: Asked, text: str | None, published: Published, scale: int, account: Account) -> str:
    """The answer's own words at that scale, or what its objects are."""
    if text is not None:
        return _said(one, text, scale)
    image = published.images.get(one.image)
    if image is None or image.width is None or image.height is None:
        account.changed.add("no answer, and no image of known size to make one", one.id)
        return ""
    lists, named = [], None
    for thing in image.objects.with_ids(one.object_ids):
        points_N2 = _points(thing.geometry, thing.kind)
        if points_N2 is None:
            account.changed.add(f"a {thing.kind} that is neither a box nor one ring left out", one.id)
        else:
            # of several classes each is named before its first list
            name = f"{thing.label}: " if one.asks == "phrase" and thing.label != named else ""
            named = thing.label
            lists.append(name + _listed((points_N2 / (image.width, image.height)).ravel().tolist(), 1, scale))
    return ", ".join(lists) or "None"


def _points(geometry: shapely.Geometry, kind: str) -> np.ndarray | None:
    if kind == "hbb":
        return np.array(geometry.bounds).reshape(2, 2)
    is_ring = geometry.geom_type == "Polygon" and not geometry.interiors and not geometry.is_empty
    return np.asarray(geometry.exterior.coords)[:-1, :2] if is_ring else None


def _said(one: Asked, text: str | None, scale: int) -> str:
    """A text whose lists are brought to another scale; as it is where it speaks of that one already."""
    own = as_number(one.params.get("scale"))
    if not text or own is None or own == scale:
        return text or ""
    return _LIST.sub(lambda found: _listed([float(v) for v in found.group(1).split(",")], own, scale), text)


def _listed(values: Iterable[float], own: float, scale: int) -> str:
    parts = [value / own for value in values]
    # the small part is what floats lose: 0.3 of the side is 300, not 299
    numbers = [f"{p:.4f}" for p in parts] if scale == 1 else [str(math.floor(p * scale + 1e-6)) for p in parts]
    return f"[{', '.join(numbers)}]"


SOURCE = Source(
    "groundset",
    "the folder with finetuning/ and instructions/, or one .parquet, .json or .jsonl of them",
    "CC-BY-4.0; imagery and vectors IGN Open Licence 2.0",
    read,
    write,
)
