"""Detection of several classes at once: every object of the classes named, each as a box with its class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame
from georefer.scenes import Question, Scene
from georefer.scoring import Ratio, Row, count_matches
from georefer.scoring.greedy import within_class
from georefer.tasks.base import BOX, Asking, Form, in_reading_order, truth, worded
from georefer.tasks.multilabel import listed

PRESENT = 4
"""Classes that are there in one question; a scene of more is asked about in several."""


class Phrase:
    """`params["labels"]` are the classes asked for, those that are there and those that are not in one row.

    No object is of two of them, and each is to be said under the one asked for: `params["called"]` has it by own class.

    Scored at IoU 0.5 under optimal one-to-one matching within classes (words in any case, "_" as a blank): a box
    under another class, or under none, is a false one. So only dialects that say labels can hold the answer; "f1 of
    places" ignores classes and serves the others. "absent" is the share of the absent classes asked for of which a
    readable answer says no box.
    """

    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "f1": Ratio({"tp": 2}, {"tp": 2, "fp": 1, "fn": 1}),
            "precision": Ratio({"tp": 1}, {"tp": 1, "fp": 1}),
            "recall": Ratio({"tp": 1}, {"tp": 1, "fn": 1}),
            "f1-any-class": Ratio({"placed": 2}, {"said": 1, "true": 1}),
            "absent": Ratio({"absent_right": 1}, {"absent_asked": 1}),
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def __init__(self, name: str = "phrase", form: Form = BOX) -> None:
        self.name, self.form = name, form

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        listed = asking.known(scene).listed
        groups = _apart([listed[i] for i in rng.permutation(len(listed))], scene, asking) or [[]]
        named = [self._mixed(group + asking.absent_labels(scene, rng), rng) for group in groups]
        numbered = asking.choose(self.name, [pair for pair in enumerate(named) if pair[1]], rng)
        return [self._question(scene, asking, number, labels) for number, labels in numbered]

    @staticmethod
    def _mixed(labels: list[str], rng: np.random.Generator) -> list[str]:
        """In an order that does not tell which are there."""
        return [labels[i] for i in rng.permutation(len(labels))]

    def _question(self, scene: Scene, asking: Asking, number: int, labels: list[str]) -> Question:
        found = {label: in_reading_order(asking.labelled(scene, label)) for label in labels}
        called = {str(own): label for label, objects in found.items() for own in objects.labels_N if own != label}
        params = {"labels": labels, **({"called": called} if called else {})}
        ids = tuple(id_ for objects in found.values() for id_ in objects.ids_N)
        return Question(f"{scene.id}/{self.name}/{number}", scene.id, self.name, params, ids)

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        return worded(
            question,
            lambda params: (
                f"Find every object of these classes and say its class: {listed(params['labels'])}. {self.form.wish}"
            ).rstrip(),
        )

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        return dialect.write(self.form.of(truth(question, scene), dialect), frame)

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        gold, found = truth(question, scene), reading.areas
        iou_PT = self.form.iou(found, gold)
        said, true = _plain(found.labels_N), _plain(gold.labels_N)
        absent = set(_plain(question.params.get("labels", ()))) - set(true)
        return {
            **count_matches(within_class(iou_PT, said, true)),
            "placed": count_matches(iou_PT)["tp"],
            "said": float(len(found)),
            "true": float(len(gold)),
            "absent_asked": float(len(absent)),
            "absent_right": float(len(absent - set(said)) if reading.readable else 0),
            "readable": float(reading.readable),
            "asked": 1.0,
        }


def _apart(labels: Sequence[str], scene: Scene, asking: Asking) -> list[list[str]]:
    """Classes in groups of at most `PRESENT`, in none of which an object is of two."""
    own = {str(label) for label in scene.objects.labels_N}
    groups: list[tuple[list[str], set[str]]] = []
    for label in labels:
        bearers = {name for name in own if label in asking.kinds(name)}
        for group, taken in groups:
            if len(group) < PRESENT and not bearers & taken:
                break
        else:
            groups.append((group := [], taken := set()))
        group.append(label)
        taken |= bearers
    return [group for group, _ in groups]


def _plain(labels: Sequence[str] | np.ndarray) -> list[str]:
    return [" ".join(str(label).lower().replace("_", " ").split()) for label in labels]
