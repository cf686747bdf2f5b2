"""Leak audit: which images occur in more than one dataset, or in two splits of the same.

A benchmark that was seen in training measures memory. Four things tell, each with a strength of 0 to 1:

    content     the same decoded pixels                                                        1
    looks       nearly the same fingerprint, whichever of eight ways the picture lies (see     1 - differing bits / 128
                `fingerprints`, which says what it finds and how often it errs)
    name        the same source: equal names without folders and endings, a tile and the       the share of the smaller
                scene it was cut from, or tiles of one scene that overlap                      one that both show
    footprint   the same ground, whatever the date or sensor                                   the same share

- *Names* are compared as they stand in files and in a scene's provenance ("source_id", "image", "file_name"); ids that
  georefer's own builder gives are no names, but their source and window are, where there is no footprint. An equal name
  whose pictures look different is no leak ("001.jpg" of two datasets), unless they show the same ground: it is counted
  as contradicted. Names of tiles
  are `scene__size__x___y` and `scene__rate__x___y`, as FIT-RS and DOTA have them.
- *Footprints* are compared in longitude and latitude; shares below `MIN_OVERLAP` are neighbours that touch.
- Images of one set (one split of one dataset) are not compared with each other.
- Only fingerprints, hashes, names and corners are kept, under a kilobyte an image. Of two sets and one reason
  `MAX_FOUND` pairs are counted at most, and of all pairs `MAX_LISTED` are listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import shapely

from georefer.errors import InputError
from georefer.evaluation.fingerprints import agree, near
from georefer.evaluation.image_sets import ImageSet, Source, Window

REASONS = ("content", "looks", "name", "footprint")
MIN_OVERLAP = 0.01
MAX_LISTED = 100_000
MAX_FOUND = 2_000_000
"""Pairs of one reason between two sets that are kept: a set against its own copy has some for each image."""
AT_ONCE = 100
"""Footprints or windows that are looked up at once; each may meet all others."""


@dataclass(frozen=True)
class Leak:
    """Two images that share something: (title of the set, name of the image) twice, and the strength by reason."""

    left: tuple[str, str]
    right: tuple[str, str]
    reasons: Mapping[str, float]


@dataclass(frozen=True)
class Count:
    """How much two sets share for one reason: pairs, and images of either that are in one.

    `cut` where there were more than `MAX_FOUND` pairs, so that the numbers are lower bounds.
    """

    left: str
    right: str
    reason: str
    pairs: int
    left_images: int
    right_images: int
    cut: bool = False


@dataclass(frozen=True)
class Audit:
    """All that was found. `leaks` are the strongest first, `MAX_LISTED` at most; `counts` are of all."""

    sets: tuple[ImageSet, ...]
    counts: tuple[Count, ...]
    leaks: tuple[Leak, ...]
    contradicted: int
    reasons: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "sets": [
                {"name": s.name, "split": s.split, "images": len(s), "unreadable": s.unreadable,
                 "with_looks": sum(p is not None for p in s.prints),
                 "with_footprint": sum(c is not None for c in s.corners)}
                for s in self.sets
            ],
            "reasons": list(self.reasons),
            "counts": [vars(count) for count in self.counts],
            "contradicted_names": self.contradicted,
            "leaks": [{"left": leak.left, "right": leak.right, "reasons": leak.reasons} for leak in self.leaks],
        }  # fmt: skip


# --- comparing ------------------------------------------------------------------------------------------------


def audit(sets: Iterable[ImageSet], *, reasons: Sequence[str] = REASONS, turns: bool = True) -> Audit:
    """Every two sets compared. `turns` compares looks in all eight ways a picture may lie, else as they are."""
    sets = tuple(sets)
    if unknown := set(reasons) - set(REASONS):
        raise InputError(f"the reasons {', '.join(sorted(unknown))} were given where {', '.join(REASONS)} are expected")
    if len(sets) < 2:
        raise InputError("one set of images was given where at least two are compared; give another dataset or split")
    counts: list[Count] = []
    leaks: list[Leak] = []
    contradicted = 0
    for left, right in combinations(sets, 2):
        found, denied = _compare(left, right, reasons, turns)
        contradicted += denied
        together: dict[tuple[int, int], dict[str, float]] = defaultdict(dict)
        for reason, pairs in found.items():
            lefts, rights = len({i for i, _ in pairs}), len({j for _, j in pairs})
            cut = len(pairs) >= MAX_FOUND
            counts.append(Count(left.title, right.title, reason, len(pairs), lefts, rights, cut))
            for pair, strength in pairs.items():
                together[pair][reason] = strength
        leaks += [
            Leak((left.title, left.images[i]), (right.title, right.images[j]), said)
            for (i, j), said in sorted(together.items(), key=lambda item: (-max(item[1].values()), item[0]))[
                :MAX_LISTED
            ]
        ]
    leaks.sort(key=lambda leak: -max(leak.reasons.values()))
    return Audit(sets, tuple(counts), tuple(leaks[:MAX_LISTED]), contradicted, tuple(reasons))


_Pair = tuple[int, int]
_Pairs = dict[_Pair, float]


def _compare(left: ImageSet, right: ImageSet, reasons: Sequence[str], turns: bool) -> tuple[dict[str, _Pairs], int]:
    """Strength by pair for every reason with any, and how many equal names the pictures contradict."""
    found: dict[str, _Pairs] = {}
    contradicted = 0
    if "content" in reasons:
        found["content"] = _bounded(_by_content(left, right))
    if "looks" in reasons:
        found["looks"] = _bounded(_by_looks(left, right, turns))
    if "footprint" in reasons:
        found["footprint"] = _bounded(_by_footprint(left, right))
    if "name" in reasons:
        parts, same = _bounded(_by_part(left, right)), _bounded(_by_same(left, right))
        # the same ground at another date may look different
        wrong = _contradicted(left, right, [pair for pair in same if pair not in found.get("footprint", ())])
        contradicted = len(wrong)
        found["name"] = parts | {pair: strength for pair, strength in same.items() if pair not in wrong}
    return {reason: found[reason] for reason in REASONS if found.get(reason)}, contradicted


def _bounded(pairs: Iterable[tuple[_Pair, float]]) -> _Pairs:
    found: _Pairs = {}
    for pair, strength in pairs:
        found[pair] = max(strength, found.get(pair, 0.0))
        if len(found) >= MAX_FOUND:
            break
    return found


def _by_content(left: ImageSet, right: ImageSet) -> Iterator[tuple[_Pair, float]]:
    places = _places(left.contents)
    for j, digest in enumerate(right.contents):
        if digest is not None:
            for i in places.get(digest, ()):
                yield (i, j), 1.0


def _by_looks(left: ImageSet, right: ImageSet, turns: bool) -> Iterator[tuple[_Pair, float]]:
    (at_left, prints_N4), (at_right, prints_M4) = _stacked(left.prints), _stacked(right.prints)
    if not len(at_left) or not len(at_right):
        return
    for i_P, j_P, differing_P in near(prints_N4, prints_M4, turns=turns):
        for i, j, bits in zip(at_left[i_P].tolist(), at_right[j_P].tolist(), differing_P.tolist(), strict=True):
            yield (i, j), round(1 - bits / 128, 4)


def _stacked(columns: Sequence[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    """(places that have a value, those values one below the other)."""
    places = np.array([place for place, value in enumerate(columns) if value is not None], dtype=np.int64)
    return places, np.array([columns[place] for place in places])


def _places(keys: Iterable[Any]) -> dict[Any, list[int]]:
    places: dict[Any, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        if key is not None:
            places[key].append(place)
    return places


def _by_same(left: ImageSet, right: ImageSet) -> Iterator[tuple[_Pair, float]]:
    """Images that should show just the same: equal names, or equal windows of one scene."""
    places: dict[Source, list[int]] = defaultdict(list)
    for i, source in _named(left):
        places[source].append(i)
    for j, source in _named(right):
        for i in places.get(source, ()):
            yield (i, j), 1.0


def _by_part(left: ImageSet, right: ImageSet) -> Iterator[tuple[_Pair, float]]:
    """Tiles of the other's whole scene, and tiles of one scene that overlap, with the share of the smaller one."""
    scenes_left, scenes_right = _by_scene(left), _by_scene(right)
    for scene in scenes_left.keys() & scenes_right.keys():
        (whole_left, tiles_left), (whole_right, tiles_right) = scenes_left[scene], scenes_right[scene]
        for wholes, tiles, turned in ((whole_left, tiles_right, False), (whole_right, tiles_left, True)):
            for whole in wholes:
                for tile, _ in tiles:
                    yield ((tile, whole) if turned else (whole, tile)), 1.0
        if tiles_left and tiles_right:
            yield from _overlapping(
                np.array([i for i, _ in tiles_left]), shapely.box(*np.array([w for _, w in tiles_left]).T),
                np.array([j for j, _ in tiles_right]), shapely.box(*np.array([w for _, w in tiles_right]).T),
                equal=False,
            )  # fmt: skip


