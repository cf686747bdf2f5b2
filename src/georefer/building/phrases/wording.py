"""The English of referring expressions: labels as words, plurals, templates of attributes."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from georefer.building.mapping import regular_plural
from georefer.tasks.nouns import article, head_words, is_plural, is_uncounted

_SAME_IN_PLURAL = frozenset({"series", "headquarters", "sheep", "deer", "works", "barracks"})
_IRREGULAR = {"man": "men", "person": "people", "half": "halves", "leaf": "leaves", "shelf": "shelves"}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
"""Numbers in words, by number."""


@lru_cache(4096)
def as_words(text: str) -> str:
    """A label or value as it is said: underscores and control characters are spaces, and spaces single."""
    spaced = "".join(" " if c == "_" or unicodedata.category(c)[0] in "CZ" else c for c in str(text))
    return " ".join(spaced.split())


def plural(noun: str, known: str | None = None) -> str:
    """The plural of a noun phrase, by its head word; `known` is taken where it is more than the regular one."""
    if known and as_words(known) not in (noun, as_words(regular_plural(noun))):
        return as_words(known)
    head = head_words(noun.split(" (")[0])
    if not head or is_plural(noun) or is_uncounted(noun):
        return noun
    rest = noun.split()[len(head) :]
    return " ".join([*head[:-1], _irregular(head[-1]) or regular_plural(head[-1]), *rest])


def _irregular(word: str) -> str | None:
    low = word.lower()
    if low.endswith("craft") or low in _SAME_IN_PLURAL:
        return word
    ends = ((end, many) for end, many in _IRREGULAR.items() if low == end or (end == "man" and low.endswith(end)))
    return next((word[: -len(end)] + many for end, many in ends), None)


@lru_cache(4096)
def keys(noun: str) -> tuple[tuple[str, ...], ...]:
    """Under which words a noun is compared: whole, and up to its head; in lower case, plural and hyphen left out."""
    return tuple({_key(noun.split()), _key(head_words(noun))})


def _key(words: Sequence[str]) -> tuple[str, ...]:
    parts = " ".join(words).casefold().replace("-", " ").split()
    return tuple(p[:-1] if len(p) > 3 and p.endswith("s") and not p.endswith("ss") else p for p in parts)


def whole_key(noun: str) -> tuple[str, ...]:
    """A noun as it is compared whole."""
    return _key(noun.split())


def may_be_called(noun: str, name: str) -> bool:
    """Whether somebody may call `noun` what is named `name`: a storage tank is also a tank."""
    wanted = _key(noun.split())
    return any(key[-len(wanted) :] == wanted for key in keys(name))


@lru_cache(256)
def template_parts(template: str) -> tuple[tuple[str, str | None], ...]:
    """(text, field) of a template of an attribute; ValueError where it holds other fields than value and label."""
    parts = [(text, field) for text, field, *_ in string.Formatter().parse(template)]
    plain = [
        (text, field) for text, field, spec, conversion in string.Formatter().parse(template) if spec or conversion
    ]
    if {field for _, field in parts} - {"value", "label", None} or plain:
        raise ValueError(f"the phrase {template!r} holds other fields than {{value}} and {{label}}; leave only these")
    if "value" not in {field for _, field in parts}:
        raise ValueError(f"the phrase {template!r} does not hold {{value}}; say where the attribute's value goes")
    return tuple(parts)


def fixed_noun(template: str) -> str:
    """The noun that ends a template by itself: "building" of "{value} roofed building"; "" where a field does."""
    text, name = template_parts(template)[-1]
    return (text.split() or [""])[-1] if name is None else ""


def has_label(template: str) -> bool:
    return "label" in {field for _, field in template_parts(template)}


def filled(template: str, value: str, label: str) -> str:
    """A template with its fields, and with the article that what follows it needs."""
    values, said = {"value": value, "label": label}, ""
    for text, field in template_parts(template):
        said += text
        if field is not None:
            opening = re.search(r"(?:^|(?<=\s))an?\s+$", said)
            if opening:
                said = said[: opening.start()] + article(values[field]) + " "
            said += values[field]
    return " ".join(said.split())
