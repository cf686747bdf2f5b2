"""Angle conventions by name, so that the angle of an oriented box is never a bare number.

The same rectangle is written in many ways: which side comes first, which way the angle turns, in which unit, and
where its range begins and ends. Reading one way as another turns boxes by 90 degrees or mirrors them, and no score
says so. Here each way is a value, `RotatedBox` refuses an angle that its convention cannot hold, and everything is
converted through the project's own layout (cx, cy, length, width, heading_deg).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from georefer.geometry.rotated import as_rows
from georefer.geometry.shapes import OBB

SLACK = 1e-6
"""How far, in parts of the range, a stored angle may lie outside: files round pi/2 to seven digits."""


@dataclass(frozen=True)
class AngleConvention:
    """How a box (cx, cy, w, h, angle) is written: pixels with y down, `angle` from the +x axis to the side `w`.

    `low` and `high` bound the angle in `unit`; `closed` says which of the two belongs to the range ("left":
    low <= angle < high, "right": low < angle <= high). The range spans 360 degrees (`w` has a front), 180 degrees
    (`w` is the longer side: `long_side_first`), or 90 degrees (either side may be `w`). `clockwise` is meant as
    seen on the screen.
    """

    name: str
    low: float
    high: float
    closed: Literal["left", "right"]
    long_side_first: bool
    unit: Literal["deg", "rad"]
    clockwise: bool

    def __post_init__(self) -> None:
        if (self.span_deg, self.long_side_first) not in {(360, False), (180, True), (90, False)}:
            raise ValueError(
                f"convention {self.name} spans {self.span_deg} degrees with long_side_first={self.long_side_first}; "
                "every rectangle has exactly one angle in 360 or 90 degrees without, or 180 with it: change one of both"
            )

    @property
    def span_deg(self) -> int:
        span = self.high - self.low
        return round(math.degrees(span) if self.unit == "rad" else span)

    @property
    def range_text(self) -> str:
        """The range as a reader writes it, e.g. [-90, 90) deg."""
        left, right = ("[", ")") if self.closed == "left" else ("(", "]")
        return f"{left}{self.low:g}, {self.high:g}{right} {self.unit}"

    def holds(self, angles_N: np.ndarray, slack: float = 0.0) -> np.ndarray:
        """Which angles lie in the range, or outside by at most `slack` parts of it."""
        margin = slack * (self.high - self.low)
        if slack:
            return (angles_N >= self.low - margin) & (angles_N <= self.high + margin)
        if self.closed == "left":
            return (angles_N >= self.low) & (angles_N < self.high)
        return (angles_N > self.low) & (angles_N <= self.high)


CONVENTIONS: dict[str, AngleConvention] = {
    convention.name: convention
    for convention in (
        # the project's own: w is the length along the heading
        AngleConvention("heading", 0.0, 360.0, "left", False, "deg", True),
        AngleConvention("le90", -90.0, 90.0, "left", True, "deg", True),
        AngleConvention("le135", -45.0, 135.0, "left", True, "deg", True),
        # OpenCV from 4.5.1 on
        AngleConvention("oc", 0.0, 90.0, "right", False, "deg", True),
        AngleConvention("detectron2", -180.0, 180.0, "left", False, "deg", False),
        # the same as mmrotate stores them
        AngleConvention("le90_rad", -math.pi / 2, math.pi / 2, "left", True, "rad", True),
        AngleConvention("le135_rad", -math.pi / 4, 3 * math.pi / 4, "left", True, "rad", True),
        AngleConvention("oc_rad", 0.0, math.pi / 2, "right", False, "rad", True),
    )
}


@dataclass(frozen=True)
class RotatedBox:
    """One box with its convention; constructing it proves that the angle is one the convention can hold."""

    cx: float
    cy: float
    w: float
    h: float
    angle: float
    convention: AngleConvention

    def __post_init__(self) -> None:
        convention = self.convention
        if not convention.holds(np.array(self.angle)):
            raise ValueError(
                f"angle {self.angle!r} is outside {convention.range_text}, the range of convention {convention.name}: "
                "name the convention that the box was written in, or convert it with to_convention"
            )
        if convention.long_side_first and not self.w >= self.h:
            raise ValueError(
                f"w {self.w!r} is below h {self.h!r}, but convention {convention.name} has the longer side first: "
                "name the convention that the box was written in, or convert it with to_convention"
            )

    @classmethod
    def of(cls, obb: OBB, convention: AngleConvention) -> RotatedBox:
        rows_15 = to_convention(np.array([[obb.cx, obb.cy, obb.length, obb.width, obb.heading_deg]]), convention)
        cx, cy, w, h, angle = rows_15[0].tolist()
        return cls(cx, cy, w, h, angle, convention)

    def to_obb(self) -> OBB:
        rows_15 = from_convention(np.array([[self.cx, self.cy, self.w, self.h, self.angle]]), self.convention)
        return OBB(*rows_15[0].tolist())


def to_convention(obbs_N5: np.ndarray, convention: AngleConvention) -> np.ndarray:
    """Rows (cx, cy, length, width, heading_deg), any heading, as rows (cx, cy, w, h, angle) of a convention.

    The rectangles stay the same; a front is kept where the range spans 360 degrees. Angles always lie in the
    range, also where rounding would carry them over its end. The first side of a square stays first. Negative
    sides lose their sign. An angle that is not finite stays what it is.
    """
    rows_N5 = as_rows(obbs_N5, 5).copy()
    rows_N5[:, 2:4] = np.abs(rows_N5[:, 2:4])
    angle_N = rows_N5[:, 4] if convention.clockwise else -rows_N5[:, 4]
    swap_N = convention.long_side_first & (rows_N5[:, 2] < rows_N5[:, 3])
    rows_N5[:, 4], turns_N = _into_range(angle_N + np.where(swap_N, 90.0, 0.0), convention)
    if convention.span_deg == 90:
        swap_N = turns_N % 2 != 0
    rows_N5[swap_N, 2:4] = rows_N5[swap_N, 3:1:-1]
    return rows_N5


def from_convention(boxes_N5: np.ndarray, convention: AngleConvention) -> np.ndarray:
    """Rows (cx, cy, w, h, angle) of a convention as rows (cx, cy, length, width, heading_deg), 0 <= heading < 360.

    Rows that the convention cannot hold are refused, with room for angles rounded to seven digits: they were
    written in another one. An angle that is not finite stays what it is.
    """
    rows_N5 = as_rows(boxes_N5, 5).copy()
    wrong_N = ~convention.holds(rows_N5[:, 4], SLACK) & np.isfinite(rows_N5[:, 4])
    if wrong_N.any():
        raise ValueError(
            f"{wrong_N.sum()} of {len(rows_N5)} angles are outside {convention.range_text}, the range of convention "
            f"{convention.name}, the first one {rows_N5[wrong_N, 4][0]:g}: name the convention of these boxes"
        )
    sides_N2 = np.abs(rows_N5[:, 2:4])
    if convention.long_side_first and (sides_N2[:, 0] < sides_N2[:, 1] * (1 - SLACK)).any():
        raise ValueError(
            f"some boxes have w below h, but convention {convention.name} has the longer side first: "
            "name the convention of these boxes"
        )
    angle_N = np.degrees(rows_N5[:, 4]) if convention.unit == "rad" else rows_N5[:, 4]
    rows_N5[:, 2:4] = sides_N2
    rows_N5[:, 4], _ = _into_range(angle_N if convention.clockwise else -angle_N, CONVENTIONS["heading"])
    return rows_N5


def _into_range(angles_N: np.ndarray, convention: AngleConvention) -> tuple[np.ndarray, np.ndarray]:
    """Degrees as angles of the convention, in its unit, and how many spans were taken off each.

    Rounding may put an angle on the end that is not part of the range (-1e-20 % 360 is 360): such an angle is the
    other end, one span away.
    """
    span = convention.span_deg
    # (low, high] is [-high, -low) seen from the other side
    sign = 1 if convention.closed == "left" else -1
    low, high = sorted((sign * convention.low, sign * convention.high))
    low_deg = round(math.degrees(low)) if convention.unit == "rad" else low
    # an exact remainder first, so that a huge angle is not lost in its number of turns
    whole_N = np.fmod(sign * angles_N, 360)
    # what is in the range stays as it is: next to its open end, the quotient alone may round to a whole turn
    inside_N = (whole_N >= low_deg) & (whole_N < low_deg + span)
    turns_N = np.where(inside_N, 0.0, np.floor((whole_N - low_deg) / span))
    reduced_N = whole_N - turns_N * span
    if convention.unit == "rad":
        reduced_N = np.radians(reduced_N)
    over_N = reduced_N >= high
    reduced_N = np.where(over_N | (reduced_N < low), low, reduced_N)
    # + 0.0 makes 0.0 of -0.0
    return sign * reduced_N + 0.0, sign * (turns_N + over_N)
