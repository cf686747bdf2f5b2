"""GroundSet's captions as published: CIDEr one row at a time, and the mean of sentence BLEU-4.

Source: github.com/rogerferrod/GroundSet at 84aeed1, src/eval/eval_caption.py and src/eval/cider/; input its tables
`caption_<n>.csv`. No protocol of its own: `groundset` scores captions through this. What a strict scorer would not do:

- CIDEr is called for each row alone, so that every n-gram weighs 1: no rarity, and "CIDEr" up to 1000 percent.
- The answer is stripped of tags and of lists of numbers before it is compared, the truth is not.
- Words are what stands between blanks, with their punctuation: "road." is not "road".
- BLEU-4 has no smoothing: a caption without a common run of four words scores as good as nothing.

The script cuts text into sentences before BLEU, which needs NLTK's sentence model; here a text is one sentence, as the
reference results at hand have it. Its METEOR is NLTK's, which needs WordNet, and is left out.
"""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas

from georefer.evaluation.protocols.base import Beside, Row
from georefer.scoring.captions.cider import cider
from georefer.scoring.captions.ptb import ptb_tokenize

PART = "finetune/caption"

QUIRKS = {
    "one-row-idf": "CIDEr is called for each row alone, so that every n-gram weighs 1",
    "glued-punctuation": "words are what stands between blanks, punctuation and all, so that 'road.' is not 'road'",
    "cleaned-answer": "tags and lists of numbers are taken out of the answer, and stay in the truth",
}

_TAGS = re.compile(r"</?p>|<delim>")
_N = r"-?\d++(?:\.\d++)?+"
_LISTS = [
    re.compile(rf"\[\s*+(?:{_N}\s*+,\s*+)*+{_N}\s*+\]"),
    re.compile(rf"\{{\s*+(?:<\s*+{_N}\s*+>\s*+)++\}}"),
    re.compile(rf"\{{\s*+(?:<\s*+{_N}\s*+>\s*+)++\|\s*+<\s*+{_N}\s*+>\s*+\}}"),
]


def score_captions(table: pandas.DataFrame, part: str = PART) -> tuple[dict[str, Any], list[Row]]:
    """The published numbers of a table, and its rows by their CIDEr (0 to 10).

    Where the script stops, at an answer that is no text or a truth without a word, the row scores what the rest of
    the rule gives: see `stops_of`.
    """
    said, true = _published_texts(table)
    alone_R, corpus_R = _ciders(said, true, alike=True), _ciders(said, true)
    bleu_R = np.array([sentence_bleu(nltk_words(a), nltk_words(b)) for a, b in zip(said, true, strict=True)])
    numbers = {
        "cider_reported_x100": _percent(alone_R),
        "cider_per_row": alone_R.tolist(),
        "corpus_cider_d_x100_for_comparison": _percent(corpus_R),
        "corpus_cider_d_per_row": corpus_R.tolist(),
        "bleu4_preserve_line_tokens_x100": _percent(bleu_R),
        "bleu4_preserve_line_per_row": bleu_R.tolist(),
        "cleaned_captions": said,
    }
    ids = table["ID"].tolist()
    return numbers, [Row(part, id_, value) for id_, value in zip(ids, alone_R.tolist(), strict=True)]


def compare_captions(table: pandas.DataFrame, part: str = PART) -> tuple[list[Row], list[Beside]]:
    """The rows by their CIDEr as published and strictly, with the reasons, and the two means in percent.

    Strict is CIDEr-D over the whole table, of the words of `ptb_tokenize`, with tags and lists of numbers taken out
    of both texts.
    """
    published_R, strict_R = _with(table, QUIRKS), _with(table, ())
    moved = {
        name: (_with(table, set(QUIRKS) - {name}) != published_R) | (_with(table, {name}) != strict_R)
        for name in QUIRKS
    }
    rows = []
    for place, id_ in enumerate(table["ID"].tolist()):
        row = Row(part, id_, float(published_R[place]), float(strict_R[place]))
        reasons = tuple(name for name in QUIRKS if moved[name][place]) if row.differs else ()
        rows.append(replace(row, reasons=reasons))
    return rows, [Beside(part, "CIDEr", _percent(published_R), _percent(strict_R))]


def _with(table: pandas.DataFrame, quirks: Collection[str]) -> np.ndarray:
    """CIDEr of each row with some of the quirks."""
    said, true = _published_texts(table)
    if "cleaned-answer" not in quirks:
        true = [clean(text) for text in true]
    if "glued-punctuation" not in quirks:
        said, true = ([ptb_tokenize(text) for text in texts] for texts in (said, true))
    return np.round(_ciders(said, true, alike="one-row-idf" in quirks), 9)


