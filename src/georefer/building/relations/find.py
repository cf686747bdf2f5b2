"""Relations between the objects of a whole scene, in metres, before it is cut into chips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from georefer.building.relations.carriers import carriers
from georefer.building.relations.heading import distances, headings
from georefer.building.relations.network import network
from georefer.building.relations.settings import RelationSettings
from georefer.building.relations.table import RELATIONS
from georefer.building.relations.topology import topology
from georefer.building.relations.view import Found, Lines, view_of
from georefer.errors import InputError
from georefer.scenes.schema import SceneRelation

MIN_VISIBLE = 0.55
"""Share of an object in a chip from which FIT-RS keeps it."""

GROUPS = (topology, carriers, distances, headings, network)
RELATION_NAMES = tuple(RELATIONS)
_ORDER = {name: place for place, name in enumerate(RELATION_NAMES)}


def find_relations(
    geometries_N: Sequence[Any] | np.ndarray,
    labels_N: Sequence[str] | np.ndarray,
    ids_N: Sequence[str] | np.ndarray,
    settings: RelationSettings | None = None,
    headings_N: Sequence[float] | np.ndarray | None = None,
    lines: Lines | None = None,
) -> list[SceneRelation]:
    """What objects are to each other by their shapes, so that relation questions need no hand-made labels.

    Geometries are shapely areas, lines or points in metres (a projected CRS, or pixels times GSD); headings are
    degrees from +x towards +y, NaN where unknown. Geometry that is None, empty, not finite or beyond repair takes no
    part. In order of subject, predicate, object; evidence holds what was measured and the margin. Of antonyms that
    both came out (an object in two roles), neither is kept.
    """
    count = len(geometries_N)
    headings_N = np.full(count, np.nan) if headings_N is None else np.asarray(headings_N, dtype=float)
    if not count == len(labels_N) == len(ids_N) == len(headings_N):
        found = f"{count} geometries, {len(labels_N)} labels, {len(ids_N)} ids and {len(headings_N)} headings"
        raise InputError(f"{found} were given where one of each per object is expected; make them equally many")
    if len(set(ids_N)) != count:
        raise InputError("ids repeat where each object needs its own; make them unique")
    settings = settings or RelationSettings()
    view = view_of(geometries_N, labels_N, headings_N, settings, lines or Lines())
    if not len(view):
        return []
    ids_M = [str(ids_N[row]) for row in view.row_N]
    held = _closed(part for group in GROUPS for part in group(view))
    return [
        SceneRelation(ids_M[i], RELATION_NAMES[place], ids_M[j], {**evidence, "margin": settings.margin})
        for (i, place, j), evidence in sorted(held.items(), key=lambda item: item[0])
        if settings.wants(RELATION_NAMES[place]) and not _contradicted(RELATION_NAMES[place], i, j, held)
    ]


def _closed(parts: Iterable[Found]) -> dict[tuple[int, int, int], dict[str, Any]]:
    """Evidence by (subject, predicate's place, object); symmetric ones both ways; the first of repeated ones counts."""
    found: dict[tuple[int, int, int], dict[str, Any]] = {}
    for part in parts:
        place, both_ways = _ORDER[part.predicate], RELATIONS[part.predicate].symmetric
        columns = [_plain(column) for column in part.evidence.values()]
        keys = tuple(part.evidence)
        for number, (i, j) in enumerate(zip(part.subject_P.tolist(), part.object_P.tolist(), strict=True)):
            evidence = {key: column[number] for key, column in zip(keys, columns, strict=True)}
            found.setdefault((i, place, j), evidence)
            if both_ways:
                found.setdefault((j, place, i), evidence)
    return found


def _plain(column_P: np.ndarray) -> list[Any]:
    """Numbers for JSON, to a millimetre or a thousandth; what is not finite (no neighbour at all) is None."""
    if column_P.dtype.kind != "f":
        return column_P.tolist()
    return [value if np.isfinite(value) else None for value in np.round(column_P, 3).tolist()]


def _contradicted(name: str, i: int, j: int, found: Mapping[tuple[int, int, int], Any]) -> bool:
    antonym = RELATIONS[name].antonym
    return antonym is not None and (i, _ORDER[antonym], j) in found


class RelationIndex:
    """A scene's relations by their subject, so that each of many chips costs no more than what it shows."""

    def __init__(self, relations: Iterable[SceneRelation]):
        self._by_subject: dict[str, list[SceneRelation]] = {}
        for relation in relations:
            self._by_subject.setdefault(relation.subject, []).append(relation)

    def tile(
        self, ids: Iterable[str], visible: Mapping[str, float] | None = None, min_visible: float = MIN_VISIBLE
    ) -> tuple[SceneRelation, ...]:
        """As `tile_relations`."""
        visible = visible or {}
        kept = [id_ for id_ in dict.fromkeys(ids) if visible.get(id_, 1.0) >= min_visible]
        whole = {id_: visible.get(id_, 1.0) >= 1 - 1e-9 for id_ in kept}
        return tuple(
            _clipped(relation, whole)
            for id_ in kept
            for relation in self._by_subject.get(id_, ())
            if relation.object in whole
        )


def tile_relations(
    relations: Iterable[SceneRelation],
    ids: Iterable[str],
    visible: Mapping[str, float] | None = None,
    min_visible: float = MIN_VISIBLE,
) -> tuple[SceneRelation, ...]:
    """Relations of which a chip keeps both objects, in the order of `ids`.

    `visible` is the share of an object that lies in the chip (1 where not given); below `min_visible` it is not kept,
    and evidence names the ends that the chip's edge clips. For many chips of one scene make one `RelationIndex`.
    """
    return RelationIndex(relations).tile(ids, visible, min_visible)


def _clipped(relation: SceneRelation, whole: Mapping[str, bool]) -> SceneRelation:
    ends = [end for end in ("subject", "object") if not whole[getattr(relation, end)]]
    if not ends:
        return relation
    return SceneRelation(relation.subject, relation.predicate, relation.object, {**relation.evidence, "clipped": ends})
