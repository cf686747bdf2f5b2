"""Thoughts before an answer: how what is asked for is narrowed down, every sentence true of the scene's objects.

`params["thought"]` of a question holds the text. It is written where a dialect's own grammar has room for a thought
before the answer (Geo-R1, VisionReasoner, Visual-RFT), and only there the prompt asks for one. A number is "at least"
so many where slivers, a wider class or an unknown attribute may hide one more. Facts of other kinds than attributes,
parts of the image, positions and sizes are left to the last sentence, which repeats the phrase that was proved.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import shapely

from georefer.dialects import Dialect
from georefer.geometry import Objects
from georefer.scenes import Question, Scene
from georefer.scoring.captions.claims import Place
from georefer.scoring.captions.grounded import lies_in
from georefer.tasks.base import Asking, Expression, GroupExpression
from georefer.tasks.description import bends, middles, plural, spoken

ASKED = "First think between <think> and </think>, then answer between <answer> and </answer>."

_PLACES: Mapping[str, Place] = MappingProxyType(
    {
        "left half": Place(-1, None), "right half": Place(1, None),
        "top half": Place(None, -1), "bottom half": Place(None, 1),
        "top left quarter": Place(-1, -1), "top right quarter": Place(1, -1),
        "bottom left quarter": Place(-1, 1), "bottom right quarter": Place(1, 1),
        "middle": Place(0, 0),
    }
)  # fmt: skip
_ORDERS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"leftmost": (0, 1), "rightmost": (0, -1), "topmost": (1, 1), "bottommost": (1, -1)}
)


def has_room(dialect: Dialect) -> bool:
    """Whether a dialect writes its answers between marks, and its grammar has a thought before them."""
    return "<answer>" in dialect.nothing and bool(dialect.strict.fullmatch(f"<think>a</think>{dialect.nothing}"))


def with_thought(answer: str, question: Question, dialect: Dialect) -> str:
    """The answer with the question's thought before it, where there is one and the dialect has room for it."""
    thought = question.params.get("thought")
    return f"<think>{thought}</think>{answer}" if thought and has_room(dialect) else answer


def asked_to_think(prompt: str, question: Question, dialect: Dialect) -> str:
    """The prompt, which asks for a thought where `with_thought` writes one."""
    return f"{prompt} {ASKED}" if question.params.get("thought") and has_room(dialect) else prompt


def thought_params(asking: Asking, thought: str) -> dict[str, str]:
    """What a question brings where thoughts are wanted; a text that holds a mark could be read as a tag."""
    return {"thought": thought} if asking.think and thought and "<" not in thought else {}


def thought_of_class(label: str, scene: Scene, asking: Asking) -> str:
    """How many there are of a class that is detected."""
    known = asking.known(scene)
    return _overview(label, len(asking.labelled(scene, label)), label in (*known.counted, *known.absent))


def thought_of_phrase(expression: Expression | GroupExpression, scene: Scene, asking: Asking) -> str:
    """How many objects each fact of an expression leaves, and what the whole of it means."""
    ids = (expression.object_id,) if isinstance(expression, Expression) else expression.object_ids
    said = [*_narrowed(expression.facts, ids, scene, asking)] if expression.facts else []
    several = f"{len(ids)} objects answer" if ids else "Nothing answers"
    answers = "Only one object answers" if len(ids) == 1 else several
    return " ".join([*said, f'{answers} to "{expression.text}".'])


def _narrowed(facts: tuple[tuple[str, ...], ...], ids: tuple[str, ...], scene: Scene, asking: Asking) -> list[str]:
    (kind, *words), *others = facts
    label = next((label for label in asking.askable if _plain(label) == _plain(words[0])), None)
    if kind != "class" or label is None:
        return []
    left, known = asking.labelled(scene, label), asking.known(scene)
    if not len(left) and label not in known.absent:
        return []
    sure = label in (*known.counted, *known.absent)
    said = [_overview(label, len(left), sure)]
    for fact in others:
        if not len(left):
            break
        if fact[0] in ("position", "size"):
            # what hides may come first
            said += _first(left, fact[1], ids) if sure else []
            continue
        kept_N, doubt_N, one, many = _fits(left, fact, scene.size)
        if one:
            sure &= not doubt_N.any()
            left = left[kept_N]
            if not len(left) and not sure:
                break
            said.append(f"{_of_these(len(left), sure)} {many if len(left) > 1 else one}.")
    return said


def _overview(label: str, count: int, sure: bool) -> str:
    bound = "" if sure else "at least "
    if not bends(label):
        return f'Of the class "{spoken(label)}" there {"is" if count == 1 else "are"} {bound}{count or "none"}.'
    noun = spoken(label) if count == 1 else plural(label)
    return f"There {'is' if count == 1 else 'are'} {bound}{count or 'no'} {noun}."


def _of_these(count: int, sure: bool) -> str:
    if not count:
        return "None of these"
    return f"Of these, {count}" if sure else f"At least {count} of these"


def _fits(objects: Objects, fact: tuple[str, ...], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Of which objects (N,) a fact is true, of which it is not known, and its words of one and of many, if any."""
    unknown_N = np.zeros(len(objects), dtype=bool)
    if fact[0] == "part" and (place := _PLACES.get(fact[1])):
        part = f"in the {fact[1]} of the image"
        true_N = lies_in(place, middles(objects, size))
        return true_N, unknown_N, f"has its middle {part}", f"have their middle {part}"
    if fact[0] == "attribute" and len(fact) == 3:
        values = [attributes.get(fact[1]) for attributes in objects.attributes_N]
        unknown_N = np.array([value is None for value in values])
        kept_N = np.array([value is not None and _value(value) == _plain(fact[2]) for value in values])
        words = f"{_plain(fact[1])} {fact[2]}"
        return kept_N, unknown_N, f"has {words}", f"have {words}"
    return unknown_N, unknown_N, "", ""


def _first(left: Objects, word: str, ids: tuple[str, ...]) -> list[str]:
    """That the one object meant is the first of those left, if it is."""
    if word in _ORDERS:
        axis, sign = _ORDERS[word]
        boxes_N4 = left.hbb_N4
        rank_N = sign * (boxes_N4[:, axis] + boxes_N4[:, axis + 2])
    elif word in ("largest", "smallest"):
        rank_N = shapely.area(left.geometries_N) * (-1 if word == "largest" else 1)
    else:
        return []
    is_it = len(left) > 1 and ids == (str(left.ids_N[int(rank_N.argmin())]),)
    return [f"The {word} of these is meant."] if is_it else []


def _value(value: object) -> str:
    return _plain(f"{value:g}" if isinstance(value, float) else str(value))


def _plain(words: str) -> str:
    return " ".join(words.replace("_", " ").split()).casefold()
