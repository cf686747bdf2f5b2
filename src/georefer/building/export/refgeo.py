"""refGeo's records: a phrase or a class with box and quadrangle, and masks beside them.

    metainfo/georefer_<split>.jsonl, metainfo/georefer_detection_<split>.jsonl
    masks/georefer/<image>_<question_id>.png      of the phrases whose object has an outline

It asks with a phrase or a class alone, and gives box and quadrangle whatever form was asked for: the same phrase or
class asked in several forms is one record.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from georefer.building.export.base import Format, Job, Sample, Shown
from georefer.building.export.gathered import Gathered, formed
from georefer.building.export.pictures import mask_png
from georefer.geometry import Mask
from georefer.scenes.interchange.base import stem_of
from georefer.scenes.readers import Asked
from georefer.tasks import TASKS

SUBSET = "georefer"
"""The subset under which our questions stand in refGeo's folder."""


def _write(shown: Iterable[Shown], job: Job) -> None:
    gathered, numbers, seen = Gathered(), dict[str, int](), set[tuple[str, ...]]()
    for one in shown:
        for sample in one.samples:
            asked = _asked(one, sample, gathered, numbers, seen, job)
            if asked is not None:
                gathered.questions.append(asked)
    gathered.write("refgeo", job.out, job)


def _asked(one: Shown, sample: Sample, gathered, numbers, seen, job: Job) -> Asked | None:
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
    subset = SUBSET if is_phrase else f"{SUBSET}_detection"
    file = f"{subset}_{one.split}"
    numbers[file] = numbers.get(file, -1) + 1
    objects = formed(sample.objects, "own")
    name = gathered.image(one, objects)
    if is_phrase and sample.objects.kinds_N[0] in ("polygon", "mask"):
        _add_mask(one, sample, job.out / "masks" / SUBSET / f"{stem_of(name)}_{numbers[file]}.png", job)
    params = {"dataset": SUBSET, "subset": subset, "question_id": str(numbers[file])}
    kept = "rec" if is_phrase else "detection"
    return Asked(f"{file}/{numbers[file]}", name, kept, words, None, tuple(objects.ids_N), params, one.split)


def _add_mask(one: Shown, sample: Sample, path: Path, job: Job) -> None:
    width, height = one.scene.size
    mask = Mask.of_geometry(sample.objects.geometries_N[0], (height, width))
    if not mask.area:
        job.account.changed.add("object that covers no pixel's centre, written without a mask", sample.question.id)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(mask_png(mask.dense()))


REFGEO = Format(
    "refgeo", "refGeo's records: metainfo/georefer_<split>.jsonl, with a box and a quadrangle each, and masks", _write,
    dialect="geoground", frame="scene",
)  # fmt: skip
