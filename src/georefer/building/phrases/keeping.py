"""Whether a rewording of an expression still says its facts, all of them and nothing else.

Words are allowed rather than forbidden: every word of a rewording belongs to a fact, or is one of a short list that
says nothing of the world. What a model adds beside these is refused whatever it is, so nobody has to think of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from georefer.building.phrases.wording import NUMBERS, as_words, may_be_called, plural
from georefer.tasks import Expression, GroupExpression

_WORD = re.compile(r"\d+(?:[.,]\d+)*|m²|m2|[^\W\d_]+|²")


def _words(text: str) -> list[str]:
    return [word.replace(",", "") for word in _WORD.findall(text.casefold())]


_FURTHEST = ("furthest {0}", "farthest {0}", "furthest to the {0}", "farthest to the {0}", "most to the {0}")
_UPPER = {"top": ("top", "upper"), "bottom": ("bottom", "lower")}

WORDINGS: dict[tuple[str, str], tuple[str, ...]] = {
    ("position", "leftmost"): ("leftmost", "left most", *(p.format("left") for p in _FURTHEST)),
    ("position", "rightmost"): ("rightmost", "right most", *(p.format("right") for p in _FURTHEST)),
    ("position", "topmost"): ("topmost", "top most", "uppermost", "closest to the top", "nearest to the top"),
    ("position", "bottommost"): (
        "bottommost", "bottom most", "lowermost", "closest to the bottom", "nearest to the bottom",
    ),
    ("size", "largest"): ("largest", "biggest", "largest sized"),
    ("size", "smallest"): ("smallest", "smallest sized"),
    ("part", "left half"): ("left half", "left hand half"),
    ("part", "right half"): ("right half", "right hand half"),
    ("part", "top half"): ("top half", "upper half"),
    ("part", "bottom half"): ("bottom half", "lower half"),
    **{
        ("part", f"{row} {side} quarter"): tuple(
            f"{word} {hand} {part}"
            for word in _UPPER[row]
            for hand in (side, f"{side} hand")
            for part in ("quarter", "quadrant")
        )
        for row in _UPPER
        for side in ("left", "right")
    },
    ("part", "middle"): ("middle", "centre", "center", "central part"),
    **{("count", word): (word, str(number)) for number, word in enumerate(NUMBERS) if number > 1},
}  # fmt: skip
"""In which words a position, size, part of the image or number may be said."""

CONNECTORS = (
    "next to", "beside", "adjacent to", "close to", "near", "near to", "nearest to", "nearest", "closest to",
    "alongside", "right next to", "neighbouring", "by", "right beside",
)  # fmt: skip
"""In which words a neighbour may be brought in."""

_ABOUT = ("about", "around", "roughly", "approximately", "some")
_UNITS = ("m²", "m2", "square metres", "square meters", "square metre", "square meter", "sq m")
_IMAGE = frozenset(_words("image picture photo photograph scene view"))
_BETWEEN = frozenset(_words("of with a an the"))
_NEUTRAL = _IMAGE | frozenset(
    _words("""the a an that which whose of in at on within inside with to from here aerial located situated found
    positioned placed lying sitting standing seen visible shown pictured depicted having covering measuring is are has
    lies sits stands appears""")
)
_VERBS = frozenset({"is", "are", "has", "lies", "sits", "stands", "appears"})
_VERBS_OF_MANY = frozenset({"are", "have", "lie", "sit", "stand", "appear"})
_RELATIVE = frozenset({"that", "which", "whose"})
_NEGATIONS = frozenset(
    {"not", "no", "without", "never", "except", "nor", "neither", "but", "excluding", "unlike", "isn", "t"}
)
_PLACES = frozenset(
    _words("""left right top bottom upper lower middle centre center central half quarter quadrant corner edge
    side leftmost rightmost topmost bottommost uppermost lowermost north south east west northern
    southern eastern western first second third last above below under over behind front""")
)
_SIZES = frozenset(_words("large larger largest big bigger biggest small smaller smallest tiny huge long short tall"))
_COLOURS = frozenset(
    _words("""red green blue yellow orange purple pink brown black white grey gray beige cyan magenta silver gold
    dark light bright""")
)
_NUMBERS = frozenset(_words("two three four five six seven eight nine ten dozen hundred thousand"))
_LONGEST = 300
_PLAIN = re.compile(r"[\w\s,.'’²-]*")


@dataclass(frozen=True)
class Vocabulary:
    """What else might be meant: all classes of a dataset, and all values of attributes that its phrases use.

    `synonyms` are other words for a class.
    """

    labels: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def free_synonyms(self, label: str) -> list[str]:
        """Other words for a class that fit no other class and no value."""
        known = {as_words(name): [as_words(word) for word in words] for name, words in self.synonyms.items()}
        taken = [as_words(name) for name in (*self.labels, *self.values)]
        taken = [name for name in taken if name != label]
        taken += [word for name, words in known.items() if name != label for word in words]
        return [word for word in known.get(label, ()) if not any(may_be_called(word, name) for name in taken)]


class Refused(Exception):
    """Why a rewording was not taken: a short reason that is counted."""


def kept(expression: Expression | GroupExpression, text: object, vocabulary: Vocabulary) -> str:
    """The rewording as it may be used; Refused with the reason where it does not keep the facts.

    It must begin with "the", or in the plural with "all", and stay in its number. Where the expression names a second
    object or two attributes, its noun phrases must come word for word, the object meant first, so that nobody's colour
    moves to somebody else. Only a synonym may stand for the class.
    """
    text = _phrase(expression, text)
    try:
        _check(expression, text, vocabulary)
    except Refused as refused:
        if not any(_passes(expression, other, vocabulary) for other in _with_label(expression, text, vocabulary)):
            raise refused
    return text


def _passes(expression: Expression | GroupExpression, text: str, vocabulary: Vocabulary) -> bool:
    try:
        _check(expression, text, vocabulary)
    except Refused:
        return False
    return True


def _with_label(expression: Expression | GroupExpression, text: str, vocabulary: Vocabulary) -> Iterator[str]:
    """The text with the class in each place where a synonym stands for it."""
    own = next((fact for fact in expression.facts if fact[0] == "class"), None)
    for word in vocabulary.free_synonyms(own[1]) if own else ():
        form = plural(word) if own and _is_many(expression) else word
        for found in re.finditer(rf"(?<![\w-]){re.escape(form)}(?![\w-])", text, re.IGNORECASE):
            yield f"{text[: found.start()]}{own[-1] if own else ''}{text[found.end() :]}"


def _is_many(expression: Expression | GroupExpression) -> bool:
    """Whether a phrase is in the plural: its class is given in both numbers."""
    return any(fact[0] == "class" and len(fact) > 2 for fact in expression.facts)


def _check(expression: Expression | GroupExpression, text: str, vocabulary: Vocabulary) -> None:
    said = _Said(f"the {text[4:]}")
    core = _core(expression)
    for kind, word in (fact[:2] for fact in expression.facts):
        if (kind, word) in WORDINGS and not said.take(_spoken(WORDINGS[kind, word])):
            raise Refused(f"{kind} is missing or changed")
    ordered = said.first
    said.first = len(said.words)
    head, joint, anchor = core.partition(" next to the ")
    kinds = [fact[0] for fact in expression.facts]
    if joint or "relation" in kinds or kinds.count("attribute") > 1:
        _take_word_for_word(said, head, anchor if joint else None)
        if "relation" in kinds and {"position", "size"} & {*kinds} and ordered > said.first:
            raise Refused("what is compared is not the object meant")
    else:
        _take_words(said, expression, core)
    _check_rest(said, expression, vocabulary)


def _phrase(expression: Expression | GroupExpression, text: object) -> str:
    if not expression.facts:
        raise Refused("the expression has no facts to be kept")
    if not isinstance(text, str) or not text.strip():
        raise Refused("it is no text")
    if len(text) > min(_LONGEST, 80 + 3 * len(expression.text)):
        raise Refused("it is too long")
    own = set(expression.text)
    if len(text.strip().splitlines()) > 1 or not _PLAIN.fullmatch("".join(c for c in text if c not in own)):
        raise Refused("it holds characters that no phrase needs")
    text = " ".join(text.split()).rstrip(".")
    if text[:4].casefold() not in (("the ", "all ") if _is_many(expression) else ("the ",)):
        raise Refused("it does not begin with the")
    odd = [word for fact in expression.facts for word in fact[1:] if not _PLAIN.fullmatch(word)]
    if any(word in expression.text and word not in text for word in odd):
        raise Refused("a class or attribute is missing or changed")
    return f"{text[:4].lower()}{text[4:]}"


class _Said:
    """The words of a rewording; those that say a fact are taken out. `first` is the first place so taken."""

    def __init__(self, text: str) -> None:
        self.words = _words(text)
        self.rest: list[str | None] = list(self.words)
        self.first = len(self.words)

    def take(self, ways: Iterable[list[str]]) -> bool:
        """Takes the longest of the ways to say something, where it stands first; False where none is there."""
        for way in sorted(ways, key=len, reverse=True):
            for at in range(len(self.rest) - len(way) + 1):
                if way and self.rest[at : at + len(way)] == way:
                    self.rest[at : at + len(way)] = [None] * len(way)
                    self.first = min(self.first, at)
                    return True
        return False


def _spoken(ways: Iterable[str]) -> list[list[str]]:
    return [_words(way) for way in ways]


def _core(expression: Expression | GroupExpression) -> str:
    """The expression without article, number, superlative and part of the image: the noun, and what it is next to."""
    core = expression.text[4:]
    for word in (fact[1] for fact in expression.facts if fact[0] == "count"):
        core = core.removeprefix(f"{word} ")
    for kind, word in (fact[:2] for fact in expression.facts):
        if kind in ("position", "size"):
            core = core.removeprefix(f"{word} ")
        if kind == "part":
            core = core.removesuffix(f" in the {word} of the image")
    return core


def _take_word_for_word(said: _Said, head: str, anchor: str | None) -> None:
    if not said.take([_words(head)]):
        raise Refused("a class or attribute is missing or changed")
    meant = said.first
    if anchor is not None:
        said.first = len(said.words)
        if not said.take(_spoken(f"{joint} the {anchor}" for joint in CONNECTORS)):
            raise Refused("neighbour is missing or changed")
        if said.first < meant or any(word in _RELATIVE for word in said.words[said.first :]):
            raise Refused("what is meant and what it is next to are not told apart")
        said.first = meant


def _take_words(said: _Said, expression: Expression | GroupExpression, core: str) -> None:
    """The class, at most one attribute and an area, in whatever order; "red roofed" may become "with a red roof"."""
    left, facts = _Said(core), {kind: words for kind, *words in expression.facts}
    label, value = _words(facts["class"][-1]), _words(facts["attribute"][1]) if "attribute" in facts else []
    areas = [f"{about} {facts['area'][0]} {unit}" for about in _ABOUT for unit in _UNITS] if "area" in facts else []
    left.take(_spoken(areas))
    own = [word for word in left.rest if word is not None and word not in _BETWEEN]
    extra = own[len(value) : -len(label)] if own[-len(label) :] == label else own[len(label) + len(value) :]
    needed: list[list[list[str]]]
    if own == value:
        needed = [[value]]
    elif own == value + label:
        needed = [[label], [value]] if value else [[label]]
    elif len(extra) == 1 and own in (value + extra + label, label + value + extra):
        forms = {word for word in said.words if _stem(word) == _stem(extra[0])}
        joined = [
            [[*value, word], [word, "is", *value], [word, "are", *value], [word, "of", *value]]
            for word in sorted(forms)
        ]
        needed = [[label], [way for ways in joined for way in ways]]
    else:
        needed, areas = [[_words(core)]], []
    if areas and not said.take(_spoken(areas)):
        raise Refused("number is missing or changed")
    for ways in needed:
        if not said.take(ways):
            raise Refused("a class or attribute is missing or changed")


def _stem(word: str) -> str:
    return re.sub(r"(?<=\w{3})(?:ed|s)$", "", word)


def _check_rest(said: _Said, expression: Expression | GroupExpression, vocabulary: Vocabulary) -> None:
    """Refuses whatever is added; the reasons tell apart what is most often added."""
    own, rest = _words(expression.text), {word for word in said.rest if word is not None}
    for names, reason in (
        (vocabulary.labels, "another class is added"),
        (vocabulary.values, "another attribute is added"),
    ):
        ways = [way for name in names if (way := _words(as_words(name)))]
        if any(_count(said.words, way) > _count(own, way) for way in ways):
            raise Refused(reason)
    added = (
        (_NEGATIONS, "a negation is added"),
        (_COLOURS, "another attribute is added"),
        (_PLACES, "another position is added"),
        (_SIZES, "another size is added"),
        (_NUMBERS | {word for word in rest if word[0].isdigit()}, "a number is added"),
    )
    for words, reason in added:
        if rest & words:
            raise Refused(reason)
    neutral = _NEUTRAL - _VERBS | _VERBS_OF_MANY if _is_many(expression) else _NEUTRAL
    if rest - neutral:
        raise Refused("it holds words that are not known to say nothing")
    pairs = zip(said.words, said.words[1:], strict=False)
    if any(word in _IMAGE and before not in ("the", "an", "aerial") for before, word in pairs):
        raise Refused("something is said of the image")
    if sum(word in _VERBS | _VERBS_OF_MANY for word in said.rest) > sum(word in _RELATIVE for word in said.rest):
        raise Refused("it is a sentence and no phrase")


def _count(words: list[str], way: list[str]) -> int:
    return sum(words[at : at + len(way)] == way for at in range(len(words) - len(way) + 1))
