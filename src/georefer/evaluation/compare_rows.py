"""Two answer files as a published scorer took them: their mean row, the difference with its interval, a paired test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from georefer.errors import InputError
from georefer.evaluation.protocols.base import Row
from georefer.evaluation.summary import difference_text, p_text, table
from georefer.runlog import JsonLines
from georefer.scoring.paired import Paired, compare, holm
from georefer.scoring.ratio import Ratio

HEADER = ("part", "A", "B", "B - A [95 %]", "p", "p (Holm)", "B won", "lost", "tied", "rows")

MEAN = Ratio({"value": 1}, {"rows": 1})


@dataclass(frozen=True)
class RowsComparison:
    """File B against file A by one value of their rows; a row that one of the two passes over does not count there."""

    files: tuple[str, str]
    by: str
    parts: Mapping[str, Paired]
    corrected_p: Mapping[str, float]
    rows: Mapping[str, int]
    left_out: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def compare_rows(first: Path, second: Path, by: str = "published", *, common: bool = False) -> RowsComparison:
    """Compares two files of `georefer score --protocol NAME --rows FILE` row by row; images go together where known.

    Parts are matched by name; where each file has a single one, as GroundSet's models have, these are matched. The
    mean of rows is a scorer's headline only where that is a mean of rows (accuracies, mean IoU), and close to it for
    F1. InputError where the files have other rows; with `common` those of both are taken.
    """
    rows_A, rows_B = _read(first, by), _read(second, by)
    tasks = [{part.rsplit("/", 1)[-1] for part, _ in rows} for rows in (rows_A, rows_B)]
    if {part for part, _ in rows_A}.isdisjoint(part for part, _ in rows_B) and tasks[0] & tasks[1]:
        rows_A, rows_B = _by_task(rows_A), _by_task(rows_B)
    keys = [key for key in rows_A if key in rows_B]
    left_out = len(rows_A) + len(rows_B) - 2 * len(keys)
    if left_out and not common:
        raise InputError(
            f"{left_out} rows are in {first} or {second} alone, where the same questions are expected; score both "
            "models' answers to one benchmark, or compare the common rows with --common"
        )
    if not keys:
        raise InputError(f"{first} and {second} have no row in common; score answers to one benchmark")
    parts: dict[str, Paired] = {}
    counts: dict[str, int] = {}
    for part in dict.fromkeys(part for part, _ in keys):
        own = [key for key in keys if key[0] == part]
        values_A, values_B = ([_counted(rows[key]["value"]) for key in own] for rows in (rows_A, rows_B))
        images = [str(rows_A[key]["image"]) for key in own]
        parts[part], counts[part] = compare(MEAN, values_A, values_B, images), len(own)
    return RowsComparison(
        (str(first), str(second)), by, parts, holm({part: found.p for part, found in parts.items()}), counts, left_out
    )


def published_and_strict(rows: Sequence[Row]) -> dict[str, Paired]:
    """The mean row of each part as published and by strict scoring, paired by image where the rows name it."""
    found = {}
    for part in dict.fromkeys(row.part for row in rows):
        own = [row for row in rows if row.part == part]
        images = [str(row.id if row.image is None else row.image) for row in own]
        published, strict = [_counted(row.published) for row in own], [_counted(row.strict) for row in own]
        found[part] = compare(MEAN, published, strict, images)
    return found


def rows_table(found: RowsComparison) -> str:
    """Plain text."""
    lines = [HEADER]
    for part, pair in found.parts.items():
        lines.append(
            (
                part, f"{pair.first:.4f}", f"{pair.second:.4f}", difference_text(pair), p_text(pair.p),
                p_text(found.corrected_p[part]), str(pair.wins), str(pair.losses), str(pair.ties),
                str(found.rows[part]),
            )
        )  # fmt: skip
    names = [f"{side}: {file}" for side, file in zip("AB", found.files, strict=True)]
    notes = [f"Mean of the rows' {found.by} values; the difference and its interval in hundredths."]
    if found.left_out:
        notes.append(f"Left out: {found.left_out} rows that one file alone has.")
    return "\n".join([*names, "", *table(lines, left=1), "", *notes])


def _counted(value: float | None) -> dict[str, float]:
    return {"value": 0.0 if value is None else value, "rows": float(value is not None)}


def _by_task(rows: Mapping[tuple[str, str], dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows by what stands behind the model's name in their part."""
    renamed = {(part.rsplit("/", 1)[-1], id_): row for (part, id_), row in rows.items()}
    return renamed if len(renamed) == len(rows) else dict(rows)


def _read(path: Path, by: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Value and image of each row by its part and id; InputError for a file of something else."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    try:
        for row in JsonLines(path).read():
            key = str(row["part"]), json.dumps(row["id"])
            if key in rows:
                raise InputError(f"{path} has the row {row['id']!r} of {row['part']} twice; score the answers again")
            value = row[by]
            image = row["id"] if row.get("image") is None else row["image"]
            rows[key] = {"value": None if value is None else float(value), "image": image}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is no file of rows ({error!r}); write one with 'georefer score --protocol NAME --rows FILE'"
        ) from error
    if not rows:
        raise InputError(f"{path} holds no rows; write some with 'georefer score --protocol NAME --rows FILE'")
    if by == "strict" and all(row["value"] is None for row in rows.values()):
        raise InputError(f"{path} holds no strict values; score the answers again with --beside strict")
    return rows
