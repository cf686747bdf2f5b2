"""A vision-language model of a million parameters that learns to point from scratch in minutes on two CPU cores.

It is a LLaVA of transformers with a small Qwen3 as its text part, so training, generation, saving and adapters
go the very same way as for a model of seven billion. Importing this module registers its vision tower.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import DynamicCache, LlavaConfig, LlavaForConditionalGeneration, PreTrainedTokenizerFast, Qwen3Config
from transformers.utils import logging

from georefer.models.tiny_tokenizer import (
    IMAGE,
    build_tokenizer,
    encode_prompt,
    encode_segment,
    number_ids,
    text_ids,
    word_ids,
)  # fmt: skip
from georefer.models.tiny_vision import TinyVision, TinyVisionConfig

__all__ = [
    "Tiny", "TinySettings", "TinyVision", "TinyVisionConfig", "create_tiny", "encode_prompt", "encode_segment",
    "generate_answers", "image_prefix", "images_to_pixels", "load_tiny", "number_ids", "save_tiny", "text_ids",
    "word_ids",
]  # fmt: skip

SETTINGS_FILE = "tiny.json"


@dataclass(frozen=True)
class TinySettings:
    """Everything a tiny model is made from, besides the texts of its vocabulary.

    `image_size` is in pixels and a multiple of 2 ** len(stem_widths); `numbers` is the largest integer that is one
    token, by default one step per pixel of the image. `attention_scale` is the attention logit at the start of
    training between a query and a key that point the same way. With `smooth_start` neighbouring numbers and
    places start out alike (see `_place`).
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


class Tiny(NamedTuple):
    """A tiny model with what is needed to speak to it."""

    model: LlavaForConditionalGeneration
    tokenizer: PreTrainedTokenizerFast
    settings: TinySettings


def create_tiny(settings: TinySettings, texts: Iterable[str]) -> Tiny:
    """New model with random weights whose vocabulary is the words of `texts` (questions and answers alike)."""
    tokenizer = build_tokenizer(texts, settings.numbers, settings.max_words)
    torch.manual_seed(settings.seed)
    model = LlavaForConditionalGeneration(_config(settings, tokenizer))
    _scale_attention(model, settings.attention_scale)
    if settings.smooth_start:
        _place(model, tokenizer, settings)
    _plain_generation(model)
    return Tiny(model, tokenizer, settings)


def save_tiny(tiny: Tiny, folder: Path) -> None:
    """Write weights, configuration, tokenizer and settings; `load_tiny` gives back bit-identical values."""
    with _quiet():
        tiny.model.save_pretrained(folder)
    tiny.tokenizer.save_pretrained(folder)
    (folder / SETTINGS_FILE).write_text(json.dumps(asdict(tiny.settings), indent=2) + "\n")


def load_tiny(folder: Path) -> Tiny:
    """Read what `save_tiny` wrote, in evaluation mode.

    ValueError where the files do not belong together: transformers would only warn and fill up at random.
    """
    written = json.loads((folder / SETTINGS_FILE).read_text())
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in written.items()}
    settings = TinySettings(**fields)
    with _quiet():
        loaded: Any = LlavaForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    model, found = loaded
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if found[kind]:
            named = ", ".join(sorted(map(str, found[kind]))[:3])
            raise ValueError(f"config.json and model.safetensors disagree, {kind.replace('_', ' ')}: {named}")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    if len(tokenizer) != model.config.text_config.vocab_size:
        raise ValueError(f"the tokenizer has {len(tokenizer)} tokens, the model {model.config.text_config.vocab_size}")
    return Tiny(model.eval(), tokenizer, settings)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars of transformers: a megabyte is there before anybody could read them."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def image_prefix(tiny: Tiny) -> list[int]:
    """Ids that stand for one image, before any question."""
    return [tiny.model.config.image_token_id] * tiny.model.config.image_seq_length


def images_to_pixels(images: Sequence[NDArray[np.uint8]], size: int) -> Tensor:
    """Float (B, 3, size, size) in about -1..1 from uint8 images (H, W, 3); a non-square image is stretched."""
    square = [image if image.shape[:2] == (size, size) else _resize(image, size) for image in images]
    pixels_BHW3 = torch.from_numpy(np.stack(square))
    return pixels_BHW3.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


@torch.inference_mode()
def generate_answers(
    tiny: Tiny,
    images: Sequence[NDArray[np.uint8]],
    prompts: Sequence[str],
    max_new_tokens: int = 64,
    batch_rows: int = 256,
) -> list[str]:
    """Greedy answers to `prompts[i]` asked of `images[i]`; an image passed as one object is encoded once.

    The image's keys and values are computed once and shared by its questions, which makes many questions of one
    image several times faster than asking each afresh, with the same answers.
    """
    answers: list[str] = []
    tiny.model.eval()
    for start in range(0, len(prompts), batch_rows):
        rows = slice(start, start + batch_rows)
        answers += _generate_batch(tiny, images[rows], prompts[rows], max_new_tokens)
    return answers


