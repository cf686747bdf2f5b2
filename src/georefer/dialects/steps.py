"""Steps: how a coordinate becomes a number in text, and which coordinate that number stands for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely

from georefer.geometry import Frame


@dataclass(frozen=True)
class Steps:
    """The numbers of one family of models along each side of the image it is shown.

    `top` is the count of steps along a side: 1000 for the per-mille families, "shown" for those that count the
    pixels of the resized image, "frame" for our own models, whose frame says it. `rounding` is how a coordinate
    becomes a step. With `cells` the numbers name cells 0..top-1 and mean their middles; otherwise they name edges
    0..top. With `decimals` a step is written as a fraction, 0.25 for step 25 of 100 at two decimals.
    `loose` accepts any fraction where whole numbers are written (a reader then has worked the numbers out itself).
    """

    top: int | Literal["shown", "frame"] = 1000
    rounding: Literal["round", "floor"] = "round"
    cells: bool = False
    decimals: int = 0
    loose: bool = False

    def tops(self, frame: Frame) -> tuple[int, int]:
        """Steps along x and y."""
        if self.top == "shown":
            return frame.size
        return (frame.numbers_x, frame.numbers_y) if self.top == "frame" else (self.top, self.top)

    def largest(self, frame: Frame) -> tuple[int, int]:
        """The largest step that can be said along x and y."""
        across, down = self.tops(frame)
        return (across - 1, down - 1) if self.cells else (across, down)

    def step_px(self, frame: Frame) -> tuple[float, float]:
        """Scene pixels of one step along x and y."""
        across, down = self.tops(frame)
        return frame.extent_width / across, frame.extent_height / down

    def error_px(self, frame: Frame) -> tuple[float, float]:
        """The most that writing and reading can move a coordinate of the image along x and y."""
        part = 1.0 if self.rounding == "floor" and not self.cells else 0.5
        across, down = self.step_px(frame)
        return across * part, down * part

    def write(self, xy_N2: np.ndarray, frame: Frame) -> np.ndarray:
        """Scene pixels as whole steps (N, 2), clipped to what can be said."""
        steps_N2 = frame.to_numbers(xy_N2, self.tops(frame))
        # the nudge lets 0.29 * 1000 = 290 survive binary fractions, so that what was read is written the same
        whole_N2 = np.floor(steps_N2 + 1e-9) if self.rounding == "floor" or self.cells else np.rint(steps_N2)
        return np.clip(whole_N2, 0, self.largest(frame)).astype(np.int64)

    def write_boxes(self, boxes_N4: np.ndarray, frame: Frame) -> np.ndarray:
        """Boxes (x1, y1, x2, y2) in scene pixels as whole steps (N, 4), each at least one step wide and high.

        A box that rounding would make vanish is widened, except where numbers are floored: those families
        lose it, and we say what they say.
        """
        steps_N4 = self.write(np.asarray(boxes_N4, dtype=np.float64).reshape(-1, 2), frame).reshape(-1, 4)
        if self.rounding == "floor":
            return steps_N4
        # widened towards the middle where the scene ends, so that padding is never said
        last_2 = np.ceil(frame.to_numbers(np.array([[frame.scene_width, frame.scene_height]]), self.tops(frame)))[0] - 1
        low_N2 = np.minimum(steps_N4[:, :2], np.minimum(last_2, np.array(self.largest(frame)) - 1))
        low_N2 = np.maximum(low_N2, 0).astype(np.int64)
        return np.concatenate([low_N2, np.maximum(steps_N4[:, 2:], low_N2 + 1)], axis=1)

    def write_ring(self, ring: shapely.LinearRing, frame: Frame) -> np.ndarray:
        """The points of a ring (N, 2), not closed, clockwise on the screen from the one nearest the top left.

        Nearest is least x + y, then least y. No format says where an outline begins or which way it runs, and sources
        do both as they like; a model cannot see it in the image, so a shape is given one text (docs/decisions/0009).
        """
        steps_N2 = self.write(shapely.get_coordinates(ring)[:-1], frame)
        x_N, y_N = steps_N2.T
        if x_N @ np.roll(y_N, -1) < y_N @ np.roll(x_N, -1):
            steps_N2 = steps_N2[::-1]  # y runs down, so clockwise has the positive area
        first = np.lexsort((steps_N2[:, 1], steps_N2.sum(axis=1)))[:1]
        return np.roll(steps_N2, -first, axis=0)

    def text(self, step: int) -> str:
        """One step as it is written."""
        return f"{step / 10**self.decimals:.{self.decimals}f}" if self.decimals else str(int(step))

    def read(self, steps_N2: np.ndarray, frame: Frame) -> np.ndarray:
        """Inverse of `write`: steps (any reals) to scene pixels."""
        return frame.from_numbers(steps_N2 + 0.5 if self.cells else steps_N2, self.tops(frame))
