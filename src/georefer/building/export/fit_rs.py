"""FIT-RS as it is published: training rows and talks, and for the other splits its two benchmarks.

    FIT-RS-<split>.json                              a row a question, LLaVA's form
    multiturn/FIT-RS-multiturn-<split>.json          a row a scene: one question of each task, from rough to fine
    FIT-RSFG/FIT-RSFG-Bench/<split>_FITRS_<what>_eval.jsonl
    FIT-RSRC/FIT-RSRC_Questions.jsonl                single choice, a row a rotation

FIT-RS knows oriented boxes only: questions for boxes and outlines are left out, so ask for the tasks ending in -obb.
Where its scorers need its words, they take the place of the task's own, unless a label would not come back from them:

- detection says "There are 2 cars in the image", behind the mark [detection];
- the graph of an image also lists the objects that stand in no relation;
- the graph of a region begins with a sentence on it, which the scorer passes over. Sizes there are ours: sides of a
  square of the same area up to 32 px are small, up to 96 medium, up to 200 large; touching the border is partial;
- a list of classes is asked for with the ending that the scorer knows.

How FIT-RS strings its talks together is not documented; in ours the answers so far may help with the next question.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import shapely

from georefer.building.export.base import Format, Job, Sample, Shown
from georefer.building.export.gathered import Gathered
from georefer.dialects import Relation
from georefer.dialects.fit import FitDialect
from georefer.dialects.reader import MAX_OBJECTS
from georefer.geometry import Frame, Objects
from georefer.scenes import Scene
from georefer.scenes.readers import Asked
from georefer.tasks.predicates import relations_of

_DIALECT = FitDialect()

_COMPLEX = {
    "detection-obb": "task1", "relation-detection": "task2", "relation-reasoning": "task3",
    "object-reasoning-obb": "task4", "region-graph-obb": "task5", "image-graph-obb": "task6",
}  # fmt: skip
_VQA = {"vqa": "count", "presence": "presence"}
"""Categories of complex comprehension and of VQA, by our tasks."""

_BENCH = {
    **dict.fromkeys(_COMPLEX, "complex_comprehension"), **dict.fromkeys(_VQA, "vqa"),
    "multilabel": "imageclassify", "caption": "image_caption", "region-caption": "region_caption",
}  # fmt: skip
"""The file of FIT-RSFG for each task; other tasks stand in none."""

_ASKS = {
    "multilabel": "multilabel", "vqa": "vqa", "presence": "vqa", "caption": "caption", "region-caption": "caption",
}  # fmt: skip

_TALK = (
    "caption", "region-caption", "multilabel", "vqa", "rec-obb", "detection-obb", "object-reasoning-obb",
    "relation-detection", "relation-reasoning", "region-graph-obb", "image-graph-obb",
)  # fmt: skip
"""Turns of a talk, in order."""

_MANY = "Answer with all applicable classes separated by commas."
_SIZES = ((32, "small"), (96, "medium"), (200, "large"))


def _write(shown: Iterable[Shown], job: Job) -> None:
    benches: dict[str, Gathered] = {}
    by_split = {split: (Gathered(), Gathered()) for split in job.splits}
    for one in shown:
        rows, talks = by_split[one.split]
        asked = {sample.question.id: _asked(one, sample, rows) for sample in one.samples}
        rows.questions += asked.values()
        talks.questions += _talk(one, asked, talks)
        for sample in one.samples if one.split != "train" else ():
            _add_to_bench(benches, one, sample, asked[sample.question.id])
    for split, (rows, talks) in by_split.items():
        rows.write("fit-rs", job.out / f"FIT-RS-{split}.json", job)
        if talks.questions:
            talks.write("fit-rs", job.out / "multiturn" / f"FIT-RS-multiturn-{split}.json", job, "turns of talks")
    for name, gathered in benches.items():
        gathered.write("fit-bench", job.out / name, job, "benchmark rows")


def _asked(one: Shown, sample: Sample, gathered: Gathered) -> Asked:
    assert one.frame is not None
    question, answer = _said(one.scene, one.frame, sample)
    name = gathered.image(one, Objects.none())
    return Asked(sample.question.id, name, "chat", question, answer, split=one.split)


def _talk(one: Shown, asked: dict[str, Asked], gathered: Gathered) -> Iterator[Asked]:
    """The first question of each task, in the order of the talk; nothing for a scene of fewer than two."""
    firsts = {sample.question.task: asked[sample.question.id] for sample in reversed(one.samples)}
    turns = [firsts[task] for task in _TALK if task in firsts]
    if len(turns) < 2:
        return
    name, record = gathered.image(one, Objects.none()), f"{one.scene.id}/talk"
    for number, turn in enumerate(turns):
        params = {"record": record, "turn": number}
        yield Asked(f"{record}#{number}", name, "chat", turn.text, turn.answer, params=params, split=one.split)


def _add_to_bench(benches: dict[str, Gathered], one: Shown, sample: Sample, asked: Asked) -> None:
    question, task = sample.question, sample.question.task
    if task == "relation-choice" and {"type", "group"} <= set(question.params):
        ending = "" if one.split == "test" else f"_{one.split}"
        name, asks = f"FIT-RSRC/FIT-RSRC_Questions{ending}.jsonl", "choice"
        params = {"category": question.params["type"], "question_id": question.params["group"]}
    elif task in _BENCH:
        name = f"FIT-RSFG/FIT-RSFG-Bench/{one.split}_FITRS_{_BENCH[task]}_eval.jsonl"
        # a question that came with its own words need not count anything
        of_vqa = "vqa" if task in _VQA and "prompt" in question.params else _VQA.get(task)
        category = _COMPLEX.get(task, of_vqa)
        asks, params = _ASKS.get(task, "chat"), {} if category is None else {"category": category}
    else:
        return
    gathered = benches.setdefault(name, Gathered())
    image = gathered.image(one, Objects.none())
    gathered.questions.append(Asked(question.id, image, asks, asked.text, asked.answer, params=params, split=one.split))


# --- words ----------------------------------------------------------------------------------------------------


def _said(scene: Scene, frame: Frame, sample: Sample) -> tuple[str, str]:
    """Question and answer in FIT-RS's words."""
    task, params = sample.question.task, sample.question.params
    if task == "detection-obb":
        mark = "" if sample.prompt.startswith("[detection]") else "[detection]"
        return mark + sample.prompt, _counted(str(params.get("label", "")), sample, frame)
    if task == "region-graph-obb":
        return sample.prompt, _described(scene, frame, sample)
    if task == "image-graph-obb":
        return sample.prompt, _graph(scene, frame) or sample.answer
    if task == "multilabel" and "prompt" not in params and params.get("labels") and params.get("separator", ",") == ",":
        labels = ", ".join(map(str, params["labels"]))
        return f"Which of these classes are in the image: {labels}? {_MANY}", sample.answer
    return sample.prompt, sample.answer


