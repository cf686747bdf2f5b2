"""A published benchmark as a dataset folder, so that it is asked, scored and reported like any other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from georefer.errors import InputError
from georefer.geometry import GeoGrid
from georefer.imagery.encode import as_encoded, decode_image
from georefer.runlog import progress
from georefer.scenes import Dataset, DatasetWriter, Question, Scene, open_dataset
from georefer.scenes.interchange.base import LabelledImage
from georefer.scenes.readers import SOURCES, Asked, Published
from georefer.scenes.readers.embedded import embedded_picture
from georefer.scoring.choice import LETTERS
from georefer.tasks import TASKS
from georefer.tasks.classification import outline_px

TASK_OF: Mapping[str, str] = {
    "rec": "rec", "obb-rec": "rec-obb", "res": "res", "detection": "detection", "segment": "segment",
    "phrase": "phrase", "presence": "presence", "vqa": "vqa", "choice": "choice", "classification": "classification",
    "multilabel": "multilabel", "caption": "caption", "region-caption": "caption",
}  # fmt: skip
"""Which task asks what a published question asks for; the rest has no task yet and is left out, and counted.

Where some of a benchmark's masks are of several objects or of none, all are asked for by "gres"; where it has boxes in
their place and not one outline, by "grec" (see `tasks_of`)."""

SPLIT = "test"


@dataclass(frozen=True)
class Wording:
    """How a benchmark's questions are put: in the publisher's words ("published") or the tasks' own ("own").

    `tasks` overrides `TASK_OF`, such as {"rec": "rec-obb"} for a benchmark whose boxes are oriented.
    """

    words: str = "published"
    tasks: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def told(cls, words: str, asks: Sequence[str]) -> Wording:
        """From texts such as "rec=rec-obb"."""
        pairs = [text.partition("=") for text in asks]
        if wrong := [text for text, (_, equals, _) in zip(asks, pairs, strict=True) if not equals]:
            raise InputError(f"--ask {wrong[0]} was found where FROM=TASK is expected, such as rec=rec-obb")
        return cls(words, {asked: task for asked, _, task in pairs})

    def __post_init__(self) -> None:
        if self.words not in ("published", "own"):
            raise InputError(f"words={self.words} was found where 'published' or 'own' is expected")
        if unknown := sorted(set(self.tasks.values()) - set(TASKS)):
            raise InputError(f"there is no task {', '.join(unknown)}; choose among {', '.join(TASKS)}")


def read_named(text: str, images: Path | None, split: str | None = None) -> tuple[Published, Path]:
    """What NAME=PATH holds, and the folder of its pictures; InputError for an unknown name, or where none is given."""
    name, _, place = text.partition("=")
    if name not in SOURCES:
        raise InputError(f"there is no benchmark '{name}'; choose among {', '.join(SOURCES)}")
    path = Path(place)
    if images is None:
        if not SOURCES[name].holds_pictures:
            raise InputError(f"{text} needs the folder of its images; give it with --images")
        images = path if path.is_dir() else path.parent
    more = {"split": split} if split else {}
    return SOURCES[name].read(path, images=images, **more), images


def prepare(
    published: Published, images: Path, folder: Path, wording: Wording | None = None, split: str = SPLIT
) -> Dataset:
    """Writes the benchmark's images, objects and questions as a dataset of one split, or opens it if it is there.

    To learn from it, give the split "train". The manifest counts what was left out and why. InputError where an image
    is missing, no picture, or of another size than the labels say: a benchmark with holes is another benchmark.
    """
    tasks = tasks_of(published, wording := wording or Wording())
    # which file it was is told by the ids of its questions
    asked_ids = hashlib.sha256("\n".join(id_ for id_, _ in question_ids(published)).encode()).hexdigest()[:16]
    identity = {
        "benchmark": published.name, "words": wording.words, "tasks": dict(wording.tasks),
        "asked": len(published.questions), "asked_ids": asked_ids,
    }  # fmt: skip
    if (folder / "manifest.json").is_file():
        dataset = open_dataset(folder)
        if {key: dataset.manifest.get(key) for key in identity} != identity or split not in dataset.manifest["splits"]:
            raise InputError(f"{folder} holds another benchmark, or this one in other words; choose another folder")
        return dataset
    scene_ids = _scene_ids(published)
    left_out: Counter[str] = Counter()
    asked: dict[str, list[Question]] = {}
    for id_, one in question_ids(published):
        question = _question(
            (id_, scene_ids[one.image]), one, published.images[one.image], wording, tasks.get(one.asks)
        )
        if isinstance(question, str):
            left_out[question] += 1
        else:
            asked.setdefault(one.image, []).append(question)
    if not asked:
        raise InputError(f"{published.name} asks nothing that georefer has a task for ({dict(left_out)}); see --ask")
    with DatasetWriter(folder) as writer:
        scenes = progress(_scenes(published, images, asked, split), "preparing", len(asked), "image")
        writer.write(split, scenes, [question for questions in asked.values() for question in questions])
        card = f"# {published.name}\n\nA published benchmark, prepared by georefer; its licence is its publisher's.\n"
        labels = sorted({label for name in asked for label in map(str, published.images[name].objects.labels_N)})
        return writer.finish(card, **identity, left_out=dict(left_out), account=str(published.account), labels=labels)


def tasks_of(published: Published, wording: Wording) -> dict[str, str]:
    """The task for each kind of question of this benchmark: one for all of a kind, so that its scores are of all."""
    tasks = dict(TASK_OF)
    masks = [one for one in published.questions if one.asks == "res"]
    if any(len(one.object_ids) != 1 for one in masks):
        tasks["res"] = "gres"
    if any(one.object_ids for one in masks) and all(_only_boxes(one, published) for one in masks if one.object_ids):
        tasks["res"] = "grec"
    return tasks | dict(wording.tasks)


def _only_boxes(one: Asked, published: Published) -> bool:
    kinds = published.images[one.image].objects.with_ids(one.object_ids).kinds_N
    return set(map(str, kinds)) <= {"hbb"}


def question_ids(published: Published) -> Iterator[tuple[str, Asked]]:
    """The published questions with ids that are unique: files repeat theirs from task to task, and within one."""
    seen: Counter[str] = Counter()
    for one in published.questions:
        id_ = f"{one.asks}/{one.id}"
        seen[id_] += 1
        yield (id_ if seen[id_] == 1 else f"{id_}#{seen[id_]}"), one


def _question(
    ids: tuple[str, str], one: Asked, image: LabelledImage, wording: Wording, task: str | None
) -> Question | str:
    """The question with these ids (its own and its scene's), or why there is none."""
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
    if one.asks == "res" and one.text:
        params.setdefault("expression", one.text)
    if wording.words == "published" and one.text:
        params["prompt"] = one.text.replace("<image>", "").strip()
    answer = _answer_text(one, task)
    if TASKS[task].form is None and answer is None:
        return "no answer in words"
    if task in ("rec", "rec-obb", "res") and len(one.object_ids) != 1:
        return f"{len(one.object_ids)} objects answer where one is expected"
    if task in ("res", "gres") and "hbb" in set(map(str, image.objects.with_ids(one.object_ids).kinds_N)):
        return "a box answers where an outline is expected"
    if task == "choice" and not params.get("options"):
        return "a choice without options"
    worded = set(params) & {"expression", "label", "labels", "options", "region_px"}
    if "prompt" not in params and not worded and one.asks not in ("caption", "multilabel", "classification"):
        return "no words to ask in"
    answer_ids = one.object_ids if TASKS[task].form is not None else ()
    return Question(*ids, task, params, answer_ids, answer if TASKS[task].form is None else None)


def _answer_text(one: Asked, task: str) -> str | None:
    text = None if one.answer is None else one.answer.strip()
    if task == "presence" and text is not None:
        return next((word for word in ("yes", "no") if text.lower().startswith(word)), None)
    if task == "choice" and text is not None:
        return text.upper() if len(text) == 1 and text.upper() in LETTERS else None
    return text


def _scene_ids(published: Published) -> dict[str, str]:
    """Scenes are named as their images are, without the ending where that leaves the names different."""
    stems = Counter(image.stem for image in published.images.values())
    return {name: image.stem if stems[image.stem] == 1 else name for name, image in published.images.items()}


def _scenes(published: Published, images: Path, asked: Mapping[str, list[Question]], split: str) -> Iterator[Scene]:
    scene_ids = _scene_ids(published)
    for name in asked:
        image = published.images[name]
        data, (width, height) = _picture(images, image)
        grid = GeoGrid.none(width, height)
        provenance = {"source": published.name, "file_name": image.file_name, **_plain(image.attributes)}
        yield Scene(scene_ids[name], data, image.objects, grid, split, provenance)


def _picture(images: Path, image: LabelledImage) -> tuple[bytes, tuple[int, int]]:
    """The image's bytes and size, from the folder; the ending may be another than the labels say."""
    if (held := embedded_picture(images, image.attributes)) is not None:
        height, width = decode_image(held).shape[:2]
        return held, (width, height)
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
