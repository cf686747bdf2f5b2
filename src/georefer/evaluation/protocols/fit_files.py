"""Which of FIT's answer files a file is: told by the fields of its rows, as users name their files as they like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from georefer.errors import InputError
from georefer.evaluation.protocols.base import find, plain_name, read_json, read_json_lines

COMPLEX_TASKS = frozenset(f"task{number}" for number in range(1, 7))
RSRC_TYPES = frozenset({"relationship", "object", "subject", "exist"})
HRBEN_TYPES = frozenset({"presence", "comp", ""})

NO_TEXT = "the answer is no text"
"""Why the originals stop at a row whose answer is null, a number or a list."""

LOOKED_AT = 200
"""Rows, taken evenly from a file, that tell its kind."""

KINDS = ("complex_comprehension", "fit_rsrc", "fit_vqa", "fit_scene", "fit_caption", "hrben")


def kind_of(rows: Sequence[dict[str, Any]]) -> str | None:
    """The part of FIT that rows answer, by their fields and categories; None for rows of something else."""
    some = rows[:: max(1, len(rows) // LOOKED_AT)]
    if not some or not all("answer" in row for row in some):
        return None
    if not any("category" in row for row in some):
        if all("question" in row and "ground_truth" in row for row in some):
            return "fit_scene"
        if all("ground_truth" in row for row in some):
            return "fit_caption"
        return "hrben" if not any("ground_truth" in row for row in some) and "question_id" in some[0] else None
    if not all("ground_truth" in row for row in some):
        return None
    named = {str(row.get("category", "")).lower() for row in some}
    if named & COMPLEX_TASKS:
        return "complex_comprehension"
    if named & RSRC_TYPES and _mostly_letters(some):
        return "fit_rsrc"
    return "hrben" if named <= HRBEN_TYPES and named != {""} else "fit_vqa"


def _mostly_letters(rows: Sequence[dict[str, Any]]) -> bool:
    return sum(len(str(row["ground_truth"]).strip()) == 1 for row in rows) * 2 > len(rows)


def answer_files(folder: Path) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
    """The JSON Lines files of a folder, plain or packed, by name."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and plain_name(path).endswith(".jsonl"):
            yield path, list(read_json_lines(path))


def answer_file(path: Path, kind: str) -> list[dict[str, Any]]:
    """The rows of a file, or of the one file of a folder that is of this kind; InputError for none or several."""
    if not path.is_dir():
        return list(read_json_lines(path))
    files = [(file, rows) for file, rows in answer_files(path) if kind_of(rows) == kind]
    if len(files) != 1:
        names = ", ".join(file.name for file, _ in files) or "none"
        raise InputError(f"{path} holds {len(files)} answer files of {kind} ({names}), and one was expected; name it")
    return files[0][1]


def checked_rows(rows: list[dict[str, Any]], path: Path, fields: Sequence[str]) -> tuple[list[dict[str, Any]], list]:
    """The rows with answers that are text, and the ids of those that were not, at which the originals stop.

    InputError for no rows at all, or one that lacks a field.
    """
    if not rows:
        raise InputError(f"{path} holds no rows, and one JSON object a line was expected; give the original's answers")
    checked, odd = [], []
    for number, row in enumerate(rows, 1):
        said = row.get("answer")
        if "answer" in row and not isinstance(said, str):
            odd.append(row.get("question_id"))
            row = {**row, "answer": "" if said is None else str(said)}
        for name in fields:
            if not isinstance(row.get(name), str) and (name != "question_id" or name not in row):
                raise InputError(
                    f"row {number} of {path} has {row.get(name)!r:.60} for {name}, and text was expected; "
                    "give the original's answer file"
                )
        checked.append(row)
    return checked, odd


def beside_file(path: Path, name: str, key: str) -> list[dict[str, Any]] | None:
    """The list under `key` of the one JSON file beside an answer file whose name ends in `name`; None for no file."""
    folder = path if path.is_dir() else path.parent
    found = [file for file in sorted(folder.iterdir()) if file.is_file() and plain_name(file).endswith(name)]
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise InputError(f"{folder} holds {names}, and one {key} file was expected; name it with --set {key}=FILE")
    return keyed_list(found[0], key) if found else None


def keyed_list(path: Path, key: str) -> list[dict[str, Any]]:
    """The list of objects under `key` of a JSON file."""
    value = read_json(find(path.parent, path.name) or path)
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise InputError(f"{path} has no list of objects under {key!r}; give RSVQA's {key} file")
    return found
