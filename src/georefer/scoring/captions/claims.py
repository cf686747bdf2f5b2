"""What an English caption says of classes: that they are there or not, how many, and where in the image.

Read by rules over words, so that the same caption always says the same, and without a model. What the rules do not
know is no claim: "several", compass directions (north need not be up), "left of the house". "two or three" is a number
that contradicts itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

MAX_CHARACTERS = 20_000
"""Of a caption; what is behind them is not read."""

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*+|[^\W\d_]+(?:['’][^\W\d_]+)?+|[.;:!?,()\n]")
_SENTENCE_ENDS = frozenset(".;:!?\n")
_UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_NUMBERS = {word: number for number, word in enumerate(f"{_UNITS} seventeen eighteen nineteen".split(" "))}
_NUMBERS |= {word: 10 * number for number, word in enumerate(_TENS, 2)}
_NUMBERS |= {"single": 1, "pair": 2, "dozen": 12}
_BETWEEN_NUMBERS = frozenset({"or", "to", "and", ",", "maybe", "perhaps", "possibly", "even"})
_BOUNDS = frozenset({"than", "least", "most", "over", "under"})
"""Before a number: it is then a bound, and no count."""

_DENIALS = frozenset({"no", "without", "lacks", "lacking", "neither", "nor", "non", "zero"})
_DENIALS_OF = frozenset({"absence", "devoid", "free", "lack"})
_NOT_DENIALS = frozenset({"fewer", "less", "more", "doubt", "longer"})
"""Behind "no": nothing is denied."""
_NOT = frozenset({"not", "isn't", "aren't", "wasn't", "weren't", "isn’t", "aren’t", "wasn’t", "weren’t"})
_CAN_NOT = frozenset({"cannot", "can't", "can’t"})
_BE = frozenset({"is", "are", "was", "were", "can", "could", "be"})
_SEEN = frozenset({"visible", "present", "seen", "found", "there", "shown", "be"})
_GONE = frozenset({"absent", "missing", "nowhere"})
_SOME = frozenset({"a", "an", "any", "one", "single"})
_JOINS = frozenset({"or", "nor", "and", ","})

_STOPS = frozenset(
    [
        "a", "an", "the", "of", "in", "on", "at", "by", "near", "with", "from", "to", "and", "or", "nor", "but", "is",
        "are", "was", "were", "be", "has", "have", "there", "this", "that", "which", "while", "as", "into", "next",
        "beside", "between", "along", "around", "behind", "above", "below", "over", "under", "not", "any", "than",
        "only", "it", "its", "they", "m", "meters", "metres", "meter", "metre", "km", "percent",
    ]
)  # fmt: skip
"""Words that do not stand between a number or a denial and what it belongs to."""

_DOWN = {"top": -1, "upper": -1, "bottom": 1, "lower": 1}
_ACROSS = {"left": -1, "right": 1, "lefthand": -1, "righthand": 1}
_CENTRE = frozenset({"center", "centre", "middle", "central"})
_PARTS = frozenset(
    {"side", "corner", "part", "half", "edge", "area", "portion", "section", "quadrant", "region", "hand", "third"}
)
_IMAGES = frozenset({"image", "picture", "scene", "photo", "photograph", "frame", "view", "tile", "patch"})
_BEFORE_PLACES = frozenset({"the", "at", "in", "on", "its"})
_NEVER_RIGHT = frozenset(
    {"next", "beside", "by", "behind", "above", "below", "angle", "angled", "in", "on", "near", "across", "along"}
)


class Place(NamedTuple):
    """A part of the image: -1 left or top, 0 the centre, 1 right or bottom, None where nothing is said."""

    across: int | None
    down: int | None


ANYWHERE = Place(None, None)


@dataclass
class Claims:
    """What is said of one class. `counts` has the numbers said for a place; several of them contradict each other."""

    present: bool = False
    absent: bool = False
    counts: dict[Place, set[int]] = field(default_factory=dict)
    places: set[Place] = field(default_factory=set)


class _Mention(NamedTuple):
    label: str
    start: int
    end: int


def read_claims(caption: str, names: Mapping[str, Sequence[str]]) -> dict[str, Claims]:
    """The claims on each class that is mentioned.

    Names match whole words in any case, alone or in the plural, the longest first; a hyphen is as good as a blank.
    """
    lookup = _lookup(tuple((label, *words) for label, words in names.items()))
    found: dict[str, Claims] = {}
    for words in _sentences(caption[:MAX_CHARACTERS]):
        mentions = list(_mentions(words, lookup))
        denied = False
        for number, mention in enumerate(mentions):
            before = mentions[number - 1].end if number else 0
            last = number + 1 == len(mentions)
            after = len(words) if last else _reach(words, mention.end, mentions[number + 1].start)
            joined = number > 0 and _joins(words[before : mention.start])
            denied = _denied(words, before, mention, after) or (denied and joined)
            _add(found.setdefault(mention.label, Claims()), words, before, mention, after, denied)
    return found


def _add(claims: Claims, words: list[str], before: int, mention: _Mention, after: int, denied: bool) -> None:
    # a place may stand before the first mention of a sentence, or describe any: "the left ship"
    start = 0 if before == 0 else _reach(words, before, mention.start)
    places = {*_places(words, start, mention.start), *_places(words, mention.end, after)}
    if denied:
        claims.absent |= not places  # what is said not to be in one place may be in another
        return
    claims.present = True
    claims.places |= places
    if said := _counts(words, before, mention):
        for place in places if len(places) == 1 else {ANYWHERE}:
            claims.counts.setdefault(place, set()).update(said)


def _sentences(caption: str) -> Iterator[list[str]]:
    """Words and commas of each sentence, in lower case."""
    words: list[str] = []
    for token in _TOKEN.findall(caption.lower()):
        if token in _SENTENCE_ENDS:
            yield words
            words = []
        else:
            words.append(token)
    yield words


# --- names -----------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _lookup(names: tuple[tuple[str, ...], ...]) -> dict[str, list[tuple[tuple[str, ...], str]]]:
    """First word → (all words of a name, class), the longest names first."""
    lookup: dict[str, list[tuple[tuple[str, ...], str]]] = {}
    for label, *others in names:
        for name in (label, *others):
            words = tuple(_TOKEN.findall(re.sub(r"[_/-]", " ", name.lower())))
            for last in _forms(words[-1]) if words else ():
                spelled = (*words[:-1], last)
                lookup.setdefault(spelled[0], []).append((spelled, label))
    for entries in lookup.values():
        entries.sort(key=lambda entry: -len(entry[0]))
    return lookup


def _forms(word: str) -> set[str]:
    """A word and its plural."""
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return {word, f"{word}es"}
    if word.endswith("y") and word[-2:-1] not in set("aeiou"):
        return {word, f"{word[:-1]}ies"}
    return {word, f"{word}s"}


def _mentions(words: list[str], lookup: Mapping[str, list[tuple[tuple[str, ...], str]]]) -> Iterator[_Mention]:
    place = 0
    while place < len(words):
        for spelled, label in lookup.get(words[place], ()):
            if tuple(words[place : place + len(spelled)]) == spelled:
                yield _Mention(label, place, place + len(spelled))
                place += len(spelled)
                break
        else:
            place += 1


# --- presence --------------------------------------------------------------------------------------------


def _denied(words: list[str], before: int, mention: _Mention, after: int) -> bool:
    """Whether a mention is denied by what stands right before or behind it."""
    start = _reach(words, before, mention.start)
    word, earlier = (words[start - 1] if start > before else ""), (words[start - 2] if start - 1 > before else "")
    if word in _DENIALS:
        return not (start < mention.start and words[start] in _NOT_DENIALS)
    if word == "of" and earlier in _DENIALS_OF:
        return True
    some = start  # "not a ship", "isn't any ship", "not one single ship"
    while some > before and words[some - 1] in _SOME:
        some -= 1
    if some < start and some > before and words[some - 1] in _NOT:
        return True
    said = words[mention.end : min(after, mention.end + 4)]
    while said and said[0] in _BE:
        said = said[1:]
    if said and said[0] in _GONE:
        return True
    return len(said) > 1 and said[0] in (_NOT | _CAN_NOT) and said[1] in _SEEN


def _reach(words: list[str], before: int, start: int) -> int:
    """Where the words begin that describe a mention: up to three, none of which is a denial, number or stop."""
    for _ in range(3):
        word = words[start - 1] if start > before else ","
        if word in _STOPS or word in _DENIALS or word in "()," or _number(word) is not None:
            break
        start -= 1
    return start


def _joins(between: list[str]) -> bool:
    """Whether words between two mentions make a list of them, as in "no ships, large boats or cars"."""
    rest = [word for word in between if word not in _JOINS]
    return len(rest) < len(between) <= 4 and not any(word in _STOPS or _number(word) is not None for word in rest)


# --- numbers ---------------------------------------------------------------------------------------------


def _number(word: str) -> int | None:
    if word in _NUMBERS:
        return _NUMBERS[word]
    plain = word.replace(",", "")
    return int(plain) if plain.isascii() and plain.isdigit() and len(plain) <= 6 else None


def _counts(words: list[str], before: int, mention: _Mention) -> set[int]:
    """The numbers that a mention is said to have: none, one, or several that contradict each other."""
    end = _reach(words, before, mention.start)
    if end - before >= 2 and words[end - 1] == "of" and words[end - 2] in ("pair", "dozen"):
        end -= 1
    start = end
    while start > before and (_number(words[start - 1]) is not None or words[start - 1] in _BETWEEN_NUMBERS):
        start -= 1
    run = words[start:end]
    while run and _number(run[0]) is None:
        run, start = run[1:], start + 1
    if not run or _number(run[-1]) is None or (start > before and words[start - 1] in _BOUNDS):
        run = []
    said = _values(run)
    match words[mention.end : mention.end + 3]:
        case ["(", inside, ")"] if (number := _number(inside)) is not None:
            said.add(number)
    return said


def _values(run: list[str]) -> set[int]:
    """Numbers of a run; "twenty five" is one."""
    values: list[int] = []
    for place, word in enumerate(run):
        number = _number(word)
        if number is None:
            continue
        tens = run[place - 1] in _TENS if place else False
        if tens and 0 < number < 10 and not word.isdigit():
            values[-1] += number
        else:
            values.append(number)
    return set(values)


# --- places ----------------------------------------------------------------------------------------------


def _places(words: list[str], start: int, end: int) -> Iterator[Place]:
    """Parts of the image said between two words."""
    place = start
    while place < end:
        size, found = _place_at(words, place, end)
        if found is not None and _is_place(words, place, place + size, found):
            yield found
        place += max(1, size)


def _place_at(words: list[str], start: int, end: int) -> tuple[int, Place | None]:
    """How many words from here name a place, and which."""
    across: int | None = None
    down: int | None = None
    centre = False
    place = start
    while place < min(end, start + 3):
        word = words[place]
        if word in _DOWN and down is None:
            down = _DOWN[word]
        elif word in _ACROSS and across is None:
            across = _ACROSS[word]
        elif word in _CENTRE and not centre:
            centre = True
        else:
            break
        place += 1
    if place == start:
        return 0, None
    if centre:
        across, down = (0 if across is None else across), (0 if down is None else down)
    return place - start, Place(across, down)


def _is_place(words: list[str], start: int, end: int, place: Place) -> bool:
    """Whether such words mean a part of the image: "the left", "left side of the image", not "left of the house"."""
    while end < len(words) and words[end] in _PARTS:
        end += 1
    named = words[end - 1] in _PARTS or (place.across not in (None, 0) and place.down is not None)
    if not named and (start == 0 or words[start - 1] not in _BEFORE_PLACES):
        return False
    if words[end - 1] == "right" and words[end : end + 1] and words[end] in _NEVER_RIGHT and not named:
        return False
    if words[end : end + 1] != ["of"]:
        return True
    return any(word in _IMAGES for word in words[end + 1 : end + 4])
