"""Frame: how the pixels of a scene became the pixels a model sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

MAX_ASPECT = 200
"""Qwen's own limit of long side to short side; its processors refuse more."""


@dataclass(frozen=True)
class Frame:
    """The only code that rescales coordinates.

    A model sees an image of `width` x `height` pixels that shows the rectangle of the scene with its corner at
    (`x`, `y`) and `extent_width` x `extent_height` scene pixels large. That rectangle is the whole scene after a
    plain resize, larger than it where the image was padded (`x`, `y` negative) and smaller where it was cropped.
    Both directions are one multiplication and one addition, so each is the exact inverse of the other. Edges
    map to edges: 0 is the outer edge of the first pixel.

    A dialect counts along the sides of this rectangle in its own steps. `numbers_x` and `numbers_y` are for the
    one that leaves its range open (our own): the largest number a model of ours was taught to say along each side.
    `rule` says how the frame was made; it stands in every report, so that a wrong one is seen.
    """

    scene_width: int
    scene_height: int
    width: int
    height: int
    numbers_x: int
    numbers_y: int
    x: float
    y: float
    extent_width: float
    extent_height: float
    rule: str = "resize"

    def __post_init__(self) -> None:
        sizes = (self.scene_width, self.scene_height, self.width, self.height, self.numbers_x, self.numbers_y)
        if min(*sizes, self.extent_width, self.extent_height) <= 0:
            raise ValueError(f"a frame needs positive sizes and numbers, found {sizes}")

    # --- the rules, each as the models' own processors do it ---------------------------------------------

    @classmethod
    def resize(cls, scene_size: tuple[int, int], size: tuple[int, int], numbers: int | tuple[int, int] = 1000) -> Frame:
        """The whole scene stretched to `size`, without regard to its shape. Sizes are (width, height)."""
        return _framed(scene_size, size, (0, 0), scene_size, "resize", numbers)

    @classmethod
    def letterbox(
        cls, scene_size: tuple[int, int], size: tuple[int, int], *, centred: bool = True, numbers: int = 1000
    ) -> Frame:
        """The scene resized to fit into `size` with its shape kept (sides rounded), the rest padded.

        Padding is split evenly, an odd pixel going right and below; `centred=False` pads right and below only.
        """
        scale = min(size[0] / scene_size[0], size[1] / scene_size[1])
        inner = tuple(min(side, max(1, round(s * scale))) for s, side in zip(scene_size, size, strict=True))
        pad = tuple((side - i) // 2 if centred else 0 for side, i in zip(size, inner, strict=True))
        return _pasted(scene_size, inner, pad, size, "letterbox" if centred else "letterbox, corner", numbers)

    @classmethod
    def square_padded(cls, scene_size: tuple[int, int], side: int, *, numbers: int = 1000) -> Frame:
        """LLaVA-1.5 and Shikra: the scene is centred on a square of its longer side, then resized to `side`.

        Padding comes before the resize and in whole scene pixels, an odd one going right or below
        (`expand2square` of LLaVA).
        """
        long = max(scene_size)
        corner = tuple(-((long - s) // 2) for s in scene_size)
        return _framed(scene_size, (side, side), corner, (long, long), "square padded", numbers)

    @classmethod
    def centre_crop(
        cls, scene_size: tuple[int, int], size: tuple[int, int], *, shortest: int | None = None, numbers: int = 1000
    ) -> Frame:
        """CLIP: the shorter side is resized to `shortest` (default: the crop's shorter side), the middle cut out.

        The longer side is truncated to whole pixels, as transformers does; a scene outside the crop is never seen.
        """
        short = min(size) if shortest is None else shortest
        least = min(scene_size)
        inner = tuple(short if s == least else int(short * s / least) for s in scene_size)
        cut = tuple(-((i - side) // 2) for i, side in zip(inner, size, strict=True))
        return _pasted(scene_size, inner, cut, size, "centre crop", numbers)

    @classmethod
    def qwen(
        cls,
        scene_size: tuple[int, int],
        *,
        factor: int = 28,
        min_pixels: int = 56 * 56,
        max_pixels: int = 14 * 14 * 4 * 1280,
        numbers: int = 1000,
    ) -> Frame:
        """Qwen's smart resize: sides that are multiples of `factor`, area within the limits, shape nearly kept.

        `factor` is 28 for Qwen2-VL and Qwen2.5-VL, 32 for Qwen3-VL. The default limit is the class default
        1,003,520; the Qwen2.5-VL checkpoints ship 12,845,056. Raises ValueError beyond an aspect of 200, as
        the processors do.
        """
        size = smart_resize(scene_size, factor=factor, min_pixels=min_pixels, max_pixels=max_pixels)
        return _framed(scene_size, size, (0, 0), scene_size, f"smart resize {factor}", numbers)

    @classmethod
    def groundset(cls, scene_size: tuple[int, int]) -> Frame:
        """GroundSet's 672 px: stretched to 672 x 672, which its LLaVA-1.6 baseline sees as 2 x 2 tiles of 336."""
        return replace(cls.resize(scene_size, (672, 672)), rule="groundset 672")

    # --- there and back ----------------------------------------------------------------------------------

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height

    @property
    def step_px(self) -> tuple[float, float]:
        """Scene pixels per number, along x and y, for the dialect that leaves its range open."""
        return self.extent_width / self.numbers_x, self.extent_height / self.numbers_y

    def to_model(self, xy_N2: np.ndarray) -> np.ndarray:
        """Scene pixels to pixels of the image that the model sees."""
        return self.to_numbers(xy_N2, self.size)

    def from_model(self, xy_N2: np.ndarray) -> np.ndarray:
        """Inverse of `to_model`."""
        return self.from_numbers(xy_N2, self.size)

    def to_numbers(self, xy_N2: np.ndarray, numbers: tuple[float, float] | None = None) -> np.ndarray:
        """Scene pixels counted from 0 to `numbers` along the sides; neither rounded nor clipped (a dialect does)."""
        across, down = numbers or (self.numbers_x, self.numbers_y)
        local_N2 = np.asarray(xy_N2, dtype=np.float64) - (self.x, self.y)
        return local_N2 / (self.extent_width / across, self.extent_height / down)

    def from_numbers(self, xy_N2: np.ndarray, numbers: tuple[float, float] | None = None) -> np.ndarray:
        """Inverse of `to_numbers`."""
        across, down = numbers or (self.numbers_x, self.numbers_y)
        steps = (self.extent_width / across, self.extent_height / down)
        return np.asarray(xy_N2, dtype=np.float64) * steps + (self.x, self.y)

    def describe(self) -> dict[str, int | float | str]:
        """Plain values for reports and answer files; `Frame(**values)` makes the frame again."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def smart_resize(scene_size: tuple[int, int], *, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """The (width, height) to which Qwen's processors resize; the rule of `Frame.qwen`."""
    width, height = scene_size
    if max(scene_size) / min(scene_size) > MAX_ASPECT:
        raise ValueError(f"an image of {width} x {height} is beyond Qwen's aspect limit of {MAX_ASPECT}; crop it")
    # half to even, as Python's round does in the original; 0 is possible here and grows below (qwen_vl_utils
    # starts from `factor` instead and differs for images thinner than half of it; transformers is followed)
    across, down = (round(s / factor) * factor for s in scene_size)
    if across * down > max_pixels:
        shrink = (width * height / max_pixels) ** 0.5
        across, down = (max(factor, int(s / shrink / factor) * factor) for s in scene_size)
    elif across * down < min_pixels:
        grow = (min_pixels / (width * height)) ** 0.5
        across, down = (int(-(-s * grow // factor)) * factor for s in scene_size)
    return across, down


@dataclass(frozen=True)
class AnyRes:
    """LLaVA-1.6's view of one scene: the whole in one small image, and tiles that show it larger.

    Numbers in text count along the whole scene, so a dialect is given `base`. The tiles are for models: tile k
    shows what its own frame says, in reading order, padding included.
    """

    base: Frame
    tiles: tuple[Frame, ...]
    columns: int
    rows: int

    @classmethod
    def of(
        cls, scene_size: tuple[int, int], pinpoints: Sequence[tuple[int, int]], *, tile: int = 336, numbers: int = 1000
    ) -> AnyRes:
        """`pinpoints` are the (width, height) a model allows, multiples of `tile`.

        The one that keeps most of the scene's pixels is taken, then the one that wastes least; the scene is
        fitted into it (the loose side rounded up) and centred, as transformers' LlavaNextImageProcessor does.
        """
        if not pinpoints or any(side % tile for point in pinpoints for side in point):
            raise ValueError(f"AnyRes needs sizes that are multiples of {tile}, found {list(pinpoints)}")
        wide, high = best = max(pinpoints, key=lambda p: _kept_and_spared(scene_size, p))
        scale_x, scale_y = wide / scene_size[0], high / scene_size[1]
        if scale_x < scale_y:
            inner = (wide, min(int(np.ceil(scene_size[1] * scale_x)), high))
        else:
            inner = (min(int(np.ceil(scene_size[0] * scale_y)), wide), high)
        pad = ((wide - inner[0]) // 2, (high - inner[1]) // 2)
        canvas = _pasted(scene_size, inner, pad, best, "anyres tile", numbers)
        columns, rows = wide // tile, high // tile
        across, down = canvas.extent_width / columns, canvas.extent_height / rows
        tiles = tuple(
            replace(
                canvas, width=tile, height=tile, x=canvas.x + i * across, y=canvas.y + j * down,
                extent_width=across, extent_height=down,
            )
            for j in range(rows) for i in range(columns)
        )  # fmt: skip
        return cls(Frame.resize(scene_size, (tile, tile), numbers), tiles, columns, rows)


def _kept_and_spared(scene_size: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    scale = min(size[0] / scene_size[0], size[1] / scene_size[1])
    fitted = int(scene_size[0] * scale) * int(scene_size[1] * scale)
    kept = min(fitted, scene_size[0] * scene_size[1])
    return kept, kept - size[0] * size[1]


def _pasted(
    scene_size: tuple[int, int], inner: Sequence[int], at: Sequence[int], size: Sequence[int], rule: str, numbers: int
) -> Frame:
    """The scene resized to `inner` and pasted at `at` (negative: cut off) into an image of `size`."""
    step_x, step_y = scene_size[0] / inner[0], scene_size[1] / inner[1]
    corner, extent = (-at[0] * step_x, -at[1] * step_y), (size[0] * step_x, size[1] * step_y)
    return _framed(scene_size, size, corner, extent, rule, numbers)


def _framed(
    scene_size: Sequence[int], size: Sequence[int], corner: Sequence[float], extent: Sequence[float],
    rule: str, numbers: int | tuple[int, int],
) -> Frame:  # fmt: skip
    across, down = numbers if isinstance(numbers, tuple) else (numbers, numbers)
    # plain numbers, also where a model reckons in numpy: frames are written to answer files
    return Frame(
        int(scene_size[0]), int(scene_size[1]), int(size[0]), int(size[1]), int(across), int(down),
        float(corner[0]), float(corner[1]), float(extent[0]), float(extent[1]), rule,
    )  # fmt: skip