def _named(images: ImageSet) -> Iterator[tuple[int, Source]]:
    return ((place, source) for place, sources in enumerate(images.sources) for source in sources)


def _by_scene(images: ImageSet) -> dict[str, tuple[list[int], list[tuple[int, Window]]]]:
    """Images of a whole scene, and those of windows of it."""
    found: dict[str, tuple[list[int], list[tuple[int, Window]]]] = defaultdict(lambda: ([], []))
    for place, source in _named(images):
        if source.window is None:
            found[source.scene][0].append(place)
        else:
            found[source.scene][1].append((place, source.window))
    return found


def _contradicted(left: ImageSet, right: ImageSet, pairs: Sequence[_Pair]) -> set[_Pair]:
    """The pairs of which both pictures are known and look different, whichever way they lie."""
    prints = [(pair, left.prints[pair[0]], right.prints[pair[1]]) for pair in pairs]
    known = [(pair, one, other) for pair, one, other in prints if one is not None and other is not None]
    if not known:
        return set()
    alike_P = agree(np.array([one for _, one, _ in known]), np.array([other for _, _, other in known]))
    return {pair for (pair, _, _), alike in zip(known, alike_P, strict=True) if not alike}


def _by_footprint(left: ImageSet, right: ImageSet) -> Iterator[tuple[_Pair, float]]:
    (at_left, corners_N42), (at_right, corners_M42) = _stacked(left.corners), _stacked(right.corners)
    if len(at_left) and len(at_right):
        yield from _overlapping(at_left, shapely.polygons(corners_N42), at_right, shapely.polygons(corners_M42))


