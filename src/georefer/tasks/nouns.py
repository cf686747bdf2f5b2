"""Nouns in English: articles, which are plural, and which cannot be counted."""

from __future__ import annotations

import re
import unicodedata

_CONSONANT_SOUND = re.compile(r"eu|once|one(?:\b|-)|u(?:ni(?![nmd])|s[aeu]|ti|biq|ran|fo\b|-|\b)", re.IGNORECASE)
_SILENT_H = re.compile(r"(?:hour|honest|honou?r|heir)", re.IGNORECASE)
_VOWEL_NUMBER = re.compile(r"(?:8|11(?!\d)|18(?!\d)|11\d{3}(?!\d)|18\d{3}(?!\d))")
_LETTERS_SAID_AS_VOWELS = frozenset("AEFHILMNORSX")
_PLURAL_NOUNS = frozenset({"people", "cattle", "children", "men", "women", "leaves", "wharves"})
_SINGULAR_IN_S = frozenset({"gas", "bus", "canvas", "atlas", "pancreas", "lens", "series", "headquarters"})
_UNCOUNTED = frozenset(
    {
        "water", "grass", "sand", "land", "woodland", "parking", "snow", "ice", "soil", "livestock", "housing",
        "vegetation", "farmland", "grassland", "scrubland",
    }
)  # fmt: skip
_HEAD_ENDS = re.compile(r"\s(?:of|under|with|without|in|for|at|on|by|near|to)\s")


def article(noun: str) -> str:
    """ "a" or "an", by the sound with which the noun begins."""
    first = re.match(r"[^\W_]+(?:-\w*)?", noun.lstrip("\"'([{<- "))
    word = first.group() if first else noun
    if word[:1].isdigit():
        return "an" if _VOWEL_NUMBER.match(word) else "a"
    letters = re.sub(r"[^A-Za-z].*", "", word)
    if len(letters) > 1 and letters.isupper() and (len(letters) <= 3 or not set(letters) & set("AEIOUY")):
        return "an" if letters[0] in _LETTERS_SAID_AS_VOWELS else "a"
    if _SILENT_H.match(word):
        return "an"
    plain = unicodedata.normalize("NFD", word[:1]).lower()
    return "an" if plain[:1] in tuple("aeiou") and not _CONSONANT_SOUND.match(word) else "a"


def indefinite(noun: str) -> str:
    """A noun with its article, or "some" where it is plural or cannot be counted."""
    return f"{'some' if is_plural(noun) or is_uncounted(noun) else article(noun)} {noun}"


def to_be(noun: str) -> str:
    """ "is" or "are", of a noun phrase as it stands."""
    return "are" if is_plural(noun) else "is"


def is_plural(noun: str) -> bool:
    """Whether a noun phrase is plural, by its head word."""
    word = _head(noun)
    if word in _PLURAL_NOUNS:
        return True
    return len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) and word not in _SINGULAR_IN_S


def is_uncounted(noun: str) -> bool:
    """Whether a noun phrase has no plural, as "tall grass"; by its head word."""
    return _head(noun) in _UNCOUNTED


def _head(noun: str) -> str:
    return (head_words(noun)[-1:] or [""])[0].lower()


def head_words(noun: str) -> list[str]:
    """The words of a noun phrase up to its first preposition: "building under construction" is a building."""
    return _HEAD_ENDS.split(noun, maxsplit=1)[0].split()
