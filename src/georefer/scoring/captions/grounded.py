"""A caption against the objects that are there: which classes it names, how many of each, and where.

Agreement with a reference text rewards phrasing. This asks what a map user asks: is it so? The words come from the
caller, a table of class → names; the reading of English around them is in `claims`. A claim counts once, however
often it is made, and what contradicts itself is wrong, so that neither repeating nor hedging helps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from georefer.errors import InputError
from georefer.geometry import Objects
from georefer.scoring.captions.claims import Claims, Place, read_claims
from georefer.scoring.ratio import Ratio, Row

CLASS_PRECISION = Ratio({"named_right": 1}, {"named": 1})
"""Of the classes named those that are there; the rest are hallucinated."""
CLASS_RECALL = Ratio({"named_right": 1}, {"there": 1})
CLASS_F1 = Ratio({"named_right": 2}, {"named": 1, "there": 1})
DENIAL_ACCURACY = Ratio({"denied_right": 1}, {"denied": 1})
"""Of the classes said not to be there those that are not."""
COUNT_ACCURACY = Ratio({"count_right": 1}, {"counted": 1})
"""Of the numbers said those that are right."""
COUNT_ERROR = Ratio({"count_error": 1}, {"counted": 1})
"""Mean of |said - true| / max(said, true), 0 to 1; a number that contradicts itself has 1."""
COUNT_RECALL = Ratio({"classes_counted": 1}, {"there": 1})
"""Of the classes there those of which a number is said, and none that is wrong."""
POSITION_ACCURACY = Ratio({"position_right": 1}, {"positioned": 1})
POSITION_RECALL = Ratio({"classes_placed": 1}, {"there": 1})
CLAIM_ACCURACY = Ratio({"claims_right": 1}, {"claims": 1})
"""Of all that is said what is so. Right denials do not count: most classes are absent from most images, so that a list
of them would come for nothing."""

COLUMNS = (
    "there", "named", "named_right", "denied", "denied_right", "counted", "count_right", "count_error",
    "classes_counted", "positioned", "position_right", "classes_placed", "claims", "claims_right",
)  # fmt: skip


def grounded_row(caption: str, truth: Objects, size: tuple[int, int], names: Mapping[str, Iterable[str]]) -> Row:
    """What one caption adds to the ratios of this module.

    `names` has every class that can be named with its other names; a class is a name of itself. `size` is (width,
    height) in pixels. A class that is both said and denied is right as neither. A number said with a place is that
    of the objects there, otherwise of all; a place is right where the middle of one object of the class lies in it.
    InputError for a label of the truth that `names` does not have.
    """
    known = {label: tuple(words) for label, words in names.items()}
    if strange := {str(label) for label in truth.labels_N} - set(known):
        raise InputError(
            f"the image holds {min(strange)!r}, and one of the {len(known)} classes with names was expected; add it"
        )
    row = dict.fromkeys(COLUMNS, 0.0)
    row["there"] = len(set(truth.labels_N))
    for label, claims in read_claims(caption, known).items():
        middle_N2 = _middles(truth.labelled(label), size)
        _add_presence(row, claims, bool(len(middle_N2)))
        _add_counts(row, claims, middle_N2)
        _add_places(row, claims, middle_N2)
    wrong_denials = row["denied"] - row["denied_right"]
    row["claims"] = row["named"] + row["counted"] + row["positioned"] + wrong_denials
    row["claims_right"] = row["named_right"] + row["count_right"] + row["position_right"]
    return row


def lies_in(place: Place, middle_N2: np.ndarray) -> np.ndarray:
    """Which middles (x, y as parts of the image) lie in a place: a side is half the image, the centre its third."""
    return _within(place.across, middle_N2[:, 0]) & _within(place.down, middle_N2[:, 1])


def _within(side: int | None, part_N: np.ndarray) -> np.ndarray:
    if side is None:
        return np.ones(len(part_N), dtype=bool)
    return abs(part_N - 0.5) <= 1 / 6 if side == 0 else (part_N - 0.5) * side > 0


def _middles(objects: Objects, size: tuple[int, int]) -> np.ndarray:
    boxes_N4 = objects.hbb_N4
    return (boxes_N4[:, :2] + boxes_N4[:, 2:]) / 2 / np.array(size)


def _add_presence(row: dict[str, float], claims: Claims, there: bool) -> None:
    both = claims.present and claims.absent
    row["named"] += claims.present
    row["named_right"] += claims.present and there and not both
    row["denied"] += claims.absent
    row["denied_right"] += claims.absent and not there and not both


def _add_counts(row: dict[str, float], claims: Claims, middle_N2: np.ndarray) -> None:
    right = []
    for place, said in claims.counts.items():
        true = int(lies_in(place, middle_N2).sum())
        right.append(said == {true})
        (first, *others) = said
        row["count_error"] += 1 if others else abs(first - true) / max(first, true, 1)
    row["counted"] += len(right)
    row["count_right"] += sum(right)
    row["classes_counted"] += bool(len(middle_N2)) and bool(right) and all(right)


def _add_places(row: dict[str, float], claims: Claims, middle_N2: np.ndarray) -> None:
    right = [bool(lies_in(place, middle_N2).any()) for place in claims.places]
    row["positioned"] += len(right)
    row["position_right"] += sum(right)
    row["classes_placed"] += bool(len(middle_N2)) and bool(right) and all(right)
