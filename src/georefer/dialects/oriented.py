"""What the remote-sensing families share: oriented boxes as rows of numbers, and numbers between braces.

Rows are (cx, cy, length, width, heading_deg) in scene pixels, degrees clockwise on the screen. All oriented boxes of
an answer become polygons in one call; one by one they would cost more than everything else in reading.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely

from georefer.dialects.reader import MAX_OBJECTS, Reader
from georefer.geometry import OBB, Kind, Objects
from georefer.geometry.angles import CONVENTIONS, to_convention
from georefer.geometry.rotated import obb_from_polygons, obb_polygons

BRACE = r"\{[-+0-9.,<>|\s]{0,160}\}?"
"""A brace and whatever of its inside could belong to numbers, closed or not."""

_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]+)?")
_MARKED = re.compile(r"<\s*([-+]?[0-9]+(?:\.[0-9]+)?)\s*>")


@dataclass(frozen=True)
class Said:
    """A shape as an answer says it: two corners as printed ("hbb"), a row ("obb") or a geometry, in scene pixels."""

    kind: Kind
    values: Sequence[float] | shapely.Geometry
    start: int
    end: int
    label: str = ""


def rows_of(objects: Objects) -> np.ndarray:
    """Rows (N, 5) of oriented boxes; a shape that is no rectangle counts by the smallest one around it."""
    rows_N5 = obb_from_polygons(objects.geometries_N)
    for i in np.flatnonzero(np.isnan(rows_N5[:, 0])):
        o = OBB.around(objects.geometries_N[i])
        rows_N5[i] = o.cx, o.cy, o.length, o.width, o.heading_deg
    return rows_N5


def hand_in(reader: Reader, said: Sequence[Said]) -> list[int]:
    """Gives boxes to the reader, in order, and returns their places.

    An oriented box comes out with its longer side as length and a heading below 180, whichever way it was said;
    one that sticks out of the scene stays whole.
    """
    turned = [s.values for s in said if s.kind == "obb"]
    polygons = iter(_polygons(turned)) if turned else iter(())
    places = []
    for s in said:
        if s.kind == "obb":
            places.append(reader.shape("obb", next(polygons), s.start, s.end, s.label))
        elif s.kind == "hbb":
            places.append(reader.box(s.values, s.start, s.end, s.label))
        else:
            places.append(reader.shape(s.kind, s.values, s.start, s.end, s.label))
    return places


def _polygons(boxes: Sequence[Sequence[float] | shapely.Geometry]) -> np.ndarray:
    rows_N5 = to_convention(np.array(boxes), CONVENTIONS["le90"])
    rows_N5[:, 4] += np.where(rows_N5[:, 4] < 0, 180.0, 0.0)
    return obb_polygons(rows_N5)


def enough(reader: Reader, said: Sequence[Said]) -> bool:
    """One more than the reader takes, so that it complains of the rest; or nothing but complaints."""
    return len(said) > MAX_OBJECTS or len(reader.problems) >= 2 * MAX_OBJECTS


def brace_numbers(reader: Reader, match: re.Match[str], counts: tuple[int, ...]) -> list[float] | None:
    """The numbers of a BRACE, if there are as many as one of `counts`; None, and a problem, otherwise.

    A brace without its end gives numbers only if all of the longest form are there, each within its marks: a number
    or an angle may be missing otherwise.
    """
    inside, place = match[0], (match.start(), match.end())
    if not inside.endswith("}"):
        found = [float(v) for v in _MARKED.findall(inside)]
        whole = len(found) == max(counts) and inside.rstrip(" <").endswith(">")
        if not whole and reader.text[match.end() : match.end() + 1].isalpha():
            reader.note("not-a-number", *place, f"{reader.quote(*place)!r} goes on with something that is no number")
        else:
            reader.note("truncated", *place, f"{reader.quote(*place)!r} is not closed")
        return found if whole else None
    found = [float(v) for v in _NUMBER.findall(inside)]
    marks = {inside.count("<"), inside.count(">")} - {0}
    if not found or (marks and len(found) not in marks):
        reader.note("not-a-number", *place, f"{reader.quote(*place)!r} holds something that is no number")
        return None
    if len(found) not in counts:
        reader.wrong_count(*place, len(found), " or ".join(map(str, counts)))
        return None
    return found


def within(
    reader: Reader, values: Sequence[float], low: Sequence[float], high: Sequence[float], place: tuple[int, int]
) -> np.ndarray:
    """Values clipped to their ranges, with a problem where that changes one."""
    clipped = np.clip(values, low, high)
    if (clipped != values).any():
        reader.note("out-of-range", *place, f"{reader.quote(*place)!r} was clipped to what the dialect can say")
    return clipped
