"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: one picture near the image's own size, rotary positions on three axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from georefer.errors import InputError
from georefer.geometry import Frame
from georefer.models.families.base import Family, ImageFeatures


class Qwen2VL(Family):
    """Qwen2VLForConditionalGeneration."""

    dialect = "qwen2-vl"

    def views(self, size: tuple[int, int]) -> tuple[Frame, ...]:
        settings = self.seeing
        try:
            frame = Frame.qwen(
                size,
                factor=settings.patch_size * settings.merge_size,
                min_pixels=settings.size["shortest_edge"],
                max_pixels=settings.size["longest_edge"],
            )
        except ValueError as error:
            raise InputError(str(error)) from error
        return (frame,)

    def pictures(self, image_HW3: np.ndarray) -> list[np.ndarray]:
        settings, made = self.seeing, self.pixels([image_HW3])
        (_, rows, columns), merge, patch = made["image_grid_thw"][0].tolist(), settings.merge_size, settings.patch_size
        # patches come merged block by merged block, each written twice for two frames of a video
        blocks = made["pixel_values"].reshape(
            rows // merge, columns // merge, merge, merge, 3, settings.temporal_patch_size, patch, patch
        )[..., 0, :, :]
        picture = blocks.permute(4, 0, 2, 5, 1, 3, 6).reshape(1, 3, rows * patch, columns * patch)
        return self.unnormalised(picture)

    def positions_AP(self, ids_P: Tensor, size: tuple[int, int]) -> Tensor:
        """Image tokens count row and column from where the image begins; text goes on after the longer side."""
        settings = self.seeing
        patches = [side // settings.patch_size for side in self.frame_for(size).size[::-1]]
        image_1P = (ids_P == self.image_token_id)[None]
        positions_A1P, _ = self.bare.model.get_rope_index(
            ids_P[None], mm_token_type_ids=image_1P.int(), image_grid_thw=torch.tensor([[1, *patches]])
        )
        positions_AP: Tensor = positions_A1P[:, 0]
        return positions_AP


class Qwen25VL(Qwen2VL):
    """Qwen2_5_VLForConditionalGeneration."""

    dialect = "qwen2.5-vl"


class Qwen3VL(Qwen2VL):
    """Qwen3VLForConditionalGeneration, whose first decoder layers get features of the image once more."""

    dialect = "qwen3-vl"

    def image_features(self, pixels: Mapping[str, Tensor]) -> ImageFeatures:
        found = self.bare.get_image_features(**pixels, return_dict=True)
        return ImageFeatures(list(found.pooler_output), [list(level) for level in found.deepstack_features])

    def embed(self, ids_BT: Tensor, shown: ImageFeatures | None) -> dict[str, Any]:
        embedded = super().embed(ids_BT, shown)
        if shown is not None:
            embedded["visual_pos_masks"] = ids_BT == self.image_token_id
            embedded["deepstack_visual_embeds"] = [torch.cat(level) for level in shown.deep]
        return embedded
