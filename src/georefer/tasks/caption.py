"""Captions: the scene told in words, scored by what they say of its objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from georefer.dialects import Dialect, Reading
from georefer.geometry import Frame
from georefer.scenes import Question, Scene
from georefer.scoring import Ratio, Row
from georefer.scoring.captions import ptb_tokenize, rouge_l
from georefer.scoring.captions.grounded import (
    CLAIM_ACCURACY,
    CLASS_PRECISION,
    CLASS_RECALL,
    COLUMNS,
    COUNT_ACCURACY,
    POSITION_ACCURACY,
)
from georefer.tasks.base import Asking, worded
from georefer.tasks.classification import is_clear, rounded, where
from georefer.tasks.description import claims_row, describe, describe_one, spoken_names

MAX_CHARACTERS = 20_000
"""Of an answer; what is behind them is not read."""


class Caption:
    """`answer_text` is a caption that was proved; `params["names"]` the dataset's classes with their other names.

    "f1" asks that every class there is named, counted and placed, three things each: those that are said right and
    never wrong are hits, those missing are misses, and every wrong claim, on whatever class, is a false one. What is
    said twice counts once, and more right claims on a class whose things are said add nothing. "rouge-l" compares
    with the reference's words. A published caption comes without names: it is not held against objects.

    Of classes in `params["uncounted"]` slivers show besides the objects, or a wider class has some that may be of it:
    no number is asked of them. Classes that are perhaps there are not among the names.
    """

    name = "caption"
    form = None
    measures: Mapping[str, Ratio] = MappingProxyType(
        {
            "f1": Ratio({"hits": 2}, {"hits": 1, "wrong": 1, "wanted": 1}),
            "claims": CLAIM_ACCURACY,
            "class-precision": CLASS_PRECISION,
            "class-recall": CLASS_RECALL,
            "counts": COUNT_ACCURACY,
            "positions": POSITION_ACCURACY,
            "rouge-l": Ratio({"rouge": 1}, {"asked": 1}),
            "readable": Ratio({"readable": 1}, {"asked": 1}),
        }
    )

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        # a scene with a class that is not to be asked about cannot be told without it
        own = set(scene.objects.labels_N)
        if not own <= set(asking.labels) or asking.per_task.get(self.name, 1) < 1:
            return []
        known = asking.known(scene)
        labels = [label for label in asking.labels if label in own or label in known.absent]
        uncounted = _uncounted(own, asking, known.counted)
        whole = not asking.slivers
        text = describe(scene.objects, scene.size, rng, labels=labels, uncounted=uncounted, whole=whole)
        if not text:
            return []
        params: dict[str, Any] = {"names": {label: list(names) for label, names in spoken_names(labels).items()}}
        if uncounted:
            params["uncounted"] = uncounted
        return [Question(f"{scene.id}/{self.name}", scene.id, self.name, params, answer_text=text)]

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        return worded(question, lambda params: "Describe the image: what is there, how many of each, and where.")

    def answer(self, question: Question, scene: Scene, dialect: Dialect, frame: Frame) -> str:
        assert question.answer_text is not None
        return question.answer_text

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        assert question.answer_text is not None
        said = reading.text[:MAX_CHARACTERS]
        names = question.params.get("names")
        uncounted = question.params.get("uncounted", ())
        row = dict.fromkeys((*COLUMNS, "uncounted"), 0.0)
        if names is not None:
            row |= _grounded(said, scene, names, uncounted)
        words = ptb_tokenize(said)
        rouge = rouge_l([words], [[ptb_tokenize(question.answer_text)]])[0] if words else 0.0
        return {
            **row,
            "hits": row["named_right"] + row["classes_counted"] + row["classes_placed"],
            "wrong": row["claims"] - row["claims_right"],
            "wanted": 3 * row["there"] - row["uncounted"],
            "rouge": min(1.0, rouge),
            "readable": float(bool(words)),
            "asked": 1.0,
        }


class RegionCaption(Caption):
    """`params["region"]` is the object that is told, by its id, and `params["region_px"]` its box in scene pixels.

    Its class and its place in the image are asked for. What else is said of classes is wrong, but for those that the
    object is a kind of, or may be.
    """

    name = "region-caption"

    def questions(self, scene: Scene, asking: Asking, rng: np.random.Generator) -> list[Question]:
        clear = np.flatnonzero(is_clear(scene.objects) & np.isin(scene.objects.labels_N, asking.labels)).tolist()
        found, spelled = [], spoken_names(asking.labels)
        for place in asking.choose(self.name, clear, rng):
            one = scene.objects[[place]]
            id_, own = str(one.ids_N[0]), str(one.labels_N[0])
            others = asking.perhaps(own) - {own}
            names = {label: list(words) for label, words in spelled.items() if label not in others}
            if text := describe_one(one, scene.size, names):
                params = {"region": id_, "region_px": rounded(one.hbb_N4[0]), "names": names, "uncounted": [own]}
                found.append(Question(f"{scene.id}/{self.name}/{id_}", scene.id, self.name, params, answer_text=text))
        return found

    def prompt(self, question: Question, dialect: Dialect, frame: Frame) -> str:
        return worded(
            question,
            lambda params: (
                f"Describe what is {where(params, dialect, frame)}: its class, and where in the image it is."
            ),
        )

    def score(self, reading: Reading, question: Question, scene: Scene) -> Row:
        return super().score(reading, question, replace(scene, objects=scene.objects.with_ids(_region(question))))


def _region(question: Question) -> list[str]:
    """The object told; none in a published question, which is compared in words alone."""
    return [question.params["region"]] if "region" in question.params else []


def _uncounted(own: set[str], asking: Asking, counted: Collection[str]) -> list[str]:
    """Of the classes there those of which there may be more than objects that bear them."""
    wider = set[str]().union(*(asking.kinds(label) - {label} for label in own))
    return sorted(label for label in own if label not in counted or label in wider)


def _grounded(said: str, scene: Scene, names: Mapping[str, list[str]], uncounted: Collection[str]) -> Row:
    unnamed: dict[str, list[str]] = {str(label): [] for label in scene.objects.labels_N if label not in names}
    return claims_row(said, scene.objects, scene.size, {**names, **unnamed}, uncounted)
