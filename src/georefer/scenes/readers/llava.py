"""LLaVA's training files, in which FIT-RS and GeoChat-Instruct come: one row an image with turns of a dialogue.

    {"id": "...", "image": "0505__512__2884___5768.png",
     "conversations": [{"from": "human", "value": "<image>\\n..."}, {"from": "gpt", "value": "..."}, ...]}

A question and its answer become one `Asked`. The mark `<image>` belongs to LLaVA and not to the question: it is left
out of the text and written again before the first one. A dialogue of several questions keeps its row's id in
`params["record"]` and counts them in `params["turn"]`; those texts may refer to earlier ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from georefer.errors import InputError
from georefer.scenes.interchange.base import Account
from georefer.scenes.interchange.files import safe_name, storable
from georefer.scenes.readers.base import Asked, Published
from georefer.scenes.readers.common import records, write_records
from georefer.scenes.readers.gathering import Ids

IMAGE_MARK = "<image>"
MAX_TURNS = 1_000

_ONE_CLASS = re.compile(r"(one word or a short phrase\W*$)|\bclassif(?:y|ied|ication)\b", re.IGNORECASE)
_MANY_CLASSES = re.compile(r"classes separated by commas\W*$", re.IGNORECASE)
_SHORT = re.compile(r"single word or (?:a )?(?:short )?phrase\W*$", re.IGNORECASE)
_DESCRIBE = re.compile(r"\b(?:describ|description|caption|summar|overview|depict|portray)", re.IGNORECASE)


@dataclass(frozen=True)
class Turn:
    """One question of a dialogue with its answer; `record` is the row's own id, `of` how many turns the row has."""

    record: Any
    image: str
    number: int
    of: int
    question: str
    answer: str
    where: str


def turns(path: Path, account: Account) -> Iterator[Turn]:
    """Every question of the file; rows that are no dialogue about one image are counted and left out."""
    for where, row in records(path, account):
        found = _turns_of(row, where, account)
        if isinstance(found, str):
            account.dropped.add(found, where)
        else:
            yield from found


def _turns_of(row: dict[str, Any], where: str, account: Account) -> list[Turn] | str:
    if not storable(row):
        return "row is nested too deeply or holds no finite number"
    if not isinstance(row.get("id"), int | str) or isinstance(row["id"], bool):
        return "row without an id"
    if row.get("image") is None:
        return "row without an image"
    image = safe_name(row["image"])
    if image is None:
        return "image name leads out of its folder"
    said = row.get("conversations")
    if not isinstance(said, list) or len(said) % 2 or not 2 <= len(said) <= 2 * MAX_TURNS:
        return "no turns of human and gpt"
    texts = []
    for place, turn in enumerate(said):
        if not isinstance(turn, dict) or turn.get("from") != ("human", "gpt")[place % 2]:
            return "no turns of human and gpt"
        if not isinstance(turn.get("value"), str):
            return "turn without a text"
        texts.append(turn["value"])
    if not texts[0].startswith(IMAGE_MARK + "\n") or any(IMAGE_MARK in text for text in texts[1:]):
        account.changed.add("<image> stands elsewhere than before the first question, moved", where)
    if left := sorted(set(row) - {"id", "image", "conversations"}):
        account.changed.add(f"keys left out: {', '.join(left)[:80]}", where)
    asked = [
        text.replace(IMAGE_MARK + "\n", "").replace("\n" + IMAGE_MARK, "").replace(IMAGE_MARK, "") for text in texts
    ]
    of = len(texts) // 2
    return [Turn(row["id"], image, n, of, asked[2 * n], asked[2 * n + 1], where) for n in range(of)]


def asked_of(turn: Turn, asks: str, ids: Ids, params: dict[str, Any], objects: list[str], split: str | None) -> Asked:
    """The question of a turn, with an id of its own and what is needed to write its row again."""
    kept: dict[str, Any] = {}
    wanted = str(turn.record) if turn.of == 1 else f"{turn.record}#{turn.number}"
    id, _ = ids.take(wanted)
    if turn.of > 1:
        kept = {"record": turn.record, "turn": turn.number}
    elif id != turn.record:
        kept = {"record": turn.record}
    return Asked(id, turn.image, asks, turn.question, turn.answer, tuple(objects), {**params, **kept}, split)


def plain_asks(question: str, answer: str, of: int, has_region: bool) -> str:
    """What a question without shapes in its answer asks for, as far as its wording tells."""
    if _MANY_CLASSES.search(question):
        return "multilabel"
    if has_region:
        return "region-caption"
    if _ONE_CLASS.search(question):
        return "classification"
    if _SHORT.search(question):
        return "vqa"
    if _DESCRIBE.search(question) and len(answer.split()) > 3:
        return "caption"
    return "vqa" if of == 1 else "chat"


def write_turns(published: Published, path: Path | str, answer_of: Callable[[Asked], str | None]) -> Account:
    """Questions as LLaVA rows; those that follow each other and share a `record` share a row.

    `answer_of` gives the text of an answer; a question without one, or without a text of its own, is dropped.
    """
    account = Account()
    write_records(_file(path), _rows(published, account, answer_of))
    return account


def _file(path: Path | str) -> Path:
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder where the name of the JSON file to write is expected; add one")
    return path


def _rows(published: Published, account: Account, answer_of) -> Iterator[dict[str, Any]]:
    row: dict[str, Any] | None = None
    last: tuple[Any, int] | None = None
    for asked in published:
        answer = asked.answer if asked.answer is not None else answer_of(asked)
        if asked.text is None or answer is None:
            account.dropped.add("question without a text" if asked.text is None else "no answer to write", asked.id)
            continue
        if safe_name(asked.image) is None:
            raise InputError(f"the image name {asked.image[:200]!r} leads out of its folder; rename the image")
        account.kept += 1
        record, turn = asked.params.get("record", asked.id), asked.params.get("turn", 0)
        said = [{"from": "human", "value": asked.text}, {"from": "gpt", "value": answer}]
        if row is not None and turn and last == (record, turn - 1) and row["image"] == asked.image:
            row["conversations"] += said
        else:
            if row is not None:
                yield row
            said[0]["value"] = f"{IMAGE_MARK}\n{asked.text}"
            row = {"id": record, "image": asked.image, "conversations": said}
        last = (record, turn)
    if row is not None:
        yield row