def _generate_batch(
    tiny: Tiny, images: Sequence[NDArray[np.uint8]], prompts: Sequence[str], max_new_tokens: int
) -> list[str]:
    model: Any = tiny.model  # transformers types `generate` too narrowly for a caller outside
    tokenizer = tiny.tokenizer
    index_of = {key: index for index, key in enumerate(dict.fromkeys(map(id, images)))}
    image_of_row_B = torch.tensor([index_of[id(image)] for image in images])
    unique = list({id(image): image for image in images}.values())
    cache = _prefix_cache(tiny, images_to_pixels(unique, tiny.settings.image_size))
    cache.batch_select_indices(image_of_row_B)

    asked = [encode_prompt(tokenizer, prompt) for prompt in prompts]
    prefix_P, longest = torch.tensor(image_prefix(tiny)), max(map(len, asked))
    padded_BQ = torch.tensor([[tokenizer.pad_token_id] * (longest - len(ids)) + ids for ids in asked])
    ids_BT = torch.cat([prefix_P.expand(len(prompts), -1), padded_BQ], dim=1)
    made_BT = model.generate(
        input_ids=ids_BT,
        attention_mask=(ids_BT != tokenizer.pad_token_id).long(),
        past_key_values=cache,
        max_new_tokens=max_new_tokens,
        do_sample=False,
    )
    return tokenizer.batch_decode(made_BT[:, ids_BT.shape[1] :], skip_special_tokens=True)


def _prefix_cache(tiny: Tiny, pixels_I3HW: Tensor) -> DynamicCache:
    ids_IP = torch.tensor(image_prefix(tiny)).expand(len(pixels_I3HW), -1)
    cache = DynamicCache(config=tiny.model.config.get_text_config())
    tiny.model.model(input_ids=ids_IP, pixel_values=pixels_I3HW, past_key_values=cache, use_cache=True)
    return cache


def _resize(image_HW3: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    # BOX averages when shrinking: small objects keep their colour instead of flickering between pixels.
    smaller = min(image_HW3.shape[:2]) >= size
    how = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(image_HW3).resize((size, size), how))


def _config(settings: TinySettings, tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    vision = TinyVisionConfig(
        image_size=settings.image_size,
        stem_widths=list(settings.stem_widths),
        stem_blocks=list(settings.stem_blocks),
        hidden_size=settings.width,
        num_hidden_layers=settings.vision_layers,
        num_attention_heads=settings.heads,
        initializer_range=settings.initializer_range,
    )
    text = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=settings.width,
        intermediate_size=settings.text_mlp,
        num_hidden_layers=settings.text_layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        head_dim=settings.width // settings.heads,
        max_position_embeddings=2048,
        initializer_range=settings.initializer_range,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.get_vocab()[IMAGE],
        image_seq_length=vision.tokens,
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )


@torch.no_grad()
def _scale_attention(model: LlavaForConditionalGeneration, scale: float) -> None:
    """Start every attention with logits of `scale` times the cosine of query and key.

    RMS-normalised vectors have length sqrt(d) and the logit is divided by sqrt(d), so weights w on both sides
    give w * w * sqrt(d) * cosine.
    """
    for name, parameter in model.named_parameters():
        if name.endswith(("q_norm.weight", "k_norm.weight")):
            parameter.fill_((scale / parameter.numel() ** 0.5) ** 0.5)


@torch.no_grad()
def _place(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, settings: TinySettings) -> None:
    """Start the tokens of near numbers, and the positions of near patches, near each other.

    Numbers are places along an axis, but a fresh embedding knows nothing of 57 lying beside 58 and must learn
    each alone. Smooth features of both save a third of the alignment's steps.
    """
    number_ND = _waves(torch.arange(settings.numbers + 1) / settings.numbers, settings.width, 0.012, 0.4)
    embedding_VD = model.get_parameter("lm_head.weight")  # tied: the input embeddings too
    embedding_VD[number_ids(tokenizer, settings.numbers)] = settings.initializer_range * number_ND

    position_ND = model.get_parameter("model.vision_tower.position_ND")
    side = round(len(position_ND) ** 0.5)
    centre_G = (torch.arange(side) + 0.5) / side
    column_GD, row_GD = _waves(centre_G, settings.width, 0.06, 0.75).chunk(2, dim=1)
    position_ND[:, : settings.width // 2] = 10 * settings.initializer_range * column_GD.repeat(side, 1)
    position_ND[:, settings.width // 2 :] = 10 * settings.initializer_range * row_GD.repeat_interleave(side, 0)


def _waves(place_N: Tensor, count: int, shortest: float, longest: float) -> Tensor:
    """`count` cosines (N, count) of places 0..1, whose products fall off over `shortest` to `longest` of the side.

    Random Fourier features (Rahimi & Recht 2007) of Gaussian kernels of many widths.
    """
    generator = torch.Generator().manual_seed(0)
    width_C = shortest * (longest / shortest) ** torch.rand(count, generator=generator)
    phase_C = 2 * torch.pi * torch.rand(count, generator=generator)
    frequency_C = torch.randn(count, generator=generator) / width_C
    return 2**0.5 * torch.cos(place_N[:, None] * frequency_C + phase_C)


def _plain_generation(model: LlavaForConditionalGeneration) -> None:
    text = model.config.get_text_config()
    model.generation_config.pad_token_id = text.pad_token_id
    model.generation_config.eos_token_id = text.eos_token_id
