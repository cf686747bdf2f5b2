"""Snapping: outlines move onto the image's edges within a few pixels; a refinement that needs no weights.

The support of an outline is the mean strength of the image's edges under it, counted only as far as they run along
it. An outline first moves as a whole to where its support is largest, then each long edge along its own normal;
movement costs support, so that nothing moves for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import shapely

from georefer.geometry import Kind, Objects
from georefer.inference.refine import Outcome, applied, check_image

OUTLINES = ("hbb", "obb", "polygon")

STEP_PX = 0.5
"""Between the offsets that are tried."""

SHORT_PX = 6.0
"""Edges below it go where the whole outline goes: a few samples tell little, and such neighbours soon cross."""

MAX_EDGES, MAX_SAMPLES, MAX_EDGE_SAMPLES = 400, 4096, 64
"""Of one outline, which has no straight edges beyond that; and the places looked at, of all edges and of each."""


@dataclass(frozen=True)
class SnapSettings:
    """How far outlines may move, and when they do."""

    reach_px: float = 5.0
    """Farthest that any corner moves."""
    bend_px: float = 1.5
    """Farthest that an edge of a polygon moves along its normal beyond what the whole outline moves."""
    least_gain: float = 1.4
    """Support after, as a multiple of that before, from which a move is taken."""
    least_box_gain: float = 2.0
    """The same for horizontal boxes: their sides lie on edges only where the thing is upright."""
    least_support: float = 6.0
    """Support after, in grey levels (0-255) a pixel; below it there is no edge to snap to."""
    cost: float = 0.06
    """Part of the support that a pixel of movement must bring in addition."""
    blur_px: float = 1.0
    """Standard deviation of the smoothing before gradients are taken."""

    def __post_init__(self) -> None:
        if not (0 < self.reach_px <= 32 and min(self.bend_px, self.cost) >= 0 and 0.3 <= self.blur_px <= 8):
            raise ValueError(f"{self} is out of range; expected reach 0 to 32, blur 0.3 to 8, nothing negative")


@dataclass(frozen=True, eq=False)
class _Outline:
    """The edges of all rings of a shape: corners, and from which to which each edge runs.

    `corners_C2` holds every ring with its closing corner, as shapely does.
    """

    corners_C2: np.ndarray
    ring_C: np.ndarray
    start_E: np.ndarray

    @classmethod
    def of(cls, shape: shapely.Geometry) -> _Outline:
        rings = shapely.get_rings(shapely.get_parts(shape))
        corners_C2, ring_C = shapely.get_coordinates(rings, return_index=True)
        return cls(corners_C2, ring_C, np.flatnonzero(ring_C[:-1] == ring_C[1:]))

    @property
    def edges_E22(self) -> np.ndarray:
        return np.stack([self.corners_C2[self.start_E], self.corners_C2[self.start_E + 1]], axis=1)


class SnapRefiner:
    """Boxes, oriented boxes and polygons whose edges lie a few pixels beside those of the image move onto them.

    A shape keeps its kind, and no corner moves beyond `reach_px`. The new outline is taken only where its support is
    `least_gain` times that of the old one; `support` says both. Edges along the border of the image stay, as the
    window cut them. Masks, points and lines are kept.
    """

    def __init__(self, settings: SnapSettings | None = None) -> None:
        self.name = "snap"
        self.settings = settings or SnapSettings()

    def __call__(self, image_HW3: np.ndarray, objects: Objects) -> Objects:
        check_image(image_HW3)
        wanted_N = np.isin(objects.kinds_N, OUTLINES)
        gradient_HW2 = gradients(image_HW3, self.settings.blur_px) if wanted_N.any() else np.zeros((1, 1, 2))
        outcomes = [
            self._snapped(gradient_HW2, shape, kind)
            if wanted
            else Outcome(None, why_kept=f"a {kind} has no straight edges")
            for shape, kind, wanted in zip(objects.geometries_N, objects.kinds_N, wanted_N, strict=True)
        ]
        return applied(objects, outcomes, self.name)

    def _snapped(self, gradient_HW2: np.ndarray, shape: shapely.Geometry, kind: Kind) -> Outcome:
        outline = _Outline.of(shape)
        edges_E22, size = outline.edges_E22, gradient_HW2.shape[1::-1]
        length_E = np.hypot(*(edges_E22[:, 1] - edges_E22[:, 0]).T)
        if not 0 < len(length_E) <= MAX_EDGES or not np.isfinite(length_E).all():
            return Outcome(None, why_kept=f"an outline of {len(length_E)} edges is not snapped")
        free_E = ~_along_border(edges_E22, size) & (length_E > 0)
        if not free_E.any():
            return Outcome(None, why_kept="the border of the image cuts it all around")
        for moves_E in self._moves(gradient_HW2, edges_E22, length_E * free_E, kind):
            corners_C2 = _moved(outline, moves_E * free_E, self.settings.reach_px, is_rectangle=kind != "polygon")
            new = shapely.transform(shape, lambda _, there=corners_C2: there)
            if new.is_valid and new.area > 0.5 * shape.area:
                return self._verdict(gradient_HW2, shape, new, free_E, kind)
        return Outcome(None, why_kept="its edges would cross when moved")

    def _moves(
        self, gradient_HW2: np.ndarray, edges_E22: np.ndarray, weight_E: np.ndarray, kind: Kind
    ) -> tuple[np.ndarray, np.ndarray]:
        """How far each edge moves along its normal: each by itself, and all as one."""
        reach, cost = self.settings.reach_px, self.settings.cost
        offsets_O = np.arange(-reach, reach + STEP_PX / 2, STEP_PX)
        support_EO = _rounded(supports(gradient_HW2, edges_E22, offsets_O))
        top = float(support_EO.max(initial=1e-9))
        # the whole outline
        shift_S2 = np.stack(np.meshgrid(offsets_O, offsets_O), axis=-1).reshape(-1, 2)
        far_S = np.hypot(*shift_S2.T)
        shift_S2, far_S = shift_S2[far_S <= reach], far_S[far_S <= reach]
        along_SE = shift_S2 @ _normals(edges_E22).T
        place_SE = np.rint((along_SE + reach) / STEP_PX).astype(int)
        found_S = support_EO[np.arange(len(edges_E22)), place_SE] @ weight_E / weight_E.sum()
        best_E = along_SE[int((found_S - cost * far_S * found_S.max()).argmax())]
        # each edge by itself
        beyond_EO = np.abs(offsets_O - best_E[:, None])
        if kind == "polygon":
            may_EO = beyond_EO <= self.settings.bend_px
        else:  # corners of a rectangle move by both of their edges, and must not move farther than any other
            may_EO = np.broadcast_to(np.abs(offsets_O) <= reach / np.sqrt(2), beyond_EO.shape)
            best_E = best_E.clip(-reach / np.sqrt(2), reach / np.sqrt(2))
        gain_EO = np.where(may_EO, support_EO - cost * beyond_EO * top, -np.inf)
        own_E = offsets_O[gain_EO.argmax(axis=1)]
        return np.where((weight_E >= SHORT_PX) & may_EO.any(axis=1), own_E, best_E), best_E

    def _verdict(
        self, gradient_HW2: np.ndarray, old: shapely.Geometry, new: shapely.Geometry, free_E: np.ndarray, kind: Kind
    ) -> Outcome:
        before, after = (_support(gradient_HW2, shape, free_E) for shape in (old, new))
        facts = {"support": [round(before, 2), round(after, 2)]}
        if after < self.settings.least_support:
            return Outcome(None, why_kept="no edge of the image is near", facts=facts)
        least = self.settings.least_box_gain if kind == "hbb" else self.settings.least_gain
        if after < least * before:
            return Outcome(None, why_kept="no other edge of the image is clearly better", facts=facts)
        return Outcome(new, kind, facts=facts)


def gradients(image_HW3: np.ndarray, blur_px: float) -> np.ndarray:
    """Gradient along x and y (height, width, 2), grey levels a pixel, of the channel in which it is strongest."""
    smooth_HW3 = cv2.GaussianBlur(image_HW3, (0, 0), blur_px).astype(np.float32)
    parts_2HW3 = [cv2.Scharr(smooth_HW3, cv2.CV_32F, *axis, scale=1 / 32) for axis in ((1, 0), (0, 1))]
    best_HW1 = (parts_2HW3[0] ** 2 + parts_2HW3[1] ** 2).argmax(axis=2)[..., None]
    return np.concatenate([np.take_along_axis(part, best_HW1, axis=2) for part in parts_2HW3], axis=2)


def supports(gradient_HW2: np.ndarray, edges_E22: np.ndarray, offsets_O: np.ndarray) -> np.ndarray:
    """Support (E, O) of every edge moved by every offset along its normal: mean |gradient across it|."""
    along_E2 = edges_E22[:, 1] - edges_E22[:, 0]
    most = min(MAX_EDGE_SAMPLES, MAX_SAMPLES // max(1, len(edges_E22)))
    count_E = np.clip(np.ceil(np.hypot(*along_E2.T)), 1, most).astype(int)
    edge_P = np.repeat(np.arange(len(count_E)), count_E)
    nth_P = np.arange(len(edge_P)) - (np.cumsum(count_E) - count_E)[edge_P]
    # corners belong to two edges, and neither runs straight there
    part_P = 0.1 + 0.8 * (nth_P + 0.5) / count_E[edge_P]
    normal_P2 = _normals(edges_E22)[edge_P]
    place_P2 = edges_E22[edge_P, 0] + part_P[:, None] * along_E2[edge_P]
    sum_EO = np.zeros((len(count_E), len(offsets_O)))
    for o, offset in enumerate(offsets_O):
        across_P = np.abs((_at(gradient_HW2, place_P2 + offset * normal_P2) * normal_P2).sum(axis=1))
        sum_EO[:, o] = np.bincount(edge_P, across_P, len(count_E))
    return sum_EO / count_E[:, None]


def _rounded(support_EO: np.ndarray) -> np.ndarray:
    """With the plateau of a pixel's width, which bilinear values have at an edge between pixels, made a peak."""
    for _ in range(2):
        padded_EO = np.pad(support_EO, ((0, 0), (1, 1)), mode="edge")
        support_EO = (padded_EO[:, :-2] + 2 * padded_EO[:, 1:-1] + padded_EO[:, 2:]) / 4
    return support_EO


