"""Label audit: what in a dataset's objects, questions and answers cannot be right, or cannot be learned.

Wrong labels are learned as diligently as right ones, so they are counted before training. Per scene and question:

    zero area, off the image, over the edge     shapes that say no place, or one that is not in the picture
    tiny, huge                                  a side below `min_px`; a box over nearly the whole image
    duplicate, two classes                      two shapes on one place, of one class or of two
    unknown object, unknown task                a question that refers to what is not there
    contradiction, repetition                   one prompt about one image, with different answers or the same
    cannot be said, gold below full             a right answer that the dialect has no words for, or would not score 1
    too long                                    an answer beyond the token budget: it would be cut in training

`ERRORS` are wrong whatever the use; the others depend on it. Images are told apart by their bytes, so two scenes with
one picture are one image here. Class balance is counted over all objects and questions.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from georefer.dialects import DIALECTS, Dialect
from georefer.errors import InputError
from georefer.geometry import Objects
from georefer.scenes import Dataset, Question, Scene
from georefer.tasks import TASKS, Task

ERRORS = (
    "zero area", "off the image", "two classes", "duplicate", "unknown object", "unknown task", "contradiction",
    "cannot be said", "gold below full", "too long",
)  # fmt: skip
MAX_PAIRS = 10_000
"""Pairs of overlapping shapes of one scene that are looked at: a scene of copies must not take all day."""
_AT_ONCE = 100
_TOKEN = re.compile(r"\d|[^\W\d_]{1,6}|[^\s\w]|_")


@dataclass(frozen=True)
class LabelSettings:
    """What counts as odd."""

    dialect: str = "georefer"
    """The dialect in which prompts and answers are written."""
    min_px: float = 4.0
    """Shapes whose box has a shorter side are tiny."""
    huge: float = 0.9
    """Shapes whose box covers more of the image than this are huge."""
    same: float = 0.95
    """Shapes with this IoU lie on one place."""
    edge_px: float = 1.0
    """How far a shape may run over the edge of its image."""
    budget: int = 1024
    """Tokens that an answer may have."""
    examples: int = 5
    """Examples kept of each finding."""

    def __post_init__(self) -> None:
        if self.dialect not in DIALECTS:
            raise ValueError(f"there is no dialect '{self.dialect}'; choose among {', '.join(DIALECTS)}")
        if self.budget < 1 or self.examples < 0 or not 0 < self.same <= 1:
            raise ValueError("expected a budget from 1, examples from 0 and same above 0 and at most 1")


@dataclass(frozen=True)
class LabelAudit:
    """Counts by finding with examples, and how often each class and answer occurs.

    `findings` maps a split to findings to counts, `examples` alike to where they are; `objects`, `asked` and `answers`
    map a split to counts of classes, of tasks, and of "task: answer in words".
    """

    dataset: str
    settings: LabelSettings
    scenes: Mapping[str, int]
    findings: Mapping[str, Mapping[str, int]]
    examples: Mapping[str, Mapping[str, Sequence[str]]]
    objects: Mapping[str, Mapping[str, int]]
    asked: Mapping[str, Mapping[str, int]]
    answers: Mapping[str, Mapping[str, int]]

    @property
    def errors(self) -> int:
        """Findings that are wrong whatever the use."""
        return sum(found.get(kind, 0) for found in self.findings.values() for kind in ERRORS)

    def imbalance(self, split: str) -> float | None:
        """How many times as often the most frequent class occurs as the rarest; None without objects."""
        counts = self.objects[split].values()
        return max(counts) / min(counts) if counts else None

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            **vars(self),
            "settings": vars(self.settings),
            "errors": self.errors,
            "imbalance": {split: self.imbalance(split) for split in self.objects},
        }


def estimated_tokens(text: str) -> int:
    """About the tokens of a text: one a digit and sign, one for six letters; what tokenizers of today come near to."""
    return sum(1 for _ in _TOKEN.finditer(text))


def audit_labels(
    dataset: Dataset, settings: LabelSettings | None = None, splits: Sequence[str] = (),
    count_tokens: Callable[[str], int] = estimated_tokens,
) -> LabelAudit:  # fmt: skip
    """Looks at every scene and question of a dataset's splits (all, where none is named), one scene in memory.

    `count_tokens` is a model's own count where one wants to be exact. InputError for a split that is not there.
    """
    settings = settings or LabelSettings()
    names = list(splits) or list(dataset.manifest["splits"])
    if missing := set(names) - set(dataset.manifest["splits"]):
        raise InputError(
            f"{dataset.folder} has no split {', '.join(sorted(missing))}; choose among "
            f"{', '.join(dataset.manifest['splits'])}"
        )
    looked = {name: _Split(settings, count_tokens).look(dataset, name) for name in names}
    return LabelAudit(
        str(dataset.folder),
        settings,
        {name: found.scenes for name, found in looked.items()},
        {name: dict(found.counts.most_common()) for name, found in looked.items()},
        {name: dict(found.examples) for name, found in looked.items()},
        {name: dict(found.objects.most_common()) for name, found in looked.items()},
        {name: dict(found.asked.most_common()) for name, found in looked.items()},
        {name: dict(found.answers.most_common(20)) for name, found in looked.items()},
    )


@dataclass
class _Split:
    """One split while it is looked at."""

    settings: LabelSettings
    count_tokens: Callable[[str], int]
    scenes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    objects: Counter[str] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    said: dict[bytes, tuple[bytes, str]] = field(default_factory=dict)
    """Answer and question by image and prompt, as hashes."""

    def look(self, dataset: Dataset, split: str) -> _Split:
        by_scene: dict[str, list[Question]] = defaultdict(list)
        for question in dataset.questions(split):
            by_scene[question.scene_id].append(question)
        for scene in dataset.scenes(split):
            self.scenes += 1
            self.objects.update(map(str, scene.objects.labels_N))
            for kind, where in shape_findings(scene, self.settings):
                self._note(kind, f"{scene.id}: {where}")
            self._look_at_questions(scene, by_scene.pop(scene.id, []))
        for left in by_scene.values():
            for question in left:
                self._note("unknown object", f"{question.id}: no scene {question.scene_id}")
        return self

    def _note(self, kind: str, where: str) -> None:
        self.counts[kind] += 1
        if len(self.examples[kind]) < self.settings.examples:
            self.examples[kind].append(where[:300])

    def _look_at_questions(self, scene: Scene, questions: Sequence[Question]) -> None:
        image = hashlib.sha256(scene.image).digest()
        known = set(scene.objects.ids_N)
        for question in questions:
            self.asked[question.task] += 1
            if question.answer_text is not None:
                self.answers[f"{question.task}: {question.answer_text[:40]}"] += 1
            if missing := [i for i in question.answer_ids if i not in known]:
                self._note("unknown object", f"{question.id}: {', '.join(missing[:3])}")
            elif question.task not in TASKS:
                self._note("unknown task", f"{question.id}: {question.task}")
            else:
                self._look_at_answer(scene, question, image)

    def _look_at_answer(self, scene: Scene, question: Question, image: bytes) -> None:
        task, dialect = TASKS[question.task], DIALECTS[self.settings.dialect]
        frame = dialect.frame_for(scene.size)
        if not _can_hold(task, dialect):
            self._note("left out: the dialect says no such shapes", question.id)
            return
        try:
            prompt, answer = task.prompt(question, dialect, frame), task.answer(question, scene, dialect, frame)
        except (ValueError, KeyError, AssertionError) as error:
            self._note("cannot be said", f"{question.id}: {error}")
            return
        self._compare(question, image, prompt, answer)
        if (tokens := self.count_tokens(answer)) > self.settings.budget:
            self._note("too long", f"{question.id}: {tokens} tokens")
        row = task.score(dialect.read(answer, frame), question, scene)
        (top,), (bottom,) = next(iter(task.measures.values())).terms([row])
        if top < bottom * (1 - 1e-9):
            self._note("gold below full", f"{question.id}: {top / bottom:.3f}, {answer[:120]!r}")

    def _compare(self, question: Question, image: bytes, prompt: str, answer: str) -> None:
        key = hashlib.sha256(image + prompt.encode()).digest()[:16]
        said = hashlib.sha256(answer.encode()).digest()[:16]
        earlier, id_ = self.said.setdefault(key, (said, question.id))
        if id_ != question.id:
            kind = "repetition" if earlier == said else "contradiction"
            self._note(kind, f"{question.id} and {id_}: {prompt[:120]!r}")


def _can_hold(task: Task, dialect: Dialect) -> bool:
    return task.form is None or bool(set(task.form.kinds) & dialect.kinds)


# --- shapes ---------------------------------------------------------------------------------------------------


def shape_findings(scene: Scene, settings: LabelSettings) -> Iterator[tuple[str, str]]:
    """(finding, object and reason) of a scene's areas; points and lines, which have none, only for where they lie."""
    objects, (width, height) = scene.objects, scene.size
    boxes_N4 = objects.hbb_N4
    is_area_N = ~np.isin(objects.kinds_N.astype(str), ("point", "line"))
    area_N = np.nan_to_num(shapely.area(objects.geometries_N))
    for i, (x1, y1, x2, y2) in enumerate(boxes_N4):
        where = f"{objects.labels_N[i]} {objects.ids_N[i]} at {x1:.1f}, {y1:.1f}, {x2:.1f}, {y2:.1f}"
        if not np.isfinite(boxes_N4[i]).all() or (is_area_N[i] and area_N[i] <= 0):
            yield "zero area", where
            continue
        if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            yield "off the image", where
        elif min(x1, y1, width - x2, height - y2) < -settings.edge_px:
            yield "over the edge", where
        if is_area_N[i] and min(x2 - x1, y2 - y1) < settings.min_px:
            yield "tiny", where
        if is_area_N[i] and (x2 - x1) * (y2 - y1) > settings.huge * width * height:
            yield "huge", where
    yield from _same_places(objects[is_area_N & (area_N > 0)], settings.same)


