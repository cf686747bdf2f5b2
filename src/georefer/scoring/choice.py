"""Single-choice answers: which option a text names, and whether a model finds the same one wherever it stands.

A model that always says "A" is right on a quarter of all questions. CircularEval (MMBench, FIT-RSRC) therefore asks
each question once for every rotation of its options and counts it only if all of them are right. That holds only as
long as the letters are read well: a reader that takes the first capital letter turns the article of "A truck" into
option A, and one that does not know "b." loses right answers. Ours never chooses between two options that an answer
names; it says that there were two.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from georefer.errors import InputError
from georefer.scoring.ratio import Ratio, Row

MAX_ANSWER = 20_000
"""Characters; a longer answer is no answer to a single-choice question and is not searched."""

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

CIRCULAR_ACCURACY = Ratio({"circular": 1}, {"questions": 1})
"""Share of questions that are right in every rotation."""
CIRCULAR_CHANCE = Ratio({"chance": 1}, {"questions": 1})
"""What guessing gets there: (1 / N) ** N of a question with N options."""
ROTATION_ACCURACY = Ratio({"right": 1}, {"rotations": 1})
"""Share of single rotations that are right, which is what a score without rotations would report."""
UNREADABLE_SHARE = Ratio({"unreadable": 1}, {"rotations": 1})
AMBIGUOUS_SHARE = Ratio({"ambiguous": 1}, {"rotations": 1})

# What may follow "A" and "I" for them to be letters: after other words they are an article and a pronoun.
_AFTER = r"is|was|are|because|since|as|and|or|nor|but|which|not|the|an|has|seems|would|rather|instead"
# a letter on its own: no part of a word, of "I'm" or of "B-52", and neither article nor pronoun
_ALONE = r"(?!\w|['’](?!s\b)|-\d)(?!(?<=[AaIi])[ \t]{1,9}(?!(?i:" + _AFTER + r")\b)[^\W\d_])"
_ANY = rf"(?<![\w'’])(?P<%s>[A-Za-z]){_ALONE}"
_MORE = r"(?:[\s,;/&()\[\]]{0,6}\b(?:or|and|nor)\b[\s()\[\]]{0,6}|[\s()\[\]]{0,4}[,/&][\s()\[\]]{0,4})"
# "B", "B or C", "(B), (C)": more letters of the same statement
_LIST = _ANY % "letter" + rf"(?P<rest>(?:{_MORE}(?<![\w'’])[A-Za-z]{_ALONE}){{0,25}})"
_OPTION = r"(?:(?i:the\s{1,3})?(?i:option|choice|letter|answer)\s{0,3})?"

_WHOLE = re.compile(r"[\W_]{0,20}([A-Za-z])[\W_]{0,20}")
_VERDICT = re.compile(
    r"(?:(?<!wrong )(?<!incorrect )(?i:\banswer|\b(?:correct|right|best)\s{1,3}(?:option|choice|one))s?"
    r"(?:\s{0,3}(?i::|=|->|is|are|would\s{1,3}be|must\s{1,3}be|should\s{1,3}be)){0,2}"
    r"|(?<!not )(?<!n't )(?<!n’t )(?i:\b(?:choose|select|pick|go\s{1,3}with)\b)"
    r"|\\boxed\{(?:\\text\{)?|<answer>)"
    rf"[\s:(\[\"'“‘{{]{{0,6}}{_OPTION}[\s:(\[\"'“‘]{{0,6}}(?i:either\s{{1,3}})?{_LIST}"
)
_MARKED = re.compile(
    r"[(\[{]\s?(?P<a>[A-Za-z])\s?[)\]}]|(?:^|(?<=[\n.;:!?]\s)|(?<=\n))\s{0,4}(?P<b>[A-Za-z])\s?(?:[):](?!\w)|[.](?!\w))"
    r"|(?i:\b(?:option|choice|letter)\b)[\s:]{0,3}" + _ANY % "c"
)
_BARE = re.compile(rf"(?<![\w'’])(?P<letter>[A-Z]){_ALONE}")
_DENIED = re.compile(
    r"(?i:\bnot|n['’]t|\bneither|\brather\s{1,3}than|\binstead\s{1,3}of|\bexcept)"
    rf"(?i:\s{{1,3}}(?:be|choose|select|pick))?[\s:(\[]{{1,6}}{_OPTION}[(\[]?{_LIST}"
)
_WRONG = re.compile(_LIST + r"[)\]]?\s{1,3}(?i:is|are)\s{1,3}(?i:both\s+)?(?i:wrong|incorrect|false|not|ruled)\b")
_ARTICLE = re.compile(r"\b(?:an?|the)\b(?=[ \t]{1,9}\w)")
_LEAD = re.compile(
    r"(?:(?:so|therefore|thus|hence|i think|i believe|my|final|correct|right|best) )*"
    r"(?:(?:answer|option|choice) (?:is |would be )?|it is |this is |i choose )?"
)
_SEGMENT = re.compile(r"[.!?;:)\]\n]+")


@dataclass(frozen=True)
class Choice:
    """What an answer chose. `options` are places among those offered: one for a choice, none or several otherwise."""

    outcome: Literal["choice", "unreadable", "ambiguous"]
    options: tuple[int, ...] = ()

    @property
    def index(self) -> int:
        """The option chosen, or -1."""
        return self.options[0] if self.outcome == "choice" else -1


def read_choice(answer: str, options: int | Sequence[str]) -> Choice:
    """The option that an answer names, by its letter or its text; `options` are the texts, or only their number.

    An answer that is nothing but an option's text is that option. Otherwise the strongest kind of letter decides:
    one stated as the answer ("The answer is (B)"), then marked ones ("(B)", "B.", "option B"), then capital ones that
    stand alone; letters that are denied ("not B", "B is wrong") do not count. Two letters of that kind are ambiguous,
    and so is a letter beside the text of another option. "a" and "A" before a word are articles. Thoughts before the
    answer are the caller's to remove.
    """
    texts = [] if isinstance(options, int) else [_plain(text) for text in options]
    count = options if isinstance(options, int) else len(options)
    if not 0 < count <= len(LETTERS):
        raise ValueError(f"{count} options were given, where 1 to {len(LETTERS)} have letters; ask with fewer of them")
    if len(answer) > MAX_ANSWER:
        return Choice("unreadable")
    text = re.sub(r"[*_`#$]", " ", unicodedata.normalize("NFKC", answer))  # emphasis, and "answer_B"
    spoken = _options_of([text], texts)
    whole = _WHOLE.fullmatch(text.strip())
    if whole:
        return _outcome(_within([whole[1]], count) | spoken)
    if spoken:
        return _outcome(spoken)
    denials = [*_DENIED.finditer(text), *_WRONG.finditer(text)]
    named = _named(text, count, denials)
    denied = _within((letter for match in denials for letter in _letters(match)), count)
    spoken = _options_of(_SEGMENT.split(text), texts) - denied
    # options repeated before the answer do not speak against its letter, another option alone does
    return _outcome(named if named and named <= spoken else named | spoken)


def _named(text: str, count: int, denials: Sequence[re.Match[str]]) -> set[int]:
    """Options that the strongest kind of letter names, where it is not denied."""
    spans = [match.span() for match in denials]
    # "not B, C" may deny C or choose it
    unclear = _within((x for match in denials if re.search("[,/&]", match["rest"]) for x in _letters(match)), count)
    return (
        _within((x for match in _VERDICT.finditer(text) if not _in(match, spans) for x in _letters(match)), count)
        or (unclear if len(unclear) > 1 else set())
        or _within((match[match.lastgroup or 0] for match in _MARKED.finditer(text) if not _in(match, spans)), count)
        or _within((match["letter"] for match in _BARE.finditer(text) if not _in(match, spans)), count)
    )


def _in(match: re.Match[str], spans: Sequence[tuple[int, int]]) -> bool:
    """Whether the (first) letter of a match lies within one of the spans."""
    place = match.start("letter" if "letter" in match.re.groupindex else match.lastgroup or 0)
    return any(start <= place < end for start, end in spans)


def _letters(match: re.Match[str]) -> list[str]:
    """The letters of a list "B, C or D"."""
    return [match["letter"], *re.findall(r"(?<!\w)[A-Za-z](?!\w)", match["rest"])]


def _within(letters: Iterable[str], count: int) -> set[int]:
    """Places of the letters that stand for an option."""
    return {place for letter in letters if (place := LETTERS.find(letter.upper())) in range(count)}


def _options_of(parts: Sequence[str], texts: Sequence[str]) -> set[int]:
    """Options whose text is that of a part, with or without words that lead to it."""
    plain = [_plain(part) for part in parts] if texts else []
    said = {word for part in plain for word in (part, _LEAD.sub("", part, count=1))} - {""}
    return {place for place, text in enumerate(texts) if text in said}


def _plain(text: str) -> str:
    """Words in small letters without marks and articles; the "A" of "A) truck" is no article and stays."""
    words = _ARTICLE.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(re.sub(r"[\W_]+", " ", words).split())


def _outcome(options: set[int]) -> Choice:
    if not options:
        return Choice("unreadable")
    return Choice("choice" if len(options) == 1 else "ambiguous", tuple(sorted(options)))


# --- every question in every rotation ---------------------------------------------------------------------


@dataclass(frozen=True)
class Rotation:
    """One time a question was asked: the options as shown or their number, the place of the right one, the choice.

    `question` is the same for all rotations of a question and no other; where numbers are counted per category, the
    category belongs to it.
    """

    question: str
    options: tuple[str, ...] | int
    truth: int
    choice: Choice

    @property
    def count(self) -> int:
        return self.options if isinstance(self.options, int) else len(self.options)

    @property
    def right(self) -> bool:
        return self.choice.index == self.truth


def rotations_of(options: Sequence[str]) -> list[tuple[str, ...]]:
    """The orders in which to ask: as given, then each time the first option goes last (ABCD, BCDA, CDAB, DABC)."""
    return [(*options[shift:], *options[:shift]) for shift in range(len(options))]


def circular_rows(rotations: Iterable[Rotation]) -> dict[str, Row]:
    """The counts of each question, for CIRCULAR_ACCURACY, ROTATION_ACCURACY and the like; InputError for gaps.

    A question of N options needs N rotations, each once, with the right option moving along. Where only the number
    of options is known, the places of the right one must be 0 ... N - 1, each once.
    """
    groups: dict[str, list[Rotation]] = defaultdict(list)
    for rotation in rotations:
        groups[rotation.question].append(rotation)
    return {question: _circular_row(question, group) for question, group in groups.items()}


def _circular_row(question: str, group: list[Rotation]) -> Row:
    _check_rotations(question, group)
    outcomes = Counter(rotation.choice.outcome for rotation in group)
    right = sum(rotation.right for rotation in group)
    count = len(group)
    return {
        "questions": 1, "circular": float(right == count), "chance": float(count) ** -count, "rotations": count,
        "right": right, "unreadable": outcomes["unreadable"], "ambiguous": outcomes["ambiguous"],
    }  # fmt: skip


def _check_rotations(question: str, group: list[Rotation]) -> None:
    count = group[0].count
    name = f"question {question!r}"
    if len(counts := {rotation.count for rotation in group}) > 1:
        raise InputError(f"{name} was asked with {_list(counts)} options, and one number of them was expected; {_FIX}")
    if outside := [rotation.truth for rotation in group if not 0 <= rotation.truth < count]:
        raise InputError(f"{name} has its truth at {outside[0]}, and 0 to {count - 1} was expected; mend the truths")
    truths = sorted(rotation.truth for rotation in group)
    if truths != list(range(count)):
        places = ", ".join(LETTERS[place] for place in truths)
        raise InputError(
            f"{name} was asked with the truth at {places}, and each of {LETTERS[0]} to {LETTERS[count - 1]} was "
            f"expected once; {_FIX}"
        )
    orders = [rotation.options for rotation in group if not isinstance(rotation.options, int)]
    if not orders:
        return
    if len(orders) < count or len(set(orders[0])) < count:
        raise InputError(f"{name} has equal or missing option texts, and {count} different ones were expected; {_FIX}")
    known = set(rotations_of(orders[0]))
    if strange := [order for order in orders if order not in known]:
        raise InputError(f"{name} has the options {strange[0]}, and a rotation of {orders[0]} was expected; {_FIX}")
    right = {rotation.options[rotation.truth] for rotation in group if not isinstance(rotation.options, int)}
    if len(right) > 1:
        raise InputError(f"{name} has the right options {_list(right)}, and one was expected; mend the truths")


_FIX = "ask it once for each of rotations_of(options), or leave it out"


def _list(things: Iterable[object]) -> str:
    return ", ".join(sorted(map(str, things)))


def position_shares(rotations: Sequence[Rotation]) -> dict[str, dict[str, float]]:
    """Position bias: for each letter how often it was chosen, how often chance would, and accuracy where it is right.

    `chosen` and `expected` are shares of the answers that chose an option, and sum to 1 each (0 where none chose);
    `accuracy` is NaN for a letter that is never right.
    """
    chose = [rotation for rotation in rotations if rotation.choice.outcome == "choice"]
    shares = {}
    for place in range(max((rotation.count for rotation in rotations), default=0)):
        told = [rotation.right for rotation in rotations if rotation.truth == place]
        shares[LETTERS[place]] = {
            "chosen": sum(rotation.choice.index == place for rotation in chose) / max(1, len(chose)),
            "expected": sum(1 / rotation.count for rotation in chose if place < rotation.count) / max(1, len(chose)),
            "accuracy": sum(told) / len(told) if told else float("nan"),
        }
    return shares
