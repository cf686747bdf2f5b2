"""Frame: how the pixels of a scene became the pixels a model sees, and the numbers the model speaks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Frame:
    """The only code that rescales coordinates.

    A scene of `scene_width` x `scene_height` pixels is shown at `width` x `height`, filling the whole image
    (`resize`). The model then speaks numbers from 0 to `numbers` along each side: 1000 for the usual
    per-mille families, the image's own side for models that count pixels. Pixel 0 is the outer edge, and
    `numbers` the opposite one. The factor stands in every report, so that a wrong one is seen.
    """

    scene_width: int
    scene_height: int
    width: int
    height: int
    numbers_x: int
    numbers_y: int

    @classmethod
    def resize(cls, scene_size: tuple[int, int], size: tuple[int, int], numbers: int | tuple[int, int] = 1000) -> Frame:
        """`scene_size` and `size` are (width, height); `numbers` for both sides or one for each."""
        across, down = (numbers, numbers) if isinstance(numbers, int) else numbers
        values = (*scene_size, *size, across, down)
        if min(values) < 1:
            raise ValueError(f"a frame needs positive sizes and numbers, found {values}")
        return cls(*values)

    @property
    def step_px(self) -> tuple[float, float]:
        """Scene pixels per number, along x and y: half of it is the largest rounding error."""
        return self.scene_width / self.numbers_x, self.scene_height / self.numbers_y

    def to_numbers(self, xy_N2: np.ndarray) -> np.ndarray:
        """Scene pixels to the model's numbers; neither rounded nor clipped (a dialect does that)."""
        return np.asarray(xy_N2, dtype=np.float64) / self.step_px

    def from_numbers(self, xy_N2: np.ndarray) -> np.ndarray:
        """The model's numbers to scene pixels."""
        return np.asarray(xy_N2, dtype=np.float64) * self.step_px

    def describe(self) -> dict[str, int]:
        """Plain values for reports and answer files."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}