def _same_places(objects: Objects, same: float) -> Iterator[tuple[str, str]]:
    """Pairs of shapes that lie on one place."""
    shapes_N = objects.geometries_N
    tree, looked = shapely.STRtree(shapes_N), 0
    for begin in range(0, len(shapes_N), _AT_ONCE):
        first_P, second_P = tree.query(shapes_N[begin : begin + _AT_ONCE])
        first_P = first_P + begin
        once_P = first_P < second_P
        first_P, second_P = first_P[once_P][: MAX_PAIRS - looked], second_P[once_P][: MAX_PAIRS - looked]
        looked += len(first_P)
        shared_P = shapely.area(shapely.intersection(shapes_N[first_P], shapes_N[second_P]))
        joined_P = shapely.area(shapes_N[first_P]) + shapely.area(shapes_N[second_P]) - shared_P
        for i, j in zip(first_P[shared_P >= same * joined_P], second_P[shared_P >= same * joined_P], strict=True):
            kind = "duplicate" if objects.labels_N[i] == objects.labels_N[j] else "two classes"
            yield kind, f"{objects.labels_N[i]} {objects.ids_N[i]} and {objects.labels_N[j]} {objects.ids_N[j]}"
        if looked >= MAX_PAIRS:
            return


# --- showing --------------------------------------------------------------------------------------------------


