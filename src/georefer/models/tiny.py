"""A vision-language model of a million parameters that learns to point from scratch in minutes on two CPU cores.

It is a LLaVA of transformers with a small Qwen3 as its text part, so training, answering, saving and adapters
go the very same way as for a model of seven billion. Importing this module registers its vision tower.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import LlavaConfig, LlavaForConditionalGeneration, PreTrainedTokenizerFast, Qwen3Config

from georefer.dialects import DIALECTS
from georefer.errors import CheckpointError, InputError
from georefer.models.families.tiny import SETTINGS_FILE, Tiny, TinyProcessor, TinySettings
from georefer.models.loading import SHIPPED
from georefer.models.speaking import Speech
from georefer.models.tiny_tokenizer import IMAGE, build_tokenizer, grown_tokenizer, number_ids
from georefer.models.tiny_vision import TinyVision, TinyVisionConfig
from georefer.models.transformers_model import SETTINGS_FILE as SPEECH_FILE
from georefer.models.transformers_model import TransformersModel, quiet

__all__ = ["TinySettings", "TinyVision", "TinyVisionConfig", "create_tiny", "load", "with_words"]

ROWS_AT_ONCE = 256
"""Its cache is small: many questions are answered together."""


def create_tiny(settings: TinySettings, texts: Iterable[str]) -> TransformersModel:
    """New model with random weights whose vocabulary is the words of `texts` (questions and answers alike)."""
    tokenizer = build_tokenizer(texts, settings.numbers, settings.max_words)
    torch.manual_seed(settings.seed)
    model = LlavaForConditionalGeneration(_config(settings, tokenizer))
    _scale_attention(model, settings.attention_scale)
    if settings.smooth_start:
        _place(model, tokenizer, settings)
    _plain_generation(model)
    return _spoken(model, TinyProcessor(tokenizer, settings), "tiny")


def with_words(
    model: TransformersModel, texts: Iterable[str], dialect: str = "", most: int = 2000
) -> TransformersModel:
    """A tiny model that has learned other words, with a token for each of these: to go on training from.

    Its own tokens and weights stay; the new ones begin at random. The model is changed in place and handed back in
    the dialect, if one is named. InputError where it is no tiny model.
    """
    family = model.family
    if not isinstance(family, Tiny):
        raise InputError(f"{model.name} is no tiny model, where one is expected; others have subwords for all text")
    tokenizer = grown_tokenizer(family.processor.tokenizer, texts, most)
    settings: TinySettings = family.processor.settings
    known = family.bare.get_input_embeddings().weight.shape[0]
    torch.manual_seed(settings.seed)
    family.model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with torch.no_grad():
        family.bare.get_input_embeddings().weight[known:].normal_(std=settings.initializer_range)
    return _spoken(
        family.model, TinyProcessor(tokenizer, settings), f"{model.name}-grown", dialect or model.dialect.name
    )


def load(name: str | Path, dialect: str | None = None) -> TransformersModel:
    """The tiny model in a folder, or shipped under a name, in evaluation mode; CheckpointError where it is neither.

    `dialect` is by default the one that it was trained with. Its name tells weights apart, so kept answers never mix
    two models.
    """
    folder = Path(name)
    if not folder.is_dir() and (SHIPPED / str(name)).is_dir():
        folder = SHIPPED / str(name)
    if not (folder / SETTINGS_FILE).is_file():
        shipped = ", ".join(sorted(p.name for p in SHIPPED.glob("*/"))) or "none"
        raise CheckpointError(
            f"{name} holds no {SETTINGS_FILE}, so it is no tiny model; give the folder 'model' of a training run "
            f"or a shipped checkpoint ({shipped})"
        )
    try:
        model, processor = _read(folder)
        model.name_or_path = str(name)  # as the user said it: an adapter names its base so
        spoken = dialect or _written_dialect(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} does not load as a tiny model ({_first_line(error)}); its files belong together, train or "
            "copy it again"
        ) from error
    return _spoken(model, processor, f"tiny-{_weights_digest(model)}", spoken)


def _read(folder: Path) -> tuple[LlavaForConditionalGeneration, TinyProcessor]:
    """ValueError where the files do not belong together: transformers would only warn and fill up at random."""
    written = json.loads((folder / SETTINGS_FILE).read_text())
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in written.items()}
    settings = TinySettings(**fields)
    with quiet():
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
    return model.eval(), TinyProcessor(tokenizer, settings)


def _spoken(
    model: LlavaForConditionalGeneration, processor: TinyProcessor, name: str, dialect: str = Tiny.dialect
) -> TransformersModel:
    if dialect not in DIALECTS:
        raise InputError(f"there is no dialect '{dialect}'; choose among {', '.join(DIALECTS)}")
    family = Tiny(model, processor)
    return TransformersModel(name, family, Speech(processor), DIALECTS[dialect], batch_rows=ROWS_AT_ONCE)


def _written_dialect(folder: Path) -> str:
    """What `TransformersModel.save` wrote; models saved before had one dialect only."""
    file = folder / SPEECH_FILE
    return str(json.loads(file.read_text())["dialect"]) if file.is_file() else Tiny.dialect


def _weights_digest(model: LlavaForConditionalGeneration) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:8]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


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