def _published_texts(table: pandas.DataFrame) -> tuple[list[str], list[str]]:
    return [clean(text) for text in _texts(table["PREDICTION"])], [t.lower() for t in _texts(table["GROUND_TRUTH"])]


def _ciders(said: list[str], true: list[str], alike: bool = False) -> np.ndarray:
    return cider(said, [[text] for text in true], alike=alike)[1]


def clean(answer: str) -> str:
    """An answer as it is compared: lower case, without tags and lists of numbers, with single blanks."""
    text = _TAGS.sub("", answer.lower())
    for pattern in _LISTS:
        text = pattern.sub("", text)
    return re.sub(" +", " ", text).strip()


def stops_of(table: pandas.DataFrame) -> dict[Any, str]:
    """Ids of the rows at which the script raises, and why."""
    stops = {}
    for id_, said, true in table[["ID", "PREDICTION", "GROUND_TRUTH"]].itertuples(index=False):
        if not all(isinstance(text, str) or pandas.isna(text) for text in (said, true)):
            stops[id_] = "a text was read as a number, as the whole column is; here it is the number as written"
        elif pandas.isna(true) or not true.strip():
            stops[id_] = "the truth has no words; here the row scores 0"
    return stops


def _texts(column: pandas.Series) -> list[str]:
    """Cells as text; a blank one is " "."""
    return [" " if pandas.isna(cell) else str(cell) for cell in column]


def _percent(values_R: np.ndarray) -> float:
    return 100 * float(values_R.mean()) if len(values_R) else float("nan")


# --- BLEU ------------------------------------------------------------------------------------------------


def sentence_bleu(said: Sequence[str], true: Sequence[str]) -> float:
    """BLEU-4 of one text and one reference as NLTK has it without smoothing: 0 without a word in common.

    An order of n-grams without a hit counts as the least number there is, and one without n-grams as 0 of 1.
    """
    logarithms = 0.0
    for order in range(1, 5):
        hits = sum((_grams(said, order) & _grams(true, order)).values())
        if order == 1 and not hits:
            return 0.0
        logarithms += math.log(hits / (len(said) - order + 1) if hits else sys.float_info.min) / 4
    short = 1.0 if len(said) > len(true) else math.exp(1 - len(true) / len(said))
    return short * math.exp(logarithms)


def _grams(words: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    return Counter(zip(*(words[start:] for start in range(order)), strict=False))


_BEFORE_BLANKS = [
    (r"[«“‘„]|`+", r" \g<0> "),
    (r"^\"", "``"),
    (r"``", " `` "),
    (r"([ (\[{<])(?:\"|'')", r"\1 `` "),
    (r"(?i)(?<!\w)'(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w)", "' "),
    (r"([^.])\.([\])}>\"'»”’ ]*+)\s*$", r"\1 . \2 "),
    (r"([:,])([^\d])", r" \1 \2"),
    (r"[:,]$", r" \g<0> "),
    (r"\.{2,}", r" \g<0> "),
    (r"[;@#$%&\u2012-\u2015]", r" \g<0> "),
    (r"([^.])\.([\])}>\"']*+)\s*$", r"\1 .\2 "),
    (r"[?!]", r" \g<0> "),
    (r"([^'])' ", r"\1 ' "),
    (r"[*\][(){}<>]", r" \g<0> "),
    (r"--", " -- "),
]
_AFTER_BLANKS = [
    (r"[»”’]", r" \g<0> "),
    (r"''|\"", " '' "),
    (r"\s+", " "),
    (r"([^' ])('[sSmMdD]|') ", r"\1 \2 "),
    (r"([^' ])('(?:ll|LL|re|RE|ve|VE)|n't|N'T) ", r"\1 \2 "),
    (r"(?i)\b(can(?=not)|d(?=')|gim(?=me)|gon(?=na)|got(?=ta)|lem(?=me)|more(?='))(not|'ye|me|na|ta|'n)\b", r" \1 \2 "),
    (r"(?i)\b(wan)(na)(?=\s)", r" \1 \2 "),
    (r"(?i) ('t)(is|was)\b", r" \1 \2 "),
]
_BEFORE, _AFTER = ([(re.compile(a), b) for a, b in steps] for steps in (_BEFORE_BLANKS, _AFTER_BLANKS))


def nltk_words(text: str) -> list[str]:
    """Words as NLTK 3.10's `word_tokenize` cuts one sentence: dots within it stay with their word.

    The steps build upon each other, so that their order counts.
    """
    for pattern, put in _BEFORE:
        text = pattern.sub(put, text)
    text = f" {text} "
    for pattern, put in _AFTER:
        text = pattern.sub(put, text)
    return text.split()
