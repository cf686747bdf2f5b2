"""SAM draws the mask of each object: prompted by its box, the points in it, and its shape as a coarse mask.

SAM sees an image resized to 1024 px along its longer side, its corner at the top left of a padded square. Three
things are counted in that square: prompts in its pixels, the coarse mask in cells of four of them, and the masks that
come back in the same cells. SAM moves every prompt by half a pixel, because it takes coordinates for pixel numbers;
ours are edges, so half a pixel is taken off before, and what SAM embeds is where the edge is.

Facts: transformers' SamModel and SamImageProcessorPil; the box and the coarse mask as prompts are GeoGround's
(arXiv 2411.11904), logits of +-6.9 for cells in and out are Text4Seg's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
import torch
from safetensors import SafetensorError
from torch.nn import functional
from transformers import SamModel
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from georefer.errors import CheckpointError
from georefer.geometry import Frame, Mask, Objects, hbb_iou, mask_iou
from georefer.geometry.raster_grid import coverages
from georefer.geometry.repair import areas_only, repaired
from georefer.inference.refine import Outcome, applied, check_image
from georefer.models.transformers_model import quiet

SURE = 0.999
"""Probability of a cell that the shape fills: logit 6.9."""

AREAS = ("hbb", "obb", "polygon", "mask")

NO_POINTS, NOTHING, MAX_POINTS = np.zeros((0, 2)), -10, 20
"""No points; SAM's label of a place without one; points that prompt one object."""

BATCH = 16
"""Objects decoded at once."""

BATCH_PIXELS = 1 << 25
"""Pixels of full-size masks (float32) held at once."""

_WRONG = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError)


@dataclass(frozen=True)
class SamSettings:
    """What SAM is prompted with beside the box, and how far its mask may leave what it was asked for.

    The two limits are safeguards, not tuned values: set them by scores on held-out data of your own.
    """

    points: bool = True
    """Point objects that lie in exactly one area of their label are positive points of that area."""
    coarse_mask: bool = True
    """Of shapes that say more than a box; that of a box would claim that the object fills it."""
    least_box_iou: float = 0.6
    """Of the mask's bounding box with the object's."""
    least_mask_iou: float = 0.5
    """Of the mask with the object's own; not asked of boxes, which say only bounds."""

    def __post_init__(self) -> None:
        if not (0 <= self.least_box_iou <= 1 and 0 <= self.least_mask_iou <= 1):
            raise ValueError(f"limits {self.least_box_iou} and {self.least_mask_iou} were given; expected 0 to 1")


@dataclass(frozen=True, eq=False)
class Prompts:
    """Of K objects, in pixels of SAM's square, half a pixel taken off; `masks_KCC` are logits.

    `points_KP2` has label 1 in `labels_KP` where there is a point and -10, SAM's padding, where there is none.
    """

    boxes_K4: np.ndarray
    points_KP2: np.ndarray
    labels_KP: np.ndarray
    masks_KCC: np.ndarray | None

    def __getitem__(self, part: slice) -> Prompts:
        masks_KCC = None if self.masks_KCC is None else self.masks_KCC[part]
        return Prompts(self.boxes_K4[part], self.points_KP2[part], self.labels_KP[part], masks_KCC)


def load(source: str, settings: SamSettings | None = None) -> SamRefiner:
    """The SAM in a folder or under a hub id, in transformers' format; CheckpointError says what is wrong with it.

    Only safetensors are read and no code of the checkpoint is run.
    """
    try:
        with quiet():
            processor = SamImageProcessorPil.from_pretrained(source)
            loaded: Any = SamModel.from_pretrained(
                source, dtype=torch.float32, use_safetensors=True, output_loading_info=True
            )
    except _WRONG as error:
        line = next((text for text in str(error).strip().splitlines() if text), type(error).__name__)
        raise CheckpointError(
            f"{source} does not give a SAM ({line}); give the folder of one in transformers' format with safetensors, "
            "or a hub id that can be reached"
        ) from error
    model, found = loaded
    # transformers would only warn and fill up at random
    if found["missing_keys"]:
        named = ", ".join(sorted(map(str, found["missing_keys"]))[:3])
        raise CheckpointError(f"the weights in {source} are not all of a SAM, {named} is missing; get the whole of it")
    return SamRefiner(model, processor, settings or SamSettings())


