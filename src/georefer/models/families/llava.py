"""LLaVA-1.5: one CLIP picture, cropped, padded or stretched as the checkpoint's processor says."""

from __future__ import annotations

from typing import Any

import torch
from transformers.image_utils import SizeDict

from georefer.errors import InputError
from georefer.geometry import Frame
from georefer.models.families.base import Family, clip_frame

VICUNA = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ message['content'][0]['text'] + ' ' }}"
    "{% elif message['role'] == 'user' %}{{ 'USER: ' }}{% for part in message['content'] %}"
    "{{ '<image>\\n' if part['type'] == 'image' else part['text'] + ' ' }}{% endfor %}"
    "{% else %}{{ 'ASSISTANT: ' + message['content'][0]['text'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""The conversation of Vicuna 1.1, in which LLaVA-1.5 and 1.6 were trained."""
VICUNA_SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
"""The sentence before it, which the converted checkpoints' templates leave out."""


class Llava(Family):
    """LlavaForConditionalGeneration; the converted 1.5 checkpoints crop the middle where the original padded."""

    dialect = "llava-1.5"
    template = VICUNA

    def views(self, size: tuple[int, int]) -> tuple[Frame, ...]:
        settings = self.seeing
        if getattr(settings, "do_pad", False):
            return (Frame.square_padded(size, settings.crop_size["height"]),)
        return (clip_frame(settings, size),)

    def interpolate_positions(self, side: int) -> None:
        """Have it see squares of another side than CLIP was trained on, as SkySenseGPT does with 504 pixels.

        The position embedding of each patch is interpolated (bicubic, as transformers does on demand) and stays so:
        weights, configuration and processor are saved and trained like that. To be called before the model is asked
        anything; InputError where the tower is not CLIP's or the side is no multiple of its patches.
        """
        tower = self.bare.model.vision_tower
        found = (self.bare.config.model_type, tower.config.model_type)
        if found != ("llava", "clip_vision_model"):
            raise InputError(
                f"a {found[0]} with a tower of type {found[1]} was found where a LLaVA-1.5 with CLIP's is expected; "
                "leave its image side as it is"
            )
        seen, patch = tower.embeddings, tower.config.patch_size
        if side < patch or side % patch:
            raise InputError(f"an image side of {side} was found where a multiple of {patch} is expected; give one")
        count = (side // patch) ** 2
        old = seen.position_embedding.weight
        with torch.no_grad():
            new_1ND = seen.interpolate_pos_encoding(old.new_empty(1, count + 1, old.shape[1]), side, side)
        seen.position_embedding = torch.nn.Embedding.from_pretrained(new_1ND[0].clone(), freeze=not old.requires_grad)
        seen.position_ids = torch.arange(count + 1, device=old.device)[None]
        seen.image_size, seen.num_patches, seen.num_positions = side, count, count + 1
        tower.config.image_size = self.bare.config.vision_config.image_size = side
        self.bare.config.image_seq_length = count
        pictures = self.processor.image_processor
        square = {"height": side, "width": side}
        pictures.size = SizeDict(**({"shortest_edge": side} if pictures.size["shortest_edge"] else square))
        pictures.crop_size = SizeDict(**square)

    @classmethod
    def finish(cls, processor: Any, config: Any) -> None:
        """Old checkpoints leave the processor's geometry to the model's configuration."""
        processor.patch_size = processor.patch_size or config.vision_config.patch_size
        if processor.vision_feature_select_strategy is None:
            processor.vision_feature_select_strategy = config.vision_feature_select_strategy
        if config.vision_config.model_type == "clip_vision_model":
            # the class token, which the processor counts before it leaves it out
            processor.num_additional_image_tokens = 1