def _support(gradient_HW2: np.ndarray, shape: shapely.Geometry, free_E: np.ndarray) -> float:
    """Of an outline as it stands: the mean over its free edges by their length."""
    edges_E22 = _Outline.of(shape).edges_E22
    weight_E = np.hypot(*(edges_E22[:, 1] - edges_E22[:, 0]).T) * free_E
    return float(supports(gradient_HW2, edges_E22, np.zeros(1))[:, 0] @ weight_E / max(weight_E.sum(), 1e-9))


def _at(gradient_HW2: np.ndarray, xy_P2: np.ndarray) -> np.ndarray:
    """Gradients at places in continuous pixels, bilinear; outside the image there are none."""
    height, width = gradient_HW2.shape[:2]
    inside_P = np.asarray(((xy_P2 >= 0) & (xy_P2 <= (width, height))).all(axis=1))
    centre_P2 = np.where(inside_P[:, None], xy_P2, 0.5) - 0.5
    low_P2 = np.floor(centre_P2).astype(int)
    x_P, y_P = (centre_P2 - low_P2).T.astype(np.float32)
    near = [np.clip(low_P2 + step, 0, (width - 1, height - 1)) for step in ((0, 0), (1, 0), (0, 1), (1, 1))]
    weights = [(1 - x_P) * (1 - y_P), x_P * (1 - y_P), (1 - x_P) * y_P, x_P * y_P]
    found_P2 = sum(w[:, None] * gradient_HW2[p[:, 1], p[:, 0]] for p, w in zip(near, weights, strict=True))
    return np.where(inside_P[:, None], found_P2, 0.0)


