"""Hygiene: what was wrong with the layers of a recipe, counted and with places, and when that is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import shapely

from georefer.building.columns import Columns, number_of
from georefer.errors import VectorError
from georefer.imagery.problems import KINDS, PLACES, Problem, added, problem

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


class MixedTypes:
    """Attributes of which some values are numbers and others are not; the rarer of them are the problem.

    Shown a layer by tables, it remembers counts and places alone.
    """

    def __init__(self) -> None:
        self._found: dict[str, dict[str, Problem]] = {}

    def look(self, table: Any, names: Iterable[str], columns: Any = None) -> None:
        """`columns` looks attributes up by other names (`columns.Columns`); without it they are the table's own."""
        for name in dict.fromkeys(names):
            codes_N, texts = _coded(table, name, columns)
            kind_of = np.array([*map(_kind, texts), None], dtype=object)
            kinds_N = kind_of[codes_N]
            found = self._found.setdefault(name, {})
            for kind in dict.fromkeys(kind for kind in kinds_N.tolist() if kind):
                rows = table[kinds_N == kind]
                told = problem("mixed_types", rows.index, rows.geometry[:PLACES].bounds, table.crs)
                found[kind] = added(found[kind], told) if kind in found else told

    def problems(self) -> list[Problem]:
        """One for every attribute with values of both sorts."""
        told = []
        for name, found in self._found.items():
            if len(found) > 1:
                common = max(found.values(), key=lambda one: one.count)
                (rare,) = (one for one in found.values() if one is not common)
                told.append(replace(rare, detail=f"{name} ({_said(found)})"))
        return told


class UnknownValues:
    """Values that a mapping does not know, each with its features; the rare ones of many are summed up."""

    def __init__(self) -> None:
        self._listed: dict[str, Problem] = {}
        self._others: set[str] = set()
        self._rest = 0

    def look(self, table: Any, unknown: Mapping[str, np.ndarray]) -> None:
        """The rows of a table by the value that is not known."""
        for value, rows_N in unknown.items():
            if value in self._others or (value not in self._listed and len(self._listed) == MAX_LISTED):
                self._others.add(value)
                self._rest += len(rows_N)
                continue
            rows = table.iloc[rows_N]
            told = problem("unknown_value", rows.index, rows.geometry[:PLACES].bounds, table.crs, value)
            self._listed[value] = added(self._listed[value], told) if value in self._listed else told

    def problems(self) -> list[Problem]:
        rest = [Problem("unknown_value", self._rest, (), f"{len(self._others)} more values")] if self._others else []
        return [*self._listed.values(), *rest]


def _said(found: Mapping[str, Problem]) -> str:
    return ", ".join(f"{one.count} {kind}" for kind, one in sorted(found.items()))


def _coded(table: Any, name: str, columns: Any) -> tuple[np.ndarray, list[str]]:
    """The place of each value among the distinct ones, -1 where there is none."""
    if columns is not None:
        return columns.coded(name)
    return Columns(table[[name]]).coded(name) if name in table.columns else (np.full(len(table), -1), [])


def _kind(text: str) -> str:
    return "numbers" if number_of(text) is not None else "other"
