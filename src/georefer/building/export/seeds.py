"""The files of the field's own datasets, through the readers' writers: GroundSet's, refGeo's and FIT-RS's.

    groundset   instructions/train/GroundSet_TRAIN_it.json, instructions/test/GroundSet_EVAL_<task>.jsonl
    refgeo      metainfo/georefer_<split>.jsonl, metainfo/georefer_detection_<split>.jsonl
    fit-rs      FIT-RS-<split>.json

- groundset: tests hold parts of the side, made from the objects and not from rounded words. A split other than train
  is a test. Only what GroundSet asks can be a test; training rows name no task, so any question in its words fits.
- refgeo asks with a phrase or a class alone, and gives box and quadrangle whatever form was asked for: the same phrase
  or class asked in several forms is one record.
- fit-rs knows oriented boxes only: questions for boxes and outlines are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from georefer.building.export.base import Format, Job, Sample, Shown
from georefer.building.export.labels import count_account
from georefer.dialects import DIALECTS
from georefer.geometry import Object, Objects
from georefer.scenes.interchange import LabelledImage
from georefer.scenes.interchange.base import Account
from georefer.scenes.readers import SOURCES, Asked, Published
from georefer.tasks import TASKS

_GROUNDSET_ASKS = {
    "rec": "rec", "detection": "detection", "segment": "segment", "presence": "presence", "caption": "caption",
    "classification": "classification",
}  # fmt: skip
"""What GroundSet's tests ask, by our tasks' names."""

_LIKE_A_PLACE = re.compile(r"\[\s*-?[0-9][0-9.\s-]*,")

REFGEO = "georefer"
"""The subset under which our questions stand in refGeo's folder."""


@dataclass
class _Picture:
    """One image and the objects that answer, each in the forms in which it is written, by their ids."""

    size: tuple[int, int]
    things: dict[str, Object] = field(default_factory=dict)

    def labelled(self, name: str) -> LabelledImage:
        things = list(self.things.values())
        objects = Objects.of(
            [one.geometry for one in things], [one.label for one in things],
            kind=[one.kind for one in things], ids=[one.id for one in things],
        )  # fmt: skip
        return LabelledImage(name, *self.size, objects)


@dataclass
class _Gathered:
    """Images and questions of one file or folder."""

    pictures: dict[str, _Picture] = field(default_factory=dict)
    questions: list[Asked] = field(default_factory=list)

    def image(self, one: Shown, objects: Objects) -> str:
        """The name of a scene's image, with these objects added to those that it has."""
        name = one.picture.path.removeprefix("images/")
        picture = self.pictures.setdefault(name, _Picture(one.scene.size))
        picture.things.update({thing.id: thing for thing in objects})
        return name

    def write(self, source: str, path: Path, job: Job) -> None:
        images = {name: picture.labelled(name) for name, picture in self.pictures.items()}
        writer = SOURCES[source].write
        assert writer is not None
        count_account(job, writer(Published(source, images, tuple(self.questions), Account()), path), "records")


def _formed(objects: Objects, kind: str) -> Objects:
    """Objects under ids that say their form, without what no seed's file holds."""
    return Objects.of(
        objects.geometries_N, objects.labels_N.tolist(), kind=objects.kinds_N.tolist(),
        ids=[f"{kind}:{id_}" for id_ in objects.ids_N],
    )  # fmt: skip


# --- GroundSet ------------------------------------------------------------------------------------------------


def _groundset(shown: Iterable[Shown], job: Job) -> None:
    train, test = _Gathered(), _Gathered()
    for one in shown:
        for sample in one.samples:
            gathered = train if one.split == "train" else test
            asked = _groundset_asked(one, sample, gathered, len(gathered.questions), job)
            if asked is not None:
                gathered.questions.append(asked)
    if train.questions:
        train.write("groundset", job.out / "instructions" / "train" / "GroundSet_TRAIN_it.json", job)
    if test.questions:
        test.write("groundset", job.out / "instructions" / "test", job)