def _overlapping(
    at_left: np.ndarray, outlines_N: np.ndarray, at_right: np.ndarray, outlines_M: np.ndarray, *, equal: bool = True
) -> Iterator[tuple[_Pair, float]]:
    """Pairs of outlines and the share of the smaller one that both cover; equal ones only where `equal` is true."""
    tree = shapely.STRtree(outlines_N)
    for begin in range(0, len(outlines_M), AT_ONCE):
        some = outlines_M[begin : begin + AT_ONCE]
        asked_P, found_P = tree.query(some, predicate="intersects")
        smaller_P = np.minimum(shapely.area(outlines_N[found_P]), shapely.area(some[asked_P]))
        share_P = shapely.area(shapely.intersection(outlines_N[found_P], some[asked_P])) / np.maximum(smaller_P, 1e-300)
        keep_P = share_P >= MIN_OVERLAP
        if not equal:
            keep_P &= (shapely.bounds(outlines_N[found_P]) != shapely.bounds(some[asked_P])).any(axis=1)
        for i, j, share in zip(
            at_left[found_P[keep_P]].tolist(), at_right[begin + asked_P[keep_P]].tolist(), share_P[keep_P].tolist(),
            strict=True,
        ):  # fmt: skip
            yield (i, j), round(min(share, 1.0), 4)


# --- showing --------------------------------------------------------------------------------------------------


def audit_table(found: Audit, listed: int = 10) -> str:
    """Plain text: the sets, what each two share, and the strongest pairs."""
    lines = [
        f"{len(s):>9,} images  {s.title}" + (f", {s.unreadable} unreadable" if s.unreadable else "") for s in found.sets
    ]
    lines += ["", "no image was found twice" if not found.counts else f"{'pairs':>9}  {'images':>15}  shared"]
    for count in found.counts:
        images = f"{count.left_images:,} / {count.right_images:,}"
        more = " (and more)" if count.cut else ""
        lines.append(f"{count.pairs:>9,}  {images:>15}  {count.reason}: {count.left} and {count.right}{more}")
    for leak in found.leaks[:listed]:
        said = ", ".join(f"{reason} {strength:.2f}" for reason, strength in leak.reasons.items())
        lines.append(f"  {leak.left[0]}/{leak.left[1]} = {leak.right[0]}/{leak.right[1]}  ({said})")
    if len(found.leaks) > listed:
        lines.append(f"  ... and {len(found.leaks) - listed:,} more pairs of images")
    if found.contradicted:
        lines.append(f"{found.contradicted:,} equal names belong to pictures that look different; left out")
    return "\n".join(lines)
