"""The words of a caption as METEOR 1.5 reads them with `-norm`: the Moses tokenizer's rules and a few of its own.

Dots leave words ("U.S." is "us") but stay after abbreviations, contractions split on the right ("it 's"), dashes
within words part them, quotes and dashes become the plain ones, all is lower case, and punctuation stays a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MAX_WORDS = 1000
"""Words of a text that are read; the search's work grows with the product of two lengths."""
MAX_CHARACTERS = 100 * MAX_WORDS

_ALPHA = (
    "A-Za-z\u0160\u017d\u0161\u017e\u0178\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017e"  # western European
    "\u0400-\u0527\ua640-\ua66e\ua67e-\ua697\u1d00-\u1d7f"  # Cyrillic and phonetic
)
_ALNUM = "0-9" + _ALPHA
# each rule sees what the one before it wrote, and a character that a match took is not matched again
_RULES = tuple(
    (re.compile(pattern), template)
    for pattern, template in (
        (r"([^0-9]),([^0-9])", r"\1 , \2"),
        (r"([0-9]),([^0-9])", r"\1 , \2"),
        (r"([^0-9]),([0-9])", r"\1 , \2"),
        (r"[`\u2018\u2019]", "'"),
        (r"[\u201c\u201d]|''", ' " '),
        (r"\u2013", "-"),
        (r"--", "-"),
        (rf"([{_ALNUM}.])-([{_ALNUM}])", r"\1 \2"),
        (rf"([^{_ALPHA}])'([^{_ALPHA}])", r"\1 ' \2"),
        (rf"([^{_ALPHA}0-9])'([{_ALPHA}])", r"\1 ' \2"),
        (rf"([{_ALPHA}])'([^{_ALPHA}])", r"\1 ' \2"),
        (rf"([{_ALPHA}])'([{_ALPHA}])", r"\1 '\2"),
        (r"([0-9])'(s)", r"\1 's"),
    )
)
_SYMBOL = re.compile(rf"([^{_ALNUM} \t\n\v\f\r.'`,\-\u2018\u2019])")
_DOTS = re.compile(r"(\.{2,})")
_LETTER = re.compile(f"[{_ALPHA}]")
_WORD = re.compile(r"[^ \t\n\f\r]+")
_SPACES = re.compile("[ \u00a0\u2000-\u200a\u202f\u205f\u3000]+")
_ENDS = "".join(map(chr, range(33)))


def words_of(text: str, abbreviations: Mapping[str, bool]) -> list[str]:
    """At most `MAX_WORDS` words. `abbreviations` keep their dot: True for always, False for before a digit only."""
    parts = _DOTS.split(_SYMBOL.sub(r" \1 ", f" {text[:MAX_CHARACTERS]} "))
    words = [
        word
        for place, part in enumerate(parts)
        for word in ([part] if place % 2 else _parted(f" {part} " if len(parts) > 1 else part, abbreviations))
    ]
    line = _SPACES.sub(" ", " ".join(words)).strip(_ENDS).lower()
    return _WORD.findall(line)[:MAX_WORDS]


def _parted(line: str, abbreviations: Mapping[str, bool]) -> list[str]:
    """Words of a stretch of text that has no two dots in a row."""
    for pattern, template in _RULES:
        line = pattern.sub(template, line)
    words = _WORD.findall(line)
    if "." not in line:
        return words
    parted: list[str] = []
    for word, following in zip(words, [*words[1:], ""], strict=True):
        parted += _without_dot(word, following[:1], abbreviations) if len(word) > 1 and word[-1] == "." else [word]
    return parted


def _without_dot(word: str, following: str, abbreviations: Mapping[str, bool]) -> list[str]:
    bare = word[:-1]
    if "." in bare and _LETTER.search(bare):
        return [word.replace(".", "")]
    kept = abbreviations.get(bare)
    if kept or "a" <= following <= "z" or (kept is False and "0" <= following <= "9"):
        return [word]
    return [bare, "."]
