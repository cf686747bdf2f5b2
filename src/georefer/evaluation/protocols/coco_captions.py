"""Captions as COCO's evaluation scores them, which FIT-RSFG takes for its image and region captions.

Source: pycocoevalcap 1.2 on PyPI (the family that FIT-RSFG ships): PTB tokenizer, BLEU, METEOR, ROUGE-L, CIDEr; beside
it sacrebleu 2.6.0 and rouge-score 0.1.2 where installed. Input is `captions.jsonl` with {id, caption, references}, or
FIT's answers with {question_id, answer, ground_truth}. Each measure comes with the first reference alone, with all of
them, and on plain words in lower case ("whitespace_lower") beside PTB's. What a strict scorer would not do:

- A carriage return, form feed, vertical tab or U+2028 in a text ends a line for the tokenizer: all later texts are
  taken for those of the wrong items, without an error.
- The dot of a text that ends in a single letter ("plan B.") or "no." is kept or cut by the next text's first word.
- ROUGE-L takes the best precision and the best recall, be it of different references.
- An empty text is one empty word for ROUGE-L: nothing said of nothing is a full hit.
- CIDEr takes its document frequencies from the scored references: one item alone scores 0.

The original stops at a text that is no text, at an item without a reference, and for CIDEr at a file whose references
are all empty; here the first is its plain text, the second is passed over, the third scores 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from georefer.errors import InputError, MissingExtra
from georefer.evaluation.protocols.base import (
    Beside,
    Protocol,
    Row,
    Scores,
    Stop,
    find,
    partial,
    plain_name,
    read_json_lines,
    refuse_repeated,
)
from georefer.scoring.captions.bleu import bleu_of
from georefer.scoring.captions.cider import cider_of
from georefer.scoring.captions.grams import corpus_of
from georefer.scoring.captions.packages import best_rouge_scores, rouge_scores, sacrebleu_scores
from georefer.scoring.captions.ptb import LINE_BREAKS, ptb_lines, ptb_tokenize
from georefer.scoring.captions.rouge import rouge_l

QUIRKS = {
    "line-break": "a line break other than a newline shifts all later texts to the wrong items",
    "next-line": "the dot of a text that ends in a single letter, or in 'no.', hangs on the next text's first word",
    "mixed-references": "ROUGE-L takes the best precision and the best recall of different references",
    "empty-word": "an empty text is one empty word for ROUGE-L, so that nothing said of nothing is a full hit",
    "corpus-idf": "CIDEr's document frequencies are those of the scored references; one item alone scores 0",
}

Texts = tuple[list[str], list[list[str]]]
"""Captions, and the references of each."""


@dataclass(frozen=True)
class Item:
    """One caption and its references, as they are in the file."""

    id: Any
    caption: str
    references: tuple[str, ...]


def score(path: Path, settings: Mapping[str, str], beside: bool) -> Scores:
    """`1_reference` and, where items have several, `3_reference` or so: see the module."""
    file = _file(Path(path))
    items, stops = _items(file, partial(settings))
    most = max(len(item.references) for item in items)
    numbers: dict[str, Any] = {}
    rows: list[Row] = []
    besides: list[Beside] = []
    notes = _notes(items)
    for count in sorted({1, most}):
        part = f"{count}_reference"
        captions, references = [i.caption for i in items], [list(i.references[:count]) for i in items]
        published = _as_lines(captions, references)
        numbers[part] = {
            "ptb": _measures(*published, notes, with_meteor=True),
            "whitespace_lower": _measures(*_each((captions, references), _plain_words), notes),
        }
        ptb = numbers[part]["ptb"]
        rows += [Row(part, i.id, value) for i, value in zip(items, ptb["rouge_l"]["per_sample"], strict=True)]
        if not any(text for texts in published[1] for text in texts):
            stops.append(Stop(part, None, "cider: no reference has a word; here it is 0"))
        if beside:
            strict = _each((captions, references), ptb_tokenize)
            rows[-len(items) :] = _with_strict(rows[-len(items) :], (captions, references), published, strict)
            besides += _beside(part, ptb, rows[-len(items) :], strict)
    numbers |= _packages(items, most, notes)
    return Scores(numbers, tuple(rows), tuple(stops), tuple(besides), tuple(dict.fromkeys(notes)))


# --- files -----------------------------------------------------------------------------------------------


def _file(path: Path) -> Path:
    """The file itself, or the one of a folder: `captions.jsonl`, or the only JSON Lines file there is."""
    if path.is_file():
        return path
    if named := find(path, "captions.jsonl"):
        return named
    files = sorted(p for p in path.glob("*.jsonl*") if plain_name(p).endswith(".jsonl"))
    if len(files) != 1:
        raise InputError(f"{path} holds {len(files)} JSON Lines files where captions.jsonl is expected; name the file")
    return files[0]


def _items(file: Path, lenient: bool) -> tuple[list[Item], list[Stop]]:
    """The items of a file that have a reference, and where the original stops; of repeated ids the first counts."""
    known: dict[str, Item] = {}
    ids: list[Any] = []
    stops: list[Stop] = []
    for number, row in enumerate(read_json_lines(file)):
        id_ = row.get("id", row.get("question_id", number))
        said, true = _fields(row, f"{file} row {number + 1}")
        ids.append(json.dumps(id_))
        if not isinstance(said, str) or not all(isinstance(text, str) for text in true):
            stops.append(Stop("1_reference", id_, "a caption or reference is no text; here it is its plain text"))
        elif not all(_encodes(text) for text in (said, *true)):
            stops.append(Stop("1_reference", id_, "half of a surrogate pair, which UTF-8 has not; here it is left out"))
        if not true:
            stops.append(Stop("1_reference", id_, "there is no reference; the item is passed over"))
        elif ids[-1] in known:
            stops.append(Stop("1_reference", id_, "a second caption for an id; the first counts"))
        else:
            known[ids[-1]] = Item(id_, _text(said), tuple(map(_text, true)))
    if not lenient:
        refuse_repeated(ids, file)
    if not known:
        raise InputError(f"{file} holds no caption with a reference; expected rows with id, caption and references")
    return list(known.values()), stops


def _fields(row: Mapping[str, Any], where: str) -> tuple[Any, list[Any]]:
    if "caption" in row and isinstance(row.get("references"), list):
        return row["caption"], row["references"]
    if "answer" in row and "ground_truth" in row:
        true = row["ground_truth"]
        return row["answer"], true if isinstance(true, list) else [true]
    raise InputError(
        f"{where} has the fields {', '.join(map(str, row))[:200]}, where caption and a list of references, or answer "
        "and ground_truth were expected"
    )


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else str(value)
    return text.encode("utf-8", "ignore").decode("utf-8")


def _encodes(text: str) -> bool:
    return text.isascii() or _text(text) == text


def _notes(items: Sequence[Item]) -> list[str]:
    broken = [i.id for i in items if any(LINE_BREAKS.search(text) for text in (i.caption, *i.references))]
    if not broken:
        return []
    return [
        f"{len(broken)} items (as {broken[0]!r}) hold a line break that is no newline: the original takes all later "
        "captions or references for those of the wrong items"
    ]


# --- as published ----------------------------------------------------------------------------------------


def _each(texts: Texts, words: Callable[[str], str]) -> Texts:
    captions, references = texts
    return [words(text) for text in captions], [[words(text) for text in true] for true in references]


def _plain_words(text: str) -> str:
    return " ".join(text.lower().split())


def _as_lines(captions: Sequence[str], references: Sequence[Sequence[str]], peek: bool = True) -> Texts:
    """Captions and references as the tokenizer's lines, which are dealt out in order whatever they came from."""
    lines = iter(ptb_lines((text for true in references for text in true), peek=peek))
    return ptb_lines(captions, peek=peek)[: len(captions)], [[next(lines) for _ in true] for true in references]


