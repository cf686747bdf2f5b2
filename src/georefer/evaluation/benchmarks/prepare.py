"""A published benchmark as a dataset folder, so that it is asked, scored and reported like any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from georefer.errors import InputError
from georefer.geometry import GeoGrid
from georefer.imagery.encode import as_encoded
from georefer.runlog import progress
from georefer.scenes import Dataset, DatasetWriter, Question, Scene, open_dataset
from georefer.scenes.interchange.base import LabelledImage
from georefer.scenes.readers.base import Asked, Published
from georefer.scoring.choice import LETTERS
from georefer.tasks import TASKS
from georefer.tasks.classification import outline_px

TASK_OF: Mapping[str, str] = {
    "rec": "rec", "obb-rec": "rec-obb", "res": "res", "detection": "detection", "segment": "segment",
    "phrase": "phrase", "presence": "presence", "vqa": "vqa", "choice": "choice", "classification": "classification",
    "multilabel": "multilabel", "caption": "caption", "region-caption": "caption",
}  # fmt: skip
"""Which task asks what a published question asks for; the rest has no task yet and is left out, and counted."""

SPLIT = "test"


@dataclass(frozen=True)
class Wording:
    """How a benchmark's questions are put: in the publisher's words ("published") or the tasks' own ("own").

    `tasks` overrides `TASK_OF`, such as {"rec": "rec-obb"} for a benchmark whose boxes are oriented.
    """

    words: str = "published"
    tasks: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.words not in ("published", "own"):
            raise InputError(f"words={self.words} was found where 'published' or 'own' is expected")
        if unknown := sorted(set(self.tasks.values()) - set(TASKS)):
            raise InputError(f"there is no task {', '.join(unknown)}; choose among {', '.join(TASKS)}")


def prepare(published: Published, images: Path, folder: Path, wording: Wording | None = None) -> Dataset:
    """Writes the benchmark's images, objects and questions as a dataset (split "test"), or opens it if it is there.

    The manifest counts what was left out and why. InputError where an image is missing, no picture, or of another
    size than the labels say: a benchmark with holes is another benchmark.
    """
    wording = wording or Wording()
    identity = {
        "benchmark": published.name, "words": wording.words, "tasks": dict(wording.tasks),
        "asked": len(published.questions),
    }  # fmt: skip
    if (folder / "manifest.json").is_file():
        dataset = open_dataset(folder)
        if {key: dataset.manifest.get(key) for key in identity} != identity:
            raise InputError(f"{folder} holds another benchmark, or this one in other words; choose another folder")
        return dataset
    left_out: Counter[str] = Counter()
    asked: dict[str, list[Question]] = {}
    for id_, one in question_ids(published):
        question = _question(id_, one, published.images[one.image], wording)
        if isinstance(question, str):
            left_out[question] += 1
        else:
            asked.setdefault(one.image, []).append(question)
    if not asked:
        raise InputError(f"{published.name} asks nothing that georefer has a task for ({dict(left_out)}); see --ask")
    with DatasetWriter(folder) as writer:
        scenes = progress(_scenes(published, images, asked), "preparing", len(asked), "image")
        writer.write(SPLIT, scenes, [question for questions in asked.values() for question in questions])
        card = f"# {published.name}\n\nA published benchmark, prepared by georefer; its licence is its publisher's.\n"
        return writer.finish(card, **identity, left_out=dict(left_out), account=str(published.account))


def question_ids(published: Published) -> Iterator[tuple[str, Asked]]:
    """The published questions with ids that are unique: files repeat theirs from task to task, and within one."""
    seen: Counter[str] = Counter()
    for one in published.questions:
        id_ = f"{one.asks}/{one.id}"
        seen[id_] += 1
        yield (id_ if seen[id_] == 1 else f"{id_}#{seen[id_]}"), one


def _question(id_: str, one: Asked, image: LabelledImage, wording: Wording) -> Question | str:
    """The question, or why there is none."""
    task = wording.tasks.get(one.asks) or TASK_OF.get(one.asks)
    if task is None:
        return f"no task asks for {one.asks}"
    params: dict[str, Any] = {k: v for k, v in one.params.items() if k in ("expression", "category", "options", "by")}
    if "class" in one.params:
        params["label"] = one.params["class"]
    if "classes" in one.params:
        params["labels"] = list(one.params["classes"])
    if one.params.get("region") in set(image.objects.ids_N):
        thing = image.objects.with_ids([one.params["region"]])
        params["region_px"] = outline_px(thing.geometries_N[0]) or thing.hbb_N4[0].tolist()
    if wording.words == "published" and one.text:
        params["prompt"] = one.text.replace("<image>", "").strip()
    answer = _answer_text(one, task)
    if TASKS[task].form is None and answer is None:
        return "no answer in words"
    if task in ("rec", "rec-obb", "res") and len(one.object_ids) != 1:
        return f"{len(one.object_ids)} objects answer where one is expected"
    if task == "choice" and not params.get("options"):
        return "a choice without options"
    worded = set(params) & {"expression", "label", "labels", "options", "region_px"}
    if "prompt" not in params and not worded and one.asks not in ("caption", "multilabel", "classification"):
        return "no words to ask in"
    ids = one.object_ids if TASKS[task].form is not None else ()
    return Question(id_, _scene_id(one.image), task, params, ids, answer if TASKS[task].form is None else None)


def _answer_text(one: Asked, task: str) -> str | None:
    text = None if one.answer is None else one.answer.strip()
    if task == "presence" and text is not None:
        return next((word for word in ("yes", "no") if text.lower().startswith(word)), None)
    if task == "choice" and text is not None:
        return text.upper() if len(text) == 1 and text.upper() in LETTERS else None
    return text


def _scene_id(name: str) -> str:
    return name.rsplit(".", 1)[0] if "." in name else name


def _scenes(published: Published, images: Path, asked: Mapping[str, list[Question]]) -> Iterator[Scene]:
    for name in asked:
        image = published.images[name]
        data, (width, height) = _picture(images, image)
        grid = GeoGrid.none(width, height)
        provenance = {"source": published.name, "file_name": image.file_name, **_plain(image.attributes)}
        yield Scene(_scene_id(name), data, image.objects, grid, SPLIT, provenance)


def _picture(images: Path, image: LabelledImage) -> tuple[bytes, tuple[int, int]]:
    """The image's bytes and size, from the folder; the ending may be another than the labels say."""
    places = [
        images / image.file_name,
        *(images / f"{image.stem}{ending}" for ending in (".png", ".jpg", ".JPG", ".tif")),
    ]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise InputError(f"{images} holds no {image.file_name}; give the folder of the benchmark's images (--images)")
    data, size = as_encoded(path)
    if image.width is not None and size != (image.width, image.height):
        raise InputError(
            f"{path} is {size[0]}x{size[1]} pixels, but its labels are for {image.width}x{image.height}; give the "
            "images as published"
        )
    return data, size


def _plain(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if isinstance(value, str | int | float | bool)}
