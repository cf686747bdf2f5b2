"""FIT-RSFG and FIT-RSRC, the benchmarks of SkySenseGPT: JSON lines of questions with a ground truth.

Source: ll-13/FIT-RS on the hub, the scripts of github.com/Luo-Z13/SkySenseGPT at a980ffe, which read the fields
`question_id, image, ground_truth`, the question under `text` (classes, VQA, RSVQA-HR, single choice) or `question`
(captions, complex tasks), and `category`.

    test_FITRS_complex_comprehension_eval.jsonl   category task1 ... task6: detection, relation, relation reasoning,
                                                  object reasoning, region graph, image graph (as in `fit_rs`)
    test_FITRS_{imageclassify,vqa,image_caption,region_caption}_eval.jsonl,  hrben.jsonl
    FIT-RSRC_Questions_2k.jsonl                   a question with its options turned round: rows that share question_id

- Which kind a file holds is told from its name and rows; `kind=` says it where neither does.
- *Rotations*: rows of FIT-RSRC keep their order and their question_id in `params["question_id"]`; the id of each
  question is that with a number behind it, and `params["rotation"]` counts from 0. Options that stand in the text as
  lines "A. ..." become `params["options"]`; the ground truth is the letter, as published.
- Answer files of the published scripts read too: `image_id` for image, and what a model said is left out.
- Other keys of a row become params of the same name, and are written again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from georefer.errors import InputError
from georefer.scenes.interchange.base import Account
from georefer.scenes.interchange.files import safe_name, storable
from georefer.scenes.readers.base import Asked, Published, Source, opened
from georefer.scenes.readers.common import records, write_records
from georefer.scenes.readers.fit_rs import answer_text, tile_image, understand
from georefer.scenes.readers.gathering import Ids, ReadImages, lines_file, published
from georefer.scenes.readers.llava import plain_asks

KINDS = ("complex", "classification", "vqa", "caption", "region-caption", "choice")

_NAMES = (
    ("rsrc", "choice"), ("complex", "complex"), ("imageclass", "classification"), ("scene", "classification"),
    ("region_caption", "region-caption"), ("regioncaption", "region-caption"), ("caption", "caption"),
    ("hrben", "vqa"), ("vqa", "vqa"),
)  # fmt: skip
_CHOICE_TYPES = frozenset({"relationship", "object", "subject", "exist"})
_OPTION = re.compile(r"^[ \t]{0,8}\(?([A-H])[.):][ \t]{0,4}(\S.{0,999})$", re.MULTILINE)
_UNDER_TEXT = frozenset({"vqa", "classification", "multilabel", "choice"})
"""What stands under `text`; the rest under `question`."""

_OWN = frozenset({"question_id", "image", "image_id", "text", "question", "ground_truth", "answer"})
_FOUND = frozenset(
    {"class", "classes", "region", "regions", "relations", "predicates", "truncated", "subject", "object", "options",
     "rotation"}
)  # fmt: skip
"""Params that are told from the texts; a row has no keys for them."""


def read(
    path: str | Path, images: str | Path | None = None, split: str | None = "test", *, kind: str | None = None
) -> Published:
    """One of the files above; of a folder the file of single choice, else the first."""
    if kind is not None and kind not in KINDS:
        raise InputError(f"kind={kind!r} was given where one of {', '.join(KINDS)} is expected")
    file = opened(path, "FIT-RSRC*.jsonl", "test_FITRS_complex*.jsonl", "test_FITRS_*.jsonl", "*.jsonl")
    kind = kind or next((kind for part, kind in _NAMES if part in file.name.lower()), None)
    account, gathered, ids, questions = Account(), ReadImages(images), Ids(), []
    for where, row in records(file, account):
        asked = _asked(row, where, kind, gathered, ids, split, account)
        if isinstance(asked, str):
            account.dropped.add(asked, where)
        else:
            questions.append(asked)
    name = "FIT-RSRC" if any(asked.asks == "choice" for asked in questions) else "FIT-RSFG"
    return published(name, file, gathered, questions, account)


def write(dataset: Published, path: str | Path) -> Account:
    """JSON lines of all questions that have a text and an answer, or objects that answer."""
    account = Account()
    write_records(lines_file(path), _rows(dataset, account))
    return account


# --- reading --------------------------------------------------------------------------------------------------


def _asked(
    row: dict[str, Any], where: str, kind: str | None, images: ReadImages, ids: Ids, split: str | None, account: Account
) -> Asked | str:
    if not storable(row):
        return "row is nested too deeply or holds no finite number"
    id, text, answer = row.get("question_id"), row.get("text", row.get("question")), row.get("ground_truth")
    if not isinstance(id, int | str) or isinstance(id, bool):
        return "row without a question_id"
    if row.get("image", row.get("image_id")) is None:
        return "row without an image"
    name = safe_name(row.get("image", row.get("image_id")))
    if name is None:
        return "image name leads out of its folder"
    if text is not None and not isinstance(text, str):
        return "question is no text"
    if not isinstance(answer, str):
        return "ground truth is no text"
    category = row.get("category")
    task = category if isinstance(category, str) and category.startswith("task") else None
    kind = "complex" if task else kind or _kind_of(row)
    image = tile_image(images, name)
    found = understand(text or "", answer, image, account, where, task)
    asks = _asks(kind, found.asks, text or "", answer, "region" in found.params)
    params = {**found.params, **_kept(row, account, where)}
    if asks == "choice" and text is not None and (options := _options(text)):
        params["options"] = options
    own_id, before = ids.take(str(id))
    if asks == "choice":
        params["rotation"] = before
    elif before:
        account.changed.add("question_id used twice, numbered", where)
    if own_id != id or asks == "choice":
        params["question_id"] = id
    return Asked(own_id, name, asks, text, answer, tuple(found.object_ids), params, split)


def _kind_of(row: dict[str, Any]) -> str | None:
    letter = str(row["ground_truth"]).strip()
    return "choice" if str(row.get("category")) in _CHOICE_TYPES and len(letter) == 1 and letter.isupper() else None


def _asks(kind: str | None, found: str | None, text: str, answer: str, has_region: bool) -> str:
    if kind in ("choice", "vqa", "caption", "region-caption"):
        return kind
    if kind == "classification":
        return "multilabel" if plain_asks(text, answer, 1, False) == "multilabel" else "classification"
    return found or plain_asks(text, answer, 1, has_region)


def _options(text: str) -> list[str]:
    """The options of a question in the order of their letters, which must be A, B, C, ...; else []."""
    found = _OPTION.findall(text)
    letters = "".join(letter for letter, _ in found)
    return [words.strip() for _, words in found] if len(found) > 1 and "ABCDEFGH".startswith(letters) else []


def _kept(row: dict[str, Any], account: Account, where: str) -> dict[str, Any]:
    if clash := sorted(set(row) & _FOUND):
        account.changed.add(f"keys left out: {', '.join(clash)}", where)
    return {key: value for key, value in row.items() if key not in _OWN and key not in _FOUND}


# --- writing --------------------------------------------------------------------------------------------------


def _rows(dataset: Published, account: Account) -> Iterator[dict[str, Any]]:
    for asked in dataset:
        answer = asked.answer if asked.answer is not None else answer_text(dataset, asked)
        if asked.text is None or answer is None:
            account.dropped.add("question without a text" if asked.text is None else "no answer to write", asked.id)
            continue
        if safe_name(asked.image) is None:
            raise InputError(f"the image name {asked.image[:200]!r} leads out of its folder; rename the image")
        account.kept += 1
        kept = {key: value for key, value in asked.params.items() if key not in _FOUND}
        row = {"question_id": kept.pop("question_id", asked.id), "image": asked.image}
        row["text" if asked.asks in _UNDER_TEXT else "question"] = asked.text
        yield {**row, "ground_truth": answer, **kept}


SOURCE = Source(
    "fit-bench",
    "a JSON-lines file of FIT-RSFG or FIT-RSRC, or the folder that holds one",
    "CC-BY-NC-4.0 (STAR's images: academic use)",
    read,
    write,
)