def _groundset_asked(one: Shown, sample: Sample, gathered: _Gathered, number: int, job: Job) -> Asked | None:
    question, task = sample.question, TASKS[sample.question.task]
    asks = _GROUNDSET_ASKS.get(task.name)
    is_test = one.split != "train"
    if asks is None and is_test:
        job.take_back(one, sample, f"GroundSet's tests do not ask what {task.name} asks")
        return None
    words = [value for value in question.params.values() if isinstance(value, str)]
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
        objects, answer = _formed(said, str(said.kinds_N[0]) if len(said) else "none"), None
        ids = tuple(objects.ids_N)
    if is_test and "label" in question.params:
        params["class"] = str(question.params["label"])
    name = gathered.image(one, objects)
    return Asked(str(number), name, asks or "chat", sample.prompt, answer, ids, params, one.split)


# --- refGeo ---------------------------------------------------------------------------------------------------


def _refgeo(shown: Iterable[Shown], job: Job) -> None:
    gathered, numbers, seen = _Gathered(), dict[str, int](), set[tuple[str, ...]]()
    for one in shown:
        for sample in one.samples:
            asked = _refgeo_asked(one, sample, gathered, numbers, seen, job)
            if asked is not None:
                gathered.questions.append(asked)
    gathered.write("refgeo", job.out, job)


def _refgeo_asked(one: Shown, sample: Sample, gathered, numbers, seen, job: Job) -> Asked | None:
    question, task = sample.question, TASKS[sample.question.task]
    words = question.params.get("expression", question.params.get("label"))
    is_phrase = "expression" in question.params
    if task.form is None or not isinstance(words, str) or not words.strip():
        job.take_back(one, sample, "question that is not one of a phrase or a class and its places")
        return None
    if is_phrase and len(sample.objects) != 1:
        job.take_back(one, sample, "phrase that does not mean one object")
        return None
    key = (one.split, one.scene.id, "phrase" if is_phrase else "class", words, *sample.objects.ids_N)
    if key in seen:
        job.take_back(one, sample, "phrase or class asked in another form too, which is the same record")
        return None
    seen.add(key)
    subset = REFGEO if is_phrase else f"{REFGEO}_detection"
    file = f"{subset}_{one.split}"
    numbers[file] = numbers.get(file, -1) + 1
    objects = _formed(sample.objects, "own")
    name = gathered.image(one, objects)
    params = {"dataset": REFGEO, "subset": subset, "question_id": str(numbers[file])}
    kept = "rec" if is_phrase else "detection"
    return Asked(f"{file}/{numbers[file]}", name, kept, words, None, tuple(objects.ids_N), params, one.split)


# --- FIT-RS ---------------------------------------------------------------------------------------------------


def _fit_rs(shown: Iterable[Shown], job: Job) -> None:
    by_split = {split: _Gathered() for split in job.splits}
    for one in shown:
        gathered = by_split[one.split]
        name = gathered.image(one, Objects.none())
        gathered.questions += [_fit_asked(name, sample, one.split) for sample in one.samples]
    for split, gathered in by_split.items():
        gathered.write("fit-rs", job.out / f"FIT-RS-{split}.json", job)


def _fit_asked(name: str, sample: Sample, split: str) -> Asked:
    return Asked(sample.question.id, name, "chat", sample.prompt, sample.answer, split=split)


GROUNDSET = Format(
    "groundset",
    "GroundSet's instruction files: instructions/train/ and instructions/test/",
    _groundset,
    dialect="groundset",
)
REFGEO_FORMAT = Format(
    "refgeo", "refGeo's records: metainfo/georefer_<split>.jsonl, with a box and a quadrangle each", _refgeo,
    dialect="geoground",
)  # fmt: skip
FIT_RS = Format(
    "fit-rs", "FIT-RS's rows (LLaVA's) with its oriented boxes: FIT-RS-<split>.json", _fit_rs, dialect="fit-rs",
    marks=("<image>",),
)  # fmt: skip