def _normals(edges_E22: np.ndarray) -> np.ndarray:
    along_E2 = edges_E22[:, 1] - edges_E22[:, 0]
    return np.column_stack([-along_E2[:, 1], along_E2[:, 0]]) / np.maximum(np.hypot(*along_E2.T), 1e-9)[:, None]


def _along_border(edges_E22: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Edges that run along the border of the image, or outside it."""
    low_E22, high_E22 = np.less_equal(edges_E22, 1), np.greater_equal(edges_E22, np.array(size) - 1)
    return np.asarray(np.any(np.all(np.concatenate([low_E22, high_E22], axis=2), axis=1), axis=1))


def _moved(outline: _Outline, moves_E: np.ndarray, reach_px: float, is_rectangle: bool) -> np.ndarray:
    """Corners so moved that both edges of each lie where they should; nearly straight corners take the mean of both.

    A corner is where its two edges moved cross, by least squares with a little held back, so that a corner between
    nearly parallel edges does not run away along them. Rectangles have none, and stay rectangles.
    """
    normal_E2, count = _normals(outline.edges_E22), len(outline.corners_C2)
    held_back = 1e-9 if is_rectangle else 1e-3
    matrix_C22, right_C2 = np.tile(held_back * np.eye(2), (count, 1, 1)), np.zeros((count, 2))
    for end in (0, 1):
        np.add.at(matrix_C22, outline.start_E + end, normal_E2[:, :, None] * normal_E2[:, None])
        np.add.at(right_C2, outline.start_E + end, normal_E2 * moves_E[:, None])
    # a ring's first and closing corner are one
    first_R = np.flatnonzero(np.diff(outline.ring_C, prepend=-1))
    last_R = np.append(first_R[1:], count) - 1
    for sums in (matrix_C22, right_C2):
        sums[first_R] += sums[last_R]
        sums[last_R] = sums[first_R]
    shift_C2 = np.linalg.solve(matrix_C22, right_C2[..., None])[..., 0]
    far_C = np.hypot(*shift_C2.T) * (1 - 1e-9)
    return outline.corners_C2 + shift_C2 * np.minimum(1, reach_px / np.maximum(far_C, 1e-9))[:, None]
