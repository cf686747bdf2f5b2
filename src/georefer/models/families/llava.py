"""LLaVA-1.5: one CLIP picture, cropped, padded or stretched as the checkpoint's processor says."""

from __future__ import annotations

from typing import Any

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

    @classmethod
    def finish(cls, processor: Any, config: Any) -> None:
        """Old checkpoints leave the processor's geometry to the model's configuration."""
        processor.patch_size = processor.patch_size or config.vision_config.patch_size
        if processor.vision_feature_select_strategy is None:
            processor.vision_feature_select_strategy = config.vision_feature_select_strategy
