"""What a chip shows, and what its objects are surely called and may be called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import shapely

from georefer.building.mapping import Words
from georefer.building.phrases import wording
from georefer.geometry import Objects
from georefer.scenes import SceneRelation
from georefer.tasks.predicates import in_words


@dataclass(frozen=True, eq=False)
class Classes:
    """What is known of classes: `above` gives each with all that it is a kind of, `words` other names for it.

    Without a taxonomy every class is only itself. What is labelled with a wide class may be of any kind of it, and
    so whatever such a kind is besides: a "building" may be a hotel, and where hotels are shops too, a shop.
    """

    above: Mapping[str, frozenset[str]]
    words: Mapping[str, Words]

    def sure(self, label: str) -> frozenset[str]:
        """Classes to which something with this label belongs."""
        return self.above.get(label, frozenset({label}))

    def possible(self, label: str) -> frozenset[str]:
        """Classes to which it may belong."""
        if label not in self._possible:
            below = [classes for classes in self.above.values() if label in classes]
            self._possible[label] = self.sure(label).union(*below)
        return self._possible[label]

    def upward(self, label: str, levels: int) -> list[str]:
        """The label, then classes up to so many levels above it, the nearest first."""
        found = [label]
        nearest = [label]
        for _ in range(levels):
            nearest = sorted({parent for one in nearest for parent in self._parents(one)} - set(found))
            found += nearest
        return found

    def _parents(self, label: str) -> set[str]:
        over = self.sure(label) - {label}
        return {one for one in over if not any(one in self.sure(other) for other in over - {one})}

    def names(self, labels: Iterable[str]) -> list[str]:
        """All words for classes, synonyms among them."""
        said = [[label, *(self.words[label].synonyms if label in self.words else ())] for label in sorted(labels)]
        return [wording.as_words(name) for names in said for name in names]

    @cached_property
    def _possible(self) -> dict[str, frozenset[str]]:
        return {}


@dataclass(frozen=True, eq=False)
class View:
    """All that is visible on a chip: the `targets` first, then the others.

    `templates` say attributes; `unsure` are relations, as (subject id, predicate, object id), that may hold.
    Relations among the targets are taken to be all there are. `landmark_N` are objects that others are placed by.
    """

    objects: Objects
    targets: int
    size: tuple[int, int]
    templates: Mapping[str, str]
    gsd_m: float | None
    classes: Classes
    relations: tuple[SceneRelation, ...]
    unsure: frozenset[tuple[str, str, str]]
    predicates: Mapping[str, str]
    landmark_N: np.ndarray

    def __len__(self) -> int:
        return len(self.objects)

    def related(self, predicate: str) -> str:
        """How a relation is said, by the recipe or in the words that everybody uses; "" for not at all."""
        return self.predicates.get(predicate, wording.as_words(in_words(predicate)))

    @cached_property
    def box_N4(self) -> np.ndarray:
        return self.objects.hbb_N4

    @cached_property
    def centre_N2(self) -> np.ndarray:
        return (self.box_N4[:, :2] + self.box_N4[:, 2:]) / 2

    @cached_property
    def area_N(self) -> np.ndarray:
        return shapely.area(self.objects.geometries_N)

    @cached_property
    def is_cut_N(self) -> np.ndarray:
        """Whether the edge of the chip touches an object, so that its size is unknown."""
        far = np.array(self.size)
        return np.any(self.box_N4[:, :2] <= 0, axis=1) | np.any(self.box_N4[:, 2:] >= far, axis=1)

    @cached_property
    def label_N(self) -> list[str]:
        return [str(label) for label in self.objects.labels_N]

    @cached_property
    def values_N(self) -> list[dict[str, Any]]:
        """Attributes that can be said; others, such as truth values, are unknown."""
        return [
            {n: v for n in self.templates if can_be_said(v := attributes.get(n))}
            for attributes in self.objects.attributes_N
        ]

    @cached_property
    def _bearers(self) -> dict[str, int]:
        return {}

    @cached_property
    def _gaps(self) -> dict[int, np.ndarray]:
        return {}

    @cached_property
    def having(self) -> dict[tuple[str, Any, str], int]:
        """Filled by `facts.may_have`."""
        return {}

    @cached_property
    def depths(self) -> dict[str, np.ndarray]:
        """Filled by `facts.depth_in_part`."""
        return {}

    @cached_property
    def _described(self) -> dict[str, list[dict[str, str]]]:
        return {}

    @cached_property
    def anchors(self) -> dict[int, tuple[tuple[str, ...], str] | None]:
        """Filled by `facts.anchor_of`."""
        return {}

    def described_as(self, noun: str) -> list[dict[str, str]]:
        """Each attribute of each object in words, were it called by this noun."""
        if noun not in self._described:
            self._described[noun] = [
                {name: wording.filled(self.templates[name], said_value(v), noun) for name, v in values.items()}
                for values in self.values_N
            ]
        return self._described[noun]

    def may_be(self, label: str) -> int:
        """Objects that may be called by a class, as bits."""
        if label not in self._bearers:
            self._bearers[label] = self.may_be_said(wording.as_words(label))
        return self._bearers[label]

    def may_be_said(self, noun: str) -> int:
        """Objects for which somebody may use a noun, as bits."""
        fits = {one: _any_called(noun, self.classes.names(self.classes.possible(one))) for one in set(self.label_N)}
        return to_bits([fits[label] or _any_called(noun, self.own_nouns(j)) for j, label in enumerate(self.label_N)])

    def surely_is(self, label: str) -> int:
        """Objects that belong to a class whatever they are besides, as bits."""
        key = wording.whole_key(wording.as_words(label))
        sure = {
            one: any(wording.whole_key(wording.as_words(name)) == key for name in self.classes.sure(one))
            for one in set(self.label_N)
        }
        return to_bits([sure[label] for label in self.label_N])

    def own_nouns(self, j: int) -> list[str]:
        """Nouns for an object from attributes that stand for the class."""
        return [text for name, text in self.described_as("")[j].items() if not self.names_class(name)]

    def names_class(self, attribute: str) -> bool:
        return wording.has_label(self.templates[attribute])

    def gaps_N(self, j: int) -> np.ndarray:
        """Distance of every box to that of object j, pixels; 0 where they touch."""
        if j not in self._gaps:
            box = self.box_N4[j]
            away_N2 = np.maximum(self.box_N4[:, :2] - box[2:], box[:2] - self.box_N4[:, 2:])
            self._gaps[j] = np.hypot(*np.maximum(away_N2, 0).T)
        return self._gaps[j]


def to_bits(flag_N: Any) -> int:
    packed = np.packbits(np.asarray(flag_N, dtype=bool), bitorder="little")
    return int.from_bytes(packed.tobytes(), "little")


def said_value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else wording.as_words(str(value))


def can_be_said(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and bool(said_value(value))


def _any_called(noun: str, names: Iterable[str]) -> bool:
    return any(wording.may_be_called(noun, name) for name in names)
