"""Attributes of a table of features as text and numbers, whatever their columns are called and typed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

MAX_TAGS = 20_000
"""Letters of one feature's tags that are read."""

_TAG = re.compile(r'"((?:[^"\\]|\\.)*)"=>"((?:[^"\\]|\\.)*)"')
_NUMBER = re.compile(r"([+-]?[0-9]{1,15}(?:[.,][0-9]{1,15})?)\s?(m|metres?|meters?|ft|feet|')?")
_FEET_M = 0.3048


class Columns:
    """The attributes of N features by name, as lower-case text.

    A name is looked up as it is, by its aliases, without regard to case, as a field of a nested column such as
    "names.primary", and among the tags of one column. Values in `ignored` count as missing.
    """

    def __init__(
        self,
        frame: Any,
        aliases: Mapping[str, tuple[str, ...]] | None = None,
        tags_in: str = "",
        ignored: Mapping[str, set[str]] | None = None,
    ) -> None:
        self._frame, self._aliases, self._ignored = frame, aliases or {}, ignored or {}
        self._by_lower = {str(name).casefold(): name for name in frame.columns}
        tags = self._by_lower.get(tags_in.casefold()) if tags_in else None
        self._tags = None if tags is None else [_tags(text) for text in frame[tags]]
        self._coded: dict[str, tuple[np.ndarray, list[str]]] = {}
        self._ignored_N = np.zeros(len(frame), dtype=bool)

    def coded(self, name: str) -> tuple[np.ndarray, list[str]]:
        """For each feature the place of its value in the list of distinct values, -1 where it has none."""
        if name not in self._coded:
            raw = self._raw(name)
            # most attributes of a mapping are in none of a layer's columns
            codes_N, values = (np.full(len(self._frame), -1), []) if raw is None else _factorized(raw)
            texts = [text_of(value) for value in values]
            kept = list(dict.fromkeys(t for t in texts if t is not None and t not in self._ignored.get(name, ())))
            place = {text: i for i, text in enumerate(kept)}
            new = np.array([place.get(text, -1) if text is not None else -1 for text in texts] + [-1])
            self._coded[name] = new[codes_N], kept
            dropped = np.array([text is not None and text not in place for text in texts] + [False])
            self._ignored_N |= dropped[codes_N]
        return self._coded[name]

    def has_ignored_N(self) -> np.ndarray:
        """Features with a value that is ignored, in the attributes looked at so far, and no other value there."""
        has_other_N = np.zeros(len(self._frame), dtype=bool)
        for name in self._ignored:
            if name in self._coded:
                has_other_N |= self._coded[name][0] >= 0
        return self._ignored_N & ~has_other_N

    def test(self, name: str, holds: Callable[[str | None], bool]) -> np.ndarray:
        """Whether each feature's value passes; `holds` is asked once for each distinct value, and for none (None)."""
        codes_N, texts = self.coded(name)
        return np.array([*(holds(text) for text in texts), holds(None)], dtype=bool)[codes_N]

    def numbers(self, name: str) -> np.ndarray:
        """The attribute as numbers, lengths in metres; NaN where there is none."""
        codes_N, texts = self.coded(name)
        values = [np.nan if (value := number_of(text)) is None else value for text in texts]
        return np.array([*values, np.nan])[codes_N]

    def _raw(self, name: str) -> Any:
        for known in (name, *self._aliases.get(name, ())):
            if known.casefold() in self._by_lower:
                return self._frame[known if known in self._frame.columns else self._by_lower[known.casefold()]]
        outer, _, inner = name.rpartition(".")
        if outer.casefold() in self._by_lower:
            nested = self._frame[self._by_lower[outer.casefold()]]
            return [value.get(inner) if isinstance(value, Mapping) else None for value in nested]
        return None if self._tags is None else [tags.get(name) for tags in self._tags]


def text_of(value: Any) -> str | None:
    """A value as lower-case text, None for what stands for no value; 2.0 and "2" are the same."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, list | tuple | np.ndarray | Mapping):
        return str(value).casefold() if len(value) else None
    if value is None or value != value:
        return None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value).strip().casefold() or None


def number_of(text: str | None) -> float | None:
    """The number that a text is, a length in metres ("7", "7,5", "7.5 m", "12 ft"), else None."""
    match = _NUMBER.fullmatch(text.strip().casefold()) if text else None
    if match is None:
        return None
    return float(match[1].replace(",", ".")) * (_FEET_M if match[2] in ("ft", "feet", "'") else 1.0)


def _factorized(values: Any) -> tuple[np.ndarray, list]:
    """Places of values among the distinct ones, -1 for missing; true and 1 differ though Python calls them equal."""
    column = pd.Series(values, dtype=object) if isinstance(values, list) else values
    if column.dtype == object:
        column = column.map(text_of)
    codes_N, distinct = pd.factorize(column)
    return codes_N, list(distinct)


def _tags(text: Any) -> dict[str, str]:
    found = _TAG.findall(text[:MAX_TAGS]) if isinstance(text, str) else []
    return {re.sub(r"\\(.)", r"\1", key): re.sub(r"\\(.)", r"\1", value) for key, value in found}
