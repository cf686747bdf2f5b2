"""VLM-R1's rewards over words: choices, yes or no, equal texts, form, length, repetition.

Source: github.com/om-ai-lab/VLM-R1 at 90052f4, src/open-r1-multimodal/src/open_r1/grpo_jsonl.py; its quirks are listed
in `georefer.evaluation.protocols.vlm_r1`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from georefer.training.rewards.published.reading import answers, fences, last, load, spans

_LETTER = re.compile(r"(?<![A-Z])[A-Z](?=[.,?!:;]|$)")
_KEYWORDS = (
    "答案", "选择", "正确", "是", "对", "ANSWER", "CORRECT", "CHOOSE", "SELECT", "RIGHT",
    "认为", "应该", "觉得", "THINK", "BELIEVE", "SHOULD",
)  # fmt: skip
"""What speaks for a choice nearby, in capitals as the text is."""

_LONGEST = 1024
_WORDS = 6
_LINE_FEED, _RETURN = re.compile("\n"), re.compile("\r")
_LIST_START = re.compile(r"\[\s*\{")
_LIST_END = re.compile(r"\}\s*\]")
_OBJECT = re.compile(r"\{[^{}]*\}")
_LOOSE_BOX = re.compile(r"bbox_2d['\"]?\s*+:\s*+(\[[^\[\]]*\])")
_LOOSE_LABEL = re.compile(r"label['\"]?\s*+:\s*+['\"]?([^'\",}]*)")


def clean(text: str) -> str:
    """The last answer, or the whole text, in small letters, without line breaks and full stops at its end."""
    found = last(answers(text))
    text = text if found is None else found
    for pattern in (_LINE_FEED, _RETURN):
        text = pattern.sub(_joined, text)
    return text.strip().rstrip(".").lower()


def _joined(mark: re.Match[str]) -> str:
    """What a line break becomes: nothing behind white space, else a space."""
    before = mark.string[mark.start() - 1 : mark.start()] if mark.start() else ""
    return "" if before.isspace() else " "


def first_answer(text: str) -> str:
    """The first answer without white space around it, or the whole text."""
    return next(answers(text), text).strip()


def choice_of(text: str) -> str | None:
    """The letter on its own before a mark or the end that has most near it that speaks for it; None without any.

    All is put into capitals first, and what is near is looked for where the letter first stands, also within a word.
    """
    text = re.sub(r"\s+", " ", text.upper())
    counts = Counter(_LETTER.findall(text))
    if len(counts) < 2:
        return next(iter(counts), None)

    def points(letter: str) -> int:
        place = text.find(letter)
        around = text[max(0, place - 20) : place + 20]
        late = 2 if place > len(text) * 0.7 else 0
        marked = place < len(text) - 1 and text[place + 1] in "。.!！,，"
        return sum(word in around for word in _KEYWORDS) + late + marked

    # every mention adds the points of the first one
    return max(counts, key=lambda letter: counts[letter] * points(letter))


def mcq_reward(content: str, solution: str) -> float:
    """1 where the choice in the first answer is the choice in the solution."""
    said, truth = choice_of(first_answer(content)), first_answer(solution)
    return float(said is not None and said == (choice_of(truth) or truth))


def yes_no_reward(content: str, solution: str) -> float:
    """1 where the first "yes" or "no" is the same on both sides, also within a word, or missing on both."""

    content, solution = content.lower(), solution.lower()
    # an answer that is broken over lines is not found in the solution
    truth = next((answer for line in solution.split("\n") for answer in answers(line)), solution)
    said, right = (re.search("yes|no", text) for text in (next(answers(content), content), truth))
    return float((said and said[0]) == (right and right[0]))


def all_match_reward(content: str, solution: str) -> float:
    """1 where both texts are equal when cleaned."""
    return float(clean(content) == clean(solution))


TEXT_REWARDS: Mapping[str, Callable[[str, str], float]] = MappingProxyType(
    {"mcq": mcq_reward, "yes_no": yes_no_reward, "all_match": all_match_reward}
)


def cosine_reward(tokens: int) -> float:
    """What an answer of that many tokens earns by its length: always as if it were right, which is a slip."""
    return 1.0 - 0.5 * (1 - math.cos(tokens * math.pi / _LONGEST)) / 2


def repetition_reward(content: str) -> float:
    """Minus the share of repeated boxes with labels in the first list, or of repeated runs of six words.

    Raises TypeError, as the original does, where a list holds something else than objects.
    """
    if not content:
        return 0.0
    data = _repaired(_listed(content))
    if data:
        items = [f"{item['bbox_2d']}_{item['label']}" for item in data if "bbox_2d" in item and "label" in item]
        return _repeated(items) if items else 0.0
    words = content.lower().split()
    if len(words) < _WORDS:
        return 0.0
    return _repeated(list(zip(*(words[k:] for k in range(_WORDS)), strict=False)))


def _repeated(items: list[Any]) -> float:
    return -1.0 * (1 - len(set(items)) / len(items))


def _listed(content: str) -> str | None:
    """The first fenced JSON, else the first fence, else the first text that looks like a list of boxes."""
    fenced = next(fences(content), None)
    if fenced is not None:
        return fenced.strip()
    if fenced := next(spans(content, "```", "```"), "").strip():
        return fenced
    place, start = 0, _LIST_START.search(content)
    if start is None:
        return None
    place = start.end()
    for key in ('"bbox_2d"', '"label"'):
        if (found := content.find(key, place)) < 0:
            return None
        place = found + len(key)
    end = _LIST_END.search(content, place)
    return content[start.start() : end.end()] if end else None


def _repaired(text: str | None) -> list[Any] | None:
    """The list that a text says, its quotes and its end put right; None for anything else.

    The original asks a library to repair what is no JSON. Here its objects are read as they stand, which is enough to
    see that two are equal.
    """
    if not text:
        return None
    try:
        data = load(text)
    except ValueError:
        if not text.startswith("["):
            return None
        pairs = [(_LOOSE_BOX.search(m[0]), _LOOSE_LABEL.search(m[0])) for m in _OBJECT.finditer(text)]
        return [{"bbox_2d": box[1], "label": label[1]} for box, label in pairs if box and label]
    return data if isinstance(data, list) else None