def _counted(label: str, sample: Sample, frame: Frame) -> str:
    said = len(_DIALECT.read(sample.answer, frame).areas)
    if not said:
        return sample.answer
    many = f"There are {said} {label}s" if said > 1 else f"There is 1 {label}"
    text = f"{many} in the image: {sample.answer}"
    found = _DIALECT.read(text, frame)
    return text if not found.problems and list(found.objects.labels_N) == [label] * said else sample.answer


def _described(scene: Scene, frame: Frame, sample: Sample) -> str:
    id_ = str(sample.question.params.get("region"))
    if id_ not in set(scene.objects.ids_N):
        return sample.answer
    (region,) = scene.objects.with_ids([id_])
    (width, height), (x1, y1, x2, y2) = scene.size, region.geometry.bounds
    seen = "fully" if x1 > 0 and y1 > 0 and x2 < width and y2 < height else "partially"
    side = region.geometry.area**0.5
    size = next((name for most, name in _SIZES if side <= most), "giant")
    rows, columns = ("top ", "", "bottom "), ("left ", "", "right ")
    row = rows[min(2, max(0, int((y1 + y2) / 2 / height * 3)))]
    column = columns[min(2, max(0, int((x1 + x2) / 2 / width * 3)))]
    text = f"A {seen} visible {size} {region.label} on the {row + column or 'center '}part of the image. "
    before, after = (_DIALECT.read(said, frame) for said in (sample.answer, text + sample.answer))
    same = len(before.relations) == len(after.relations) and len(before.objects) == len(after.objects)
    plain = not set(region.label) & set(".<>{}\n")
    return text + sample.answer if same and plain else sample.answer


def _graph(scene: Scene, frame: Frame) -> str | None:
    """The graph with all objects that have an area; None where the dialect cannot say them."""
    objects = scene.objects[shapely.area(scene.objects.geometries_N) > 0]
    if len(objects) > MAX_OBJECTS:
        return None
    place = {id_: number for number, id_ in enumerate(objects.ids_N)}
    found = [r for r in relations_of(scene) if r.subject in place and r.object in place]
    try:
        related = [Relation(place[r.subject], r.predicate, place[r.object]) for r in found]
        return _DIALECT.write_graph(objects.to_obb(), related, frame)
    except ValueError:
        return None


FIT_RS = Format(
    "fit-rs",
    "FIT-RS as published: rows and talks with oriented boxes, and of other splits than train FIT-RSFG and FIT-RSRC",
    _write,
    dialect="fit-rs",
    marks=("<image>",),
)
