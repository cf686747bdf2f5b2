"""The tiny model: a LLaVA with a small convolutional eye, whose images are stretched to one square."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from georefer.geometry import Frame
from georefer.models.families.base import Family, ImageFeatures
from georefer.models.tiny_tokenizer import ASSISTANT, EOS, IMAGE, USER

SETTINGS_FILE = "tiny.json"
_CONVERSATION = (
    "{% for m in messages %}{% for c in m.content %}"
    f"{{{{ '{IMAGE}{USER}' if c.type == 'image' else '{ASSISTANT}' + c.text + '{EOS}' if m.role == 'assistant' "
    "else c.text }}{% endfor %}{% endfor %}"
    f"{{% if add_generation_prompt %}}{{{{ '{ASSISTANT}' }}}}{{% endif %}}"
)


@dataclass(frozen=True)
class TinySettings:
    """Everything a tiny model is made from, besides the texts of its vocabulary.

    `image_size` is in pixels and a multiple of 2 ** len(stem_widths); `numbers` is the largest integer that is one
    token, by default one step per pixel of the image. `attention_scale` is the attention logit at the start of
    training between a query and a key that point the same way. With `smooth_start` neighbouring numbers and
    places start out alike (see `models.tiny`).
    """

    image_size: int = 128
    numbers: int = 128
    max_words: int = 2000
    width: int = 128
    heads: int = 4
    text_layers: int = 3
    text_mlp: int = 384
    vision_layers: int = 1
    stem_widths: tuple[int, ...] = (32, 64, 96, 128)
    stem_blocks: tuple[int, ...] = (0, 0, 0, 0)
    attention_scale: float = 6.0
    smooth_start: bool = True
    initializer_range: float = 0.02
    seed: int = 0

    @property
    def image_tokens(self) -> int:
        side: int = self.image_size // 2 ** len(self.stem_widths)
        return side**2


class TinyProcessor:
    """What `Speech` and `Family` need of a processor of transformers: a tokenizer, a template, image placeholders."""

    image_token = IMAGE

    def __init__(self, tokenizer: PreTrainedTokenizerFast, settings: TinySettings):
        self.tokenizer = tokenizer
        self.settings = settings
        self.chat_template = _CONVERSATION

    def __call__(self, text: Sequence[str], images: Sequence[np.ndarray], **_: Any) -> dict[str, list[list[int]]]:
        """Ids of texts, each image's placeholder repeated for every token that it becomes."""
        expanded = [one.replace(IMAGE, IMAGE * self.settings.image_tokens) for one in text]
        return {"input_ids": self.tokenizer(expanded, add_special_tokens=False)["input_ids"]}

    def apply_chat_template(self, messages: list[dict[str, Any]], **asked: Any) -> str:
        text = self.tokenizer.apply_chat_template(messages, chat_template=self.chat_template, **asked)
        assert isinstance(text, str)
        return text

    def save_pretrained(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        (folder / SETTINGS_FILE).write_text(json.dumps(asdict(self.settings), indent=2) + "\n")


class Tiny(Family):
    """LlavaForConditionalGeneration of `models.tiny`; numbers count the pixels of its square."""

    dialect = "georefer"

    @property
    def settings(self) -> TinySettings:
        settings: TinySettings = self.processor.settings
        return settings

    def views(self, size: tuple[int, int]) -> tuple[Frame, ...]:
        side = self.settings.image_size
        return (Frame.resize(size, (side, side), self.settings.numbers),)

    def pixels(self, images: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """Float (B, 3, side, side) in -1..1; an image that is no square is stretched."""
        side = self.settings.image_size
        square = [image if image.shape[:2] == (side, side) else _resized(image, side) for image in images]
        pixels_BHW3 = torch.from_numpy(np.stack(square)).to(self.device)
        return {"pixel_values": pixels_BHW3.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)}

    def unnormalised(self, pixels_N3HW: Tensor) -> list[np.ndarray]:
        return [((p.cpu() + 1.0) / 2).permute(1, 2, 0).numpy() for p in pixels_N3HW]

    def image_features(self, pixels: Mapping[str, Tensor]) -> ImageFeatures:
        return ImageFeatures(list(self.bare.get_image_features(**pixels).pooler_output))


def _resized(image_HW3: np.ndarray, side: int) -> np.ndarray:
    # BOX averages when shrinking: small objects keep their colour instead of flickering between pixels
    smaller = min(image_HW3.shape[:2]) >= side
    how = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image_HW3).resize((side, side), how))
