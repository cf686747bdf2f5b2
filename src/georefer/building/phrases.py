"""Referring expressions: phrases that fit exactly one object of a chip, proved against everything visible.

A phrase is made of conditions; each condition gives the set of visible objects that satisfy it, with a margin
wherever it is a matter of degree. An expression is kept only if the set that is left holds the one object.
Objects of which too little shows to be asked about still count as visible: a corner of a second red roof makes
"the red roofed building" ambiguous.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from georefer.geometry import Objects
from georefer.tasks import Expression

POSITION_MARGIN = 0.06
"""A superlative of position needs this much of the chip side before the next object."""

SIZE_MARGIN = 1.3
"""The largest object must have this many times the area of the next one."""

NEIGHBOUR_MARGIN = 1.5
"""The neighbour meant must be this many times nearer than the next one of its kind."""

MIN_VISIBLE = 0.7
"""Only objects of which this share shows are referred to."""


@dataclass(frozen=True)
class PhraseSettings:
    """How attributes are said: `roof_colour = "{value} roofed {label}"`, with the class name for `{label}`."""

    attributes: Mapping[str, str] = field(default_factory=dict)
    positions: bool = True
    neighbours: bool = True


@dataclass(frozen=True, eq=False)
class _View:
    """All visible objects of a chip, as arrays the conditions work on."""

    labels_N: np.ndarray
    described_N: list[dict[str, str]]
    centre_N2: np.ndarray
    box_N4: np.ndarray
    area_N: np.ndarray
    size: tuple[int, int]


def expressions(
    targets: Objects, others: Objects, visible_N: np.ndarray, size: tuple[int, int], settings: PhraseSettings
) -> list[Expression]:
    """All expressions for the targets of a chip of `size` = (width, height); `visible_N` belongs to `targets`."""
    view = _view(targets, others, size, settings)
    found = []
    for i, id_ in enumerate(targets.ids_N):
        if visible_N[i] >= MIN_VISIBLE:
            seen: set[str] = set()
            for text, by in _phrases(view, i, settings):
                if text not in seen:
                    seen.add(text)
                    found.append(Expression(id_, text, by))
    return found


def _view(targets: Objects, others: Objects, size: tuple[int, int], settings: PhraseSettings) -> _View:
    boxes_N4 = np.concatenate([targets.hbb_N4, others.hbb_N4])
    labels_N = np.concatenate([targets.labels_N, others.labels_N])
    attributes_N = np.concatenate([targets.attributes_N, others.attributes_N])
    described_N = [
        {
            name: template.format(value=str(values[name]), label=label)
            for name, template in settings.attributes.items()
            if name in values
        }
        for label, values in zip(labels_N, attributes_N, strict=True)
    ]
    centre_N2 = (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2
    area_N = (boxes_N4[:, 2] - boxes_N4[:, 0]) * (boxes_N4[:, 3] - boxes_N4[:, 1])
    return _View(labels_N, described_N, centre_N2, boxes_N4, area_N, size)


def _phrases(view: _View, i: int, settings: PhraseSettings) -> Iterator[tuple[str, str]]:
    nouns = list(_nouns(view, i))
    for noun, members, by in nouns:
        if len(members) == 1:
            yield f"the {noun}", by
        elif settings.positions:
            yield from ((f"the {word} {noun}", "position") for word in _superlatives(view, i, members))
        if len(members) > 1 and settings.neighbours:
            yield from ((f"the {noun} next to {anchor}", "neighbour") for anchor in _anchors(view, i, members))


def _nouns(view: _View, i: int) -> Iterator[tuple[str, np.ndarray, str]]:
    """Ways to name object i, each with everything visible that bears that name."""
    same_N = view.labels_N == view.labels_N[i]
    yield str(view.labels_N[i]), np.flatnonzero(same_N), "class"
    for name, phrase in view.described_N[i].items():
        # an object whose attribute is unknown may have it, so it counts as a rival
        rivals = [j for j in np.flatnonzero(same_N) if view.described_N[j].get(name, phrase) == phrase]
        yield phrase, np.array(rivals), "attribute"


def _superlatives(view: _View, i: int, members: np.ndarray) -> Iterator[str]:
    rivals = members[members != i]
    for axis, (low, high) in enumerate((("leftmost", "rightmost"), ("topmost", "bottommost"))):
        margin = POSITION_MARGIN * view.size[axis]
        mine, theirs = view.centre_N2[i, axis], view.centre_N2[rivals, axis]
        if mine + margin <= theirs.min():
            yield low
        if mine - margin >= theirs.max():
            yield high
    # of a cut object the size is unknown, so a chip that cuts a rival supports no statement about size
    if not any(_is_cut(view, j) for j in members):
        if view.area_N[i] >= SIZE_MARGIN * view.area_N[rivals].max():
            yield "largest"
        if view.area_N[i] * SIZE_MARGIN <= view.area_N[rivals].min():
            yield "smallest"


def _is_cut(view: _View, j: int) -> bool:
    x1, y1, x2, y2 = view.box_N4[j]
    return bool(x1 <= 0 or y1 <= 0 or x2 >= view.size[0] or y2 >= view.size[1])


def _anchors(view: _View, i: int, members: np.ndarray) -> Iterator[str]:
    """Unique objects of another class to which i is clearly the nearest of `members`."""
    for j in range(len(view.labels_N)):
        if view.labels_N[j] == view.labels_N[i]:
            continue
        names = [noun for noun, bearers, _ in _nouns(view, j) if len(bearers) == 1]
        if not names:
            continue
        mine, nearest = _gap(view, i, j), min(_gap(view, k, j) for k in members if k != i)
        if mine <= 0.15 * max(view.size) and nearest >= max(NEIGHBOUR_MARGIN * mine, mine + 4):
            yield f"the {names[0]}"


def _gap(view: _View, i: int, j: int) -> float:
    """Distance between two boxes, pixels; 0 where they touch."""
    a, b = view.box_N4[i], view.box_N4[j]
    dx, dy = max(a[0], b[0]) - min(a[2], b[2]), max(a[1], b[1]) - min(a[3], b[3])
    return float(np.hypot(max(dx, 0), max(dy, 0)))