def label_table(found: LabelAudit, listed: int = 3) -> str:
    """Plain text: findings with examples, errors first, then the balance of classes, tasks and answers."""
    lines = [f"{found.dataset}, in the dialect {found.settings.dialect}"]
    for split, counts in found.findings.items():
        questions, objects = sum(found.asked[split].values()), sum(found.objects[split].values())
        lines.append(f"{split}: {found.scenes[split]:,} scenes, {objects:,} objects, {questions:,} questions")
        if not counts:
            lines.append("           nothing odd was found")
        for kind in sorted(counts, key=lambda k: (k not in ERRORS, -counts[k])):
            lines.append(f"{counts[kind]:>9,}  {'' if kind in ERRORS else '(note) '}{kind}")
            lines += [f"             {where}" for where in found.examples[split][kind][:listed]]
        ratio = found.imbalance(split)
        if ratio is not None:
            lines.append(f"  classes (most to rarest {ratio:.1f} to 1): {_listed(found.objects[split])}")
        lines.append(f"  tasks: {_listed(found.asked[split])}")
        if found.answers[split]:
            lines.append(f"  answers in words: {_listed(found.answers[split], 8)}")
    lines.append(f"{found.errors:,} errors" if found.errors else "no errors")
    return "\n".join(lines)


def _listed(counts: Mapping[str, int], most: int = 12) -> str:
    shown = ", ".join(f"{name} {count:,}" for name, count in list(counts.items())[:most])
    return shown + (f" and {len(counts) - most} more" if len(counts) > most else "")
