"""Hygiene: what was wrong with the layers of a recipe, counted and with places, and when that is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import shapely

from georefer.building.columns import number_of, text_of
from georefer.errors import VectorError
from georefer.imagery.problems import KINDS, Problem, problem

DUPLICATE_PX = 1e-3
"""Coordinates that round to the same multiple of this are the same point."""

MAX_LISTED = 50
"""So many values unknown to a mapping are listed one by one; the rest is summed up."""


@dataclass(frozen=True)
class Report:
    """Problems of each layer, by its name in the recipe."""

    problems: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Features with each kind of problem, by "layer: what"."""
        total: Counter[str] = Counter()
        for layer, found in self.problems.items():
            for one in found:
                total[f"{layer}: {KINDS[one.kind]}"] += one.count
        return dict(total)

    def to_plain(self) -> dict[str, list[dict[str, Any]]]:
        """All problems as JSON values, for the manifest."""
        return {
            layer: [
                {"kind": p.kind, "count": p.count, "detail": p.detail, "places": list(p.places)}
                for p in found
            ]
            for layer, found in self.problems.items()
            if found
        }  # fmt: skip

    def lines(self) -> list[str]:
        """One sentence a problem, for people."""
        return [f"{layer}: {one}" for layer, found in self.problems.items() for one in found]

    def refuse(self, accept: Mapping[str, Sequence[str]]) -> None:
        """VectorError with the first problem of a layer whose kind is not among those that it accepts."""
        for layer, accepted in accept.items():
            found = [one for one in self.problems.get(layer, ()) if one.kind not in accepted]
            if found:
                others = f", and {len(found) - 1} more problem{'s' * (len(found) > 2)}" if len(found) > 1 else ""
                raise VectorError(
                    f"layer '{layer}' holds {found[0]}{others} where strict asks for none; correct the layer or the "
                    f"mapping, or accept {sorted({one.kind for one in found})} in the recipe"
                )


def duplicates(shapes_N: np.ndarray, labels_N: Sequence[str] | np.ndarray) -> np.ndarray:
    """Whether each shape was there before, with the same class; start and direction of rings do not matter."""
    rounded_N = shapely.transform(shapes_N, lambda xy: np.round(xy / DUPLICATE_PX) * DUPLICATE_PX + 0.0)
    seen: set[tuple[str, bytes]] = set()
    again_N = np.zeros(len(shapes_N), dtype=bool)
    for i, key in enumerate(zip(labels_N, shapely.to_wkb(shapely.normalize(rounded_N)), strict=True)):
        again_N[i] = key in seen
        seen.add(key)
    return again_N


def mixed_types(table: Any, names: Iterable[str], columns: Any = None) -> list[Problem]:
    """Attributes of which some values are numbers and others are not; the rarer of them are the problem.

    `columns` looks attributes up by other names (`columns.Columns`); without it they are the table's own.
    """
    found = []
    for name in dict.fromkeys(names):
        texts = _texts(table, name, columns)
        kinds_N = np.array([_kind(text) for text in texts], dtype=object)
        counts = Counter(kind for kind in kinds_N if kind)
        if len(counts) > 1:
            common = counts.most_common(1)[0][0]
            rare_N = np.array([kind is not None and kind != common for kind in kinds_N], dtype=bool)
            said = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
            rows = table[rare_N]
            found.append(problem("mixed_types", rows.index, rows.geometry[:3].bounds, table.crs, f"{name} ({said})"))
    return found


def unknown_values(table: Any, unknown: Mapping[str, np.ndarray]) -> list[Problem]:
    """Values that a mapping does not know, each with its features; the rare ones of many are summed up."""
    listed = list(unknown.items())
    found = []
    for value, rows_N in listed[:MAX_LISTED]:
        rows = table.iloc[rows_N]
        found.append(problem("unknown_value", rows.index, rows.geometry[:3].bounds, table.crs, value))
    rest = listed[MAX_LISTED:]
    if rest:
        total = sum(len(rows_N) for _, rows_N in rest)
        found.append(Problem("unknown_value", total, (), f"{len(rest)} more values"))
    return found


def _texts(table: Any, name: str, columns: Any) -> list[str | None]:
    if columns is None:
        return [text_of(value) for value in table[name]] if name in table.columns else []
    codes_N, texts = columns.coded(name)
    return [texts[code] if code >= 0 else None for code in codes_N]


def _kind(text: str | None) -> str | None:
    if text is None:
        return None
    return "numbers" if number_of(text) is not None else "other"
