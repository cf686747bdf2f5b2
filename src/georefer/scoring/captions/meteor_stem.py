"""Word stems as METEOR 1.5 knows them: Snowball's English stemmer ("Porter2") as it stood in 2014.

Later editions of the algorithm treat other words ("university", "organization", "evening", "geologist"), so a current
stemmer library gives other scores. The rules are Porter's, published at snowballstem.org/algorithms/english.
"""

from __future__ import annotations

import re

_WHOLE_WORDS = {
    "skis": "ski", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "idly": "idl", "gently": "gentl",
    "ugly": "ugli", "early": "earli", "only": "onli", "singly": "singl",
} | {word: word for word in ("sky", "news", "howe", "atlas", "cosmos", "bias", "andes")}  # fmt: skip
_DONE_AFTER_PLURAL = {"inning", "outing", "canning", "herring", "earring", "proceed", "exceed", "succeed"}

# "Y" is the consonant, "y" the vowel
_REGION = re.compile(r".*?[aeiouy][^aeiouy]", re.DOTALL)
_FIRST_REGION = re.compile(r"gener|commun|arsen|.*?[aeiouy][^aeiouy]", re.DOTALL)
_VOWEL = re.compile(r"[aeiouy]")
_SHORT_SYLLABLE = re.compile(r"(?:[^aeiouy][aeiouy][^aeiouywxY]|\A[aeiouy][^aeiouy])\Z", re.DOTALL)
_POSSESSIVE = re.compile(r"(?:'s'|'s|')\Z")
_PAST_OR_GERUND = re.compile(r"(?:ingly|edly|ing|ed)\Z")
_BEFORE_LI = frozenset("cdeghkmnrt")
_DOUBLE = ("bb", "dd", "ff", "gg", "mm", "nn", "pp", "rr", "tt")

_STEP_2 = {
    "tional": "tion", "enci": "ence", "anci": "ance", "abli": "able", "entli": "ent", "izer": "ize", "ization": "ize",
    "ational": "ate", "ation": "ate", "ator": "ate", "alism": "al", "aliti": "al", "alli": "al", "fulness": "ful",
    "ousli": "ous", "ousness": "ous", "iveness": "ive", "iviti": "ive", "biliti": "ble", "bli": "ble", "ogi": "og",
    "fulli": "ful", "lessli": "less", "li": "",
}  # fmt: skip
_STEP_3 = {
    "tional": "tion", "ational": "ate", "alize": "al", "icate": "ic", "iciti": "ic", "ical": "ic", "ful": "",
    "ness": "", "ative": "",
}  # fmt: skip
_STEP_4 = dict.fromkeys(
    ("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ism", "ate", "iti", "ous",
     "ive", "ize", "ion"), "",
)  # fmt: skip


def stem(word: str) -> str:
    """The stem of a lower-case word; words of one or two letters are their own."""
    if len(word) < 3 or word in _WHOLE_WORDS:
        return _WHOLE_WORDS.get(word, word)
    word = _mark_consonant_y(word.removeprefix("'"))
    # regions are places in the word as it stands now, and stay where they are while it shrinks
    first = match.end() if (match := _FIRST_REGION.match(word)) else len(word)
    second = match.end() if (match := _REGION.match(word, first)) else len(word)
    word = _without_plural(_POSSESSIVE.sub("", word))
    if word not in _DONE_AFTER_PLURAL:
        word = _y_to_i(_without_past_or_gerund(word, first))
        word = _step_2(word, first)
        word = _step_3(word, first, second)
        word = _step_5(_step_4(word, second), first, second)
    return word.replace("Y", "y")


def _mark_consonant_y(word: str) -> str:
    """A "y" that begins the word or follows a vowel is a consonant."""
    if "y" not in word:
        return word
    letters = list(word)
    for place, letter in enumerate(letters):
        if letter == "y" and (place == 0 or letters[place - 1] in "aeiouy"):
            letters[place] = "Y"
    return "".join(letters)


def _without_plural(word: str) -> str:
    if word.endswith("sses"):
        return word[:-2]
    if word.endswith(("ied", "ies")):
        return word[:-2] if len(word) > 4 else word[:-1]
    if word.endswith("s") and not word.endswith(("us", "ss")) and _VOWEL.search(word, 0, len(word) - 2):
        return word[:-1]
    return word


def _without_past_or_gerund(word: str, first: int) -> str:
    for ending in ("eedly", "eed"):
        if word.endswith(ending):
            start = len(word) - len(ending)
            return word[: start + 2] if start >= first else word
    ending_found = _PAST_OR_GERUND.search(word)
    if not ending_found or not _VOWEL.search(word, 0, ending_found.start()):
        return word
    word = word[: ending_found.start()]
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if word.endswith(_DOUBLE):
        return word[:-1]
    return word + "e" if len(word) == first and _SHORT_SYLLABLE.search(word) else word


def _y_to_i(word: str) -> str:
    return word[:-1] + "i" if len(word) > 2 and word[-1] in "yY" and word[-2] not in "aeiouy" else word


def _ending(word: str, endings: dict[str, str], region: int) -> str | None:
    """The longest of the endings that the word has, if it lies in the region; a shorter one is not tried then."""
    for length in range(min(7, len(word)), 1, -1):
        if word[-length:] in endings:
            return word[-length:] if len(word) - length >= region else None
    return None


def _step_2(word: str, first: int) -> str:
    ending = _ending(word, _STEP_2, first)
    before = word[-len(ending) - 1 : -len(ending)] if ending else ""
    if not ending or (ending == "ogi" and before != "l") or (ending == "li" and before not in _BEFORE_LI):
        return word
    return word[: -len(ending)] + _STEP_2[ending]


def _step_3(word: str, first: int, second: int) -> str:
    ending = _ending(word, _STEP_3, first)
    if not ending or (ending == "ative" and len(word) - 5 < second):
        return word
    return word[: -len(ending)] + _STEP_3[ending]


def _step_4(word: str, second: int) -> str:
    ending = _ending(word, _STEP_4, second)
    if not ending or (ending == "ion" and word[-4:-3] not in ("s", "t")):
        return word
    return word[: -len(ending)]


def _step_5(word: str, first: int, second: int) -> str:
    last = len(word) - 1
    if word.endswith("e"):
        goes = last >= second or (last >= first and not _SHORT_SYLLABLE.search(word[:-1]))
    else:
        goes = word.endswith("ll") and last >= second
    return word[:-1] if goes else word