def _measures(
    captions: list[str], references: list[list[str]], notes: list[str], with_meteor: bool = False
) -> dict[str, Any]:
    corpus = corpus_of(captions, references)
    found = {"bleu": bleu_of(corpus), "rouge_l": rouge_l(captions, references), "cider": cider_of(corpus)}
    if with_meteor:
        try:
            from georefer.scoring.captions.meteor import meteor

            found["meteor"] = meteor(captions, references)
        except (ImportError, MissingExtra) as error:
            notes.append(f"METEOR is left out: {error}")
    return {name: {"corpus": whole, "per_sample": each.tolist()} for name, (whole, each) in found.items()}


def _packages(items: Sequence[Item], most: int, notes: list[str]) -> dict[str, Any]:
    """sacrebleu's and rouge-score's numbers, as far as these are installed."""
    captions, references = [i.caption for i in items], [list(i.references) for i in items]
    first = [true[0] for true in references]
    even = len({len(true) for true in references}) == 1
    found: dict[str, Any] = {}
    try:
        counts = sorted({1, most} if even else {1})
        found["sacrebleu"] = {
            f"{count}_reference": sacrebleu_scores(captions, [true[:count] for true in references]) for count in counts
        }
        found["rouge_score"] = {}
        for name, stem in (("plain", False), ("stem", True)):
            found["rouge_score"][name] = {"1_reference": rouge_scores(captions, first, stem)}
            if most > 1:
                best = best_rouge_scores(captions, references, stem)
                found["rouge_score"][name][f"{most}_reference_best_fmeasure"] = best
    except MissingExtra as error:
        notes.append(str(error))
    return {name: value for name, value in found.items() if value}


