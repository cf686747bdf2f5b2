"""GroundSet as it is published: Parquet with pictures and objects, training questions, and tests.

    finetuning/<train or test>-00000-of-00003.parquet   a row a picture: image, file_name, json
    instructions/train/GroundSet_TRAIN_it.json
    instructions/test/GroundSet_EVAL_<task>.jsonl
    images/                                             the same pictures as files, which its scripts open by name

- A split other than train is a test, and all of them are one.
- Tests hold parts of the side, made from the objects and not from rounded words. Only what GroundSet asks can be a
  test; training rows name no task, so any question in its words fits.
- Nobody documents the keys within `json`: those written are the first that our reader understands, and hold what the
  scene knows: exact shapes with ids and attributes, CRS, transform, relations and provenance.
- Parquet has every scene, also those that nobody asks about.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from georefer.building.export.base import Format, Job, Sample, Shown
from georefer.building.export.gathered import Gathered, formed
from georefer.building.export.labels import count_account
from georefer.building.export.tables import IMAGE, Table, image_cell
from georefer.dialects import DIALECTS
from georefer.geometry import Objects
from georefer.scenes import Question
from georefer.scenes.interchange.base import Account
from georefer.scenes.interchange.files import storable
from georefer.scenes.readers import Asked
from georefer.scenes.readers.common import dumped
from georefer.scenes.readers.groundset import class_names
from georefer.scenes.readers.groundset_parquet import MAX_CELL_BYTES, document_of
from georefer.scenes.store import crs_to_text
from georefer.tasks import TASKS

ROWS_A_FILE, ROWS_A_GROUP = 1_000, 100

_COLUMNS = {"image": IMAGE, "file_name": pa.string(), "json": pa.string()}

_ASKS = {
    "rec": "rec", "detection": "detection", "segment": "segment", "presence": "presence", "caption": "caption",
    "classification": "classification", "phrase": "phrase",
}  # fmt: skip
"""What GroundSet's tests ask, by our tasks' names."""

_LIKE_A_PLACE = re.compile(r"\[\s*-?[0-9][0-9.\s-]*,")


def _write(shown: Iterable[Shown], job: Job) -> None:
    train, test = Gathered(), Gathered()
    halves = dict.fromkeys(_half(split) for split in job.splits)
    folder = job.out / "finetuning"
    folder.mkdir()
    tables = {
        half: Table(folder, half, _COLUMNS, rows_a_file=ROWS_A_FILE, rows_a_group=ROWS_A_GROUP, name_of=_file_name)
        for half in halves
    }
    for one in shown:
        half = _half(one.split)
        tables[half].add([_row(one, job)], len(one.picture.data))
        gathered = train if half == "train" else test
        for sample in one.samples:
            asked = _asked(one, sample, gathered, len(gathered.questions), job)
            if asked is not None:
                gathered.questions.append(asked)
    for table in tables.values():
        table.close()
    if train.questions:
        train.write("groundset", job.out / "instructions" / "train" / "GroundSet_TRAIN_it.json", job)
    if test.questions:
        test.write("groundset", job.out / "instructions" / "test", job)


def _half(split: str) -> str:
    return "train" if split == "train" else "test"


def _file_name(half: str, number: int, of: int) -> str:
    return f"{half}-{number:05d}-of-{of:05d}.parquet"


# --- objects --------------------------------------------------------------------------------------------------


def _row(one: Shown, job: Job) -> dict[str, Any]:
    scene, account = one.scene, Account()
    told: dict[str, Any] = {"scene": scene.id}
    if scene.grid.crs is not None:
        told |= {"crs": crs_to_text(scene.grid.crs), "transform": list(scene.grid.transform)[:6]}
    if scene.relations:
        told["relations"] = [[relation.subject, relation.predicate, relation.object] for relation in scene.relations]
    told["provenance"] = {key: value for key, value in scene.provenance.items() if storable(value)}
    text = dumped(document_of(scene.objects, scene.size, told, account))
    if len(text.encode()) > MAX_CELL_BYTES:
        account.changed.add(f"json of over {MAX_CELL_BYTES:,} bytes, which our reader passes over", scene.id)
    count_account(job, account)
    return {"image": image_cell(one), "file_name": _image(one), "json": text}


def _image(one: Shown) -> str:
    """How instructions name a picture, from images/ on."""
    return one.picture.path.removeprefix("images/")


# --- questions ------------------------------------------------------------------------------------------------


def _asked(one: Shown, sample: Sample, gathered: Gathered, number: int, job: Job) -> Asked | None:
    question, task = sample.question, TASKS[sample.question.task]
    asks = _ASKS.get(task.name)
    is_test = _half(one.split) == "test"
    if asks is None and is_test:
        job.take_back(one, sample, f"GroundSet's tests do not ask what {task.name} asks")
        return None
    prompt = _listing(question) if task.name == "phrase" else sample.prompt
    if prompt is None:
        job.take_back(one, sample, "classes that a list in quotes cannot hold")
        return None
    words = [value for value in question.params.values() if isinstance(value, str)]
    words += [sample.answer] if task.form is None else []
    if is_test and any(_LIKE_A_PLACE.search(word) for word in words):
        job.take_back(one, sample, "words that read as a place, whose numbers a test file would change")
        return None
    form, ids = task.form, ()
    params: dict[str, Any] = {"scale": 1000, "task": "guessed"}
    answer: str | None = sample.answer
    objects = Objects.none()
    if form is not None:
        said = form.of(sample.objects, DIALECTS["groundset"])
        if any(len(getattr(shape, "interiors", ())) for shape in said.geometries_N):
            job.take_back(one, sample, "outline with holes, which GroundSet's rings cannot say")
            return None
        objects, answer = formed(said, str(said.kinds_N[0]) if len(said) else "none"), None
        ids = tuple(objects.ids_N)
    if is_test and (label := _class_of(sample)) is not None:
        params["class"] = label
    name = gathered.image(one, objects)
    return Asked(str(number), name, asks or "chat", prompt, answer, ids, params, one.split)


def _listing(question: Question) -> str | None:
    """The words for several classes, whose names stand in quotes here; None for names that could not be told apart."""
    labels = [str(label) for label in question.params["labels"]]
    text = "Find every object of these classes and say its class: ['" + "', '".join(labels) + "']"
    return text if class_names(text) == labels else None


def _class_of(sample: Sample) -> str | None:
    """The class by which GroundSet's scorers group a test: the one asked about, or that of what is meant."""
    if "label" in sample.question.params:
        return str(sample.question.params["label"])
    if sample.question.task == "classification":
        return sample.answer
    return str(sample.objects.labels_N[0]) if sample.question.task == "rec" and len(sample.objects) else None


GROUNDSET = Format(
    "groundset",
    "GroundSet as published: finetuning/*.parquet, instructions/train/ and instructions/test/",
    _write,
    dialect="groundset",
    keeps_unasked=True,
)
