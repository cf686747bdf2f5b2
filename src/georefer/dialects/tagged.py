"""What the families share that say boxes in bracket lists and labels in tags: labels, runs of one label, brackets.

A bracket is read whole before its numbers are, so that one that is damaged is noted instead of passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from georefer.dialects.reader import MAX_NUMBERS, NUMBER, Reader
from georefer.geometry import Objects

MAX_LABEL = 200
"""Characters of a label that are read."""

BRACKET = r"\[(?P<body>[^\[\]]*+)\]"
"""An innermost bracket; the possessive repeat keeps it linear, as each run of plain characters is walked once."""

_BRACKETS = re.compile(BRACKET)

DIGIT = re.compile(r"\d")
"""A bracket without any digit, of whatever script, is prose."""

_NUMBERS = re.compile(rf"\s*+{NUMBER}(?:\s*+,\s*+{NUMBER}){{0,{MAX_NUMBERS - 1}}}\s*+(?:,\s*+)?")


def checked_labels(objects: Objects, reserved: str) -> list[str]:
    """The labels; ValueError for the first that could not be read back from between the marks of a dialect."""
    for label in dict.fromkeys(objects.labels_N):
        if label != label.strip() or len(label.splitlines()) != 1 or len(label) > MAX_LABEL:
            raise ValueError(f"the label {label!r} is empty, padded, longer than {MAX_LABEL} or broken into lines")
        if found := [c for c in reserved if c in label]:
            raise ValueError(f"the label {label!r} holds {found[0]!r}, a mark of the dialect; rename the class")
    return list(objects.labels_N)


def checked_phrases(objects: Objects) -> list[str]:
    """The labels of a dialect that writes them as running text before a bracket."""
    labels = checked_labels(objects, "[]")
    if joined := next((label for label in labels if label != _phrase(label)), None):
        raise ValueError(f"the label {joined!r} begins with a mark that joins phrases; rename the class")
    return labels


def phrase_before(text: str, start: int, end: int) -> str:
    """The last line between two brackets, without what joins it to the text before."""
    lines = text[max(start, end - MAX_LABEL - 2) : end].strip().splitlines()
    return _phrase(lines[-1]) if lines else ""


def _phrase(text: str) -> str:
    return text.lstrip(" ,;.").strip()


def label_runs(labels: Sequence[str], said: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Neighbours of one label together, so that the order stays: [("ship", ["a", "b"]), ("car", ["c"])]."""
    runs = groupby(zip(labels, said, strict=True), key=lambda pair: pair[0])
    return [(label, [text for _, text in run]) for label, run in runs]


def numbers(body: str) -> list[float] | None:
    """The numbers between brackets; None where anything else stands there."""
    return [float(v) for v in body.split(",") if v.strip()] if _NUMBERS.fullmatch(body) else None


def brackets(reader: Reader, start: int = 0, end: int | None = None) -> Iterator[re.Match[str]]:
    """Every innermost bracket that holds a digit; one without is prose."""
    for match in _BRACKETS.finditer(reader.text, start, len(reader.text) if end is None else end):
        if DIGIT.search(match["body"]):
            yield match


def take_box(reader: Reader, match: re.Match[str], label: str = "") -> bool:
    """Hands the box of a bracket to the reader; false once the reader is full."""
    return take_numbers(reader, match["body"], match.start(), match.end(), label)


def take_numbers(reader: Reader, body: str, start: int, end: int, label: str = "") -> bool:
    values = numbers(body)
    if values is None:
        reader.note("not-a-number", start, end, f"{reader.quote(start, end)} is not a list of numbers")
    elif len(values) != 4:
        reader.wrong_count(start, end, len(values), 4)
    else:
        return reader.box(values, start, end, label) >= 0
    return True