class SamRefiner:
    """Objects become masks where SAM's mask agrees with what was asked; the image is encoded once for all of them.

    Of the masks that SAM offers for an object, the one counts for which it predicts the best IoU; parts of it that
    do not reach into the object's box are dropped. It is taken if its bounds and its pixels agree with the
    object's (`SamSettings`). `sam_iou` is the IoU that SAM predicts. Points and lines are kept.
    """

    def __init__(self, model: Any, processor: Any, settings: SamSettings | None = None) -> None:
        self.name = "sam"
        self.settings = settings or SamSettings()
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self.processor = processor

    @torch.no_grad()
    def __call__(self, image_HW3: np.ndarray, objects: Objects) -> Objects:
        check_image(image_HW3)
        height, width = image_HW3.shape[:2]
        shapes = objects.replaced(areas_only(repaired(objects.geometries_N)))
        outcomes = [Outcome(None, why_kept=f"a {kind} bounds no area") for kind in objects.kinds_N]
        reach_N = shapely.area(shapely.intersection(shapes.geometries_N, shapely.box(0, 0, width, height)))
        is_area_N = np.isin(objects.kinds_N, AREAS)
        for i in np.flatnonzero(is_area_N & (reach_N == 0)):
            outcomes[i] = Outcome(None, why_kept="it lies outside the image")
        points = points_of(objects) if self.settings.points else {}
        seen: torch.Tensor | None = None
        # without a mask prompt SAM embeds something else than an empty mask, so the two are asked apart
        for coarse_mask in (True, False):
            says_more_N = (objects.kinds_N != "hbb") & self.settings.coarse_mask
            asked = np.flatnonzero(is_area_N & (reach_N > 0) & (says_more_N == coarse_mask))
            if not len(asked):
                continue
            if seen is None:
                seen, frame = self.see(image_HW3)
            prompts = self.prompts(shapes[asked], [points.get(int(i), NO_POINTS) for i in asked], frame, coarse_mask)
            for i, (mask, iou) in zip(asked, self.masks(seen, frame, prompts), strict=True):
                outcomes[i] = self._verdict(shapes[[int(i)]], mask, iou)
        return applied(objects, outcomes, self.name)

    # --- frames and prompts ------------------------------------------------------------------------------

    def see(self, image_HW3: np.ndarray) -> tuple[torch.Tensor, Frame]:
        """SAM's embedding of the image (1, C, h, w), and the padded square in which it sees it."""
        shown = self.processor(image_HW3, return_tensors="pt", input_data_format="channels_last")
        height, width = (int(side) for side in shown["reshaped_input_sizes"][0])
        frame = sam_frame((image_HW3.shape[1], image_HW3.shape[0]), (width, height), self._side)
        return self.model.get_image_embeddings(shown["pixel_values"].to(self.model.device)), frame

    @property
    def _side(self) -> int:
        return int(self.processor.pad_size["height"])

    def prompts(self, areas: Objects, points: Sequence[np.ndarray], frame: Frame, coarse_mask: bool) -> Prompts:
        """The prompts for areas, each with its points (P, 2) in the image."""
        size = np.array([frame.scene_width, frame.scene_height] * 2)
        corners_M2 = areas.hbb_N4.clip(0, size).reshape(-1, 2)
        points_KP2 = np.zeros((len(areas), max(map(len, points), default=0), 2))
        labels_KP = np.full(points_KP2.shape[:2], NOTHING)
        for row, some_P2 in enumerate(points):
            points_KP2[row, : len(some_P2)] = _to_sam(some_P2, frame)
            labels_KP[row, : len(some_P2)] = 1
        return Prompts(
            _to_sam(corners_M2, frame).reshape(-1, 4), points_KP2, labels_KP,
            coarse_logits(areas.geometries_N, frame, self._cells) if coarse_mask else None,
        )  # fmt: skip

    @property
    def _cells(self) -> int:
        """Cells along the side of the square in SAM's masks, given or made."""
        return 4 * int(self.model.config.prompt_encoder_config.image_embedding_size)

    # --- masks -------------------------------------------------------------------------------------------

    def masks(self, seen: torch.Tensor, frame: Frame, prompts: Prompts) -> list[tuple[Mask, float]]:
        """For each object the mask with the best predicted IoU, in the image's pixels, and that IoU."""
        size = frame.scene_height, frame.scene_width
        step = max(1, min(BATCH, BATCH_PIXELS // max(size[0] * size[1], self._side**2)))
        found: list[tuple[Mask, float]] = []
        for start in range(0, len(prompts.boxes_K4), step):
            logits_KCC, iou_K = self._decode(seen, prompts[start : start + step])
            full_KHW = self._to_image(logits_KCC, frame).cpu().numpy()
            found += [
                (Mask.from_dense(mask_HW), float(iou)) for mask_HW, iou in zip(full_KHW, iou_K.tolist(), strict=True)
            ]
        return found

    def _decode(self, seen: torch.Tensor, prompts: Prompts) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (K, C, C) and predicted IoU (K) of the best mask of each."""
        count, device = len(prompts.boxes_K4), self.model.device
        tensors = {"input_boxes": torch.tensor(prompts.boxes_K4[:, None], dtype=torch.float32, device=device)}
        if prompts.points_KP2.shape[1]:
            tensors["input_points"] = torch.tensor(prompts.points_KP2[:, None], dtype=torch.float32, device=device)
            tensors["input_labels"] = torch.tensor(prompts.labels_KP[:, None], device=device)
        if prompts.masks_KCC is not None:
            tensors["input_masks"] = torch.tensor(prompts.masks_KCC[:, None], dtype=torch.float32, device=device)
        said = self.model(image_embeddings=seen.expand(count, -1, -1, -1), multimask_output=True, **tensors)
        iou_KM, logits_KMCC = said.iou_scores[:, 0], said.pred_masks[:, 0]
        best_K = iou_KM.argmax(dim=1)
        rows = torch.arange(count, device=device)
        return logits_KMCC[rows, best_K], iou_KM[rows, best_K]

    def _to_image(self, logits_KCC: torch.Tensor, frame: Frame) -> torch.Tensor:
        """Set pixels (K, height, width), as the processor's `post_process_masks` has them."""
        width, height = _inner(frame)
        square = functional.interpolate(logits_KCC[:, None], (self._side, self._side), mode="bilinear")
        size = frame.scene_height, frame.scene_width
        return functional.interpolate(square[..., :height, :width], size, mode="bilinear")[:, 0] > 0

    def _verdict(self, asked: Objects, mask: Mask, predicted_iou: float) -> Outcome:
        """One object's mask taken or refused."""
        size, facts = (mask.height, mask.width), {"sam_iou": round(predicted_iou, 4)}
        box_4, window = asked.hbb_N4[0], shapely.box(0, 0, mask.width, mask.height)
        outline = _parts_within(mask.to_geometry(), shapely.box(*box_4))
        if outline.is_empty:
            return Outcome(None, why_kept="SAM's mask is empty there", facts=facts)
        prompt_14 = np.array([shapely.intersection(shapely.box(*box_4), window).bounds])
        box_iou = float(hbb_iou(np.array([outline.bounds]), prompt_14)[0, 0])
        if box_iou < self.settings.least_box_iou:
            return Outcome(None, why_kept=f"SAM's mask has other bounds (IoU {box_iou:.2f})", facts=facts)
        if asked.kinds_N[0] != "hbb":
            both = [Mask.of_geometry(g, size) for g in (outline, asked.geometries_N[0])]
            iou = float(mask_iou(both[:1], both[1:])[0, 0])
            if iou < self.settings.least_mask_iou:
                return Outcome(None, why_kept=f"SAM's mask covers something else (IoU {iou:.2f})", facts=facts)
        return Outcome(outline, "mask", facts=facts)


def sam_frame(scene_size: tuple[int, int], inner: tuple[int, int], side: int) -> Frame:
    """The padded square: the scene resized to `inner` (width, height) at its top left. Sizes are (width, height)."""
    (width, height), (across, down) = scene_size, inner
    extent = side * width / across, side * height / down
    return Frame(width, height, side, side, side, side, 0.0, 0.0, *extent, "sam")


def _inner(frame: Frame) -> tuple[int, int]:
    """What the scene was resized to, (width, height)."""
    ((across, down),) = frame.to_model(np.array([[frame.scene_width, frame.scene_height]])).tolist()
    return round(across), round(down)


def _to_sam(xy_N2: np.ndarray, frame: Frame) -> np.ndarray:
    return frame.to_model(xy_N2) - 0.5


def coarse_logits(shapes_K: np.ndarray, frame: Frame, cells: int) -> np.ndarray:
    """Shapes as SAM's mask prompt (K, cells, cells): the logit of the part of each cell that the shape covers."""
    square_4 = np.array([frame.x, frame.y, frame.x + frame.extent_width, frame.y + frame.extent_height])
    scene = shapely.box(0, 0, frame.scene_width, frame.scene_height)
    inside_K = areas_only(shapely.intersection(shapes_K, scene))
    share_KCC = coverages(inside_K, np.tile(square_4, (len(inside_K), 1)), cells, cells).clip(1 - SURE, SURE)
    return np.asarray(np.log(share_KCC / (1 - share_KCC)), dtype=np.float32)


def points_of(objects: Objects) -> dict[int, np.ndarray]:
    """Place of an area to the points (P, 2) said of it: those that lie in it and in no other area.

    A point with a label belongs to areas of that label only.
    """
    owned: dict[int, list[np.ndarray]] = {}
    areas = np.flatnonzero(np.isin(objects.kinds_N, AREAS))
    for point in np.flatnonzero(objects.kinds_N == "point"):
        label, place = objects.labels_N[point], objects.geometries_N[point]
        around = areas[shapely.intersects(objects.geometries_N[areas], place)]
        owners = [int(i) for i in around if label in ("", objects.labels_N[i])]
        if len(owners) == 1 and len(owned.setdefault(owners[0], [])) < MAX_POINTS:
            owned[owners[0]].append(shapely.get_coordinates(place)[0])
    return {place: np.array(xy) for place, xy in owned.items()}


def _parts_within(outline: shapely.Geometry, box: shapely.Polygon) -> shapely.Geometry:
    """Without the parts that do not reach into the box."""
    parts = shapely.get_parts(outline)
    kept = parts[shapely.area(shapely.intersection(parts, box)) > 0] if len(parts) else parts
    return outline if len(kept) == len(parts) else shapely.union_all(kept)