# --- strictly --------------------------------------------------------------------------------------------


def _with_strict(rows: Sequence[Row], texts: Texts, published: Texts, strict: Texts) -> list[Row]:
    """Rows with ROUGE-L of their own words against the one reference that fits best.

    From published to strict one quirk after the other is taken away; those that move a row are its reasons.
    """
    shifted = _as_lines(*texts, peek=False)
    own_N = rouge_l(*strict)[1]
    single_N = _best_single(*strict)
    strict_N = np.where([not any(said.split()) for said in strict[0]], 0.0, single_N)
    ways = [rouge_l(*published)[1], rouge_l(*shifted)[1], own_N, single_N, strict_N]
    names = ("next-line", "line-break", "mixed-references", "empty-word")
    moved = [np.abs(a - b) > 1e-9 for a, b in pairwise(ways)]
    done = []
    for place, row in enumerate(rows):
        row = replace(row, strict=float(strict_N[place]))
        reasons = tuple(name for name, moved_N in zip(names, moved, strict=True) if moved_N[place])
        done.append(replace(row, reasons=reasons) if row.differs else row)
    return done


def _best_single(captions: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    said = [text for text, true in zip(captions, references, strict=True) for _ in true]
    pairs_R = rouge_l(said, [[text] for true in references for text in true])[1]
    return np.maximum.reduceat(pairs_R, np.cumsum([0, *map(len, references[:-1])]))


def _beside(part: str, ptb: Mapping[str, Any], rows: Sequence[Row], strict: Texts) -> list[Beside]:
    corpus = corpus_of(*strict)
    single = float(np.mean([row.strict for row in rows if row.strict is not None]))
    return [
        Beside(part, "rouge_l", ptb["rouge_l"]["corpus"], single),
        Beside(part, "bleu_4", ptb["bleu"]["corpus"][-1], bleu_of(corpus)[0][-1]),
        Beside(part, "cider", ptb["cider"]["corpus"], cider_of(corpus)[0]),
    ]


PROTOCOL = Protocol(
    name="coco-captions",
    source="pycocoevalcap 1.2 (PyPI): tokenizer, bleu, rouge, cider, meteor; sacrebleu 2.6.0; rouge-score 0.1.2",
    reads="captions.jsonl with id, caption and references, or FIT's answers with question_id, answer and ground_truth",
    quirks=QUIRKS,
    score=score,
)
