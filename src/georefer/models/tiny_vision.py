"""The tiny model's eye: a convolutional stem and a transformer block, as a vision tower LLaVA can hold."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput


class TinyVisionConfig(PreTrainedConfig):
    """Sizes of the vision tower; `stem_widths` has one entry per halving, so the patch is 2 ** len(stem_widths) px."""

    model_type = "georefer_tiny_vision"

    image_size: int = 128
    stem_widths: list[int] | tuple[int, ...] = (32, 64, 96, 128)
    stem_blocks: list[int] | tuple[int, ...] = (0, 0, 0, 0)
    hidden_size: int = 128
    num_hidden_layers: int = 1
    num_attention_heads: int = 4
    mlp_ratio: int = 4
    initializer_range: float = 0.02

    @property
    def patch_size(self) -> int:
        """Side in pixels of the square of the image that one token stands for."""
        return int(2 ** len(self.stem_widths))

    @property
    def tokens(self) -> int:
        """Number of image tokens."""
        return int((self.image_size // self.patch_size) ** 2)


class TinyVision(PreTrainedModel):
    """Convolutions find edges and colours, learned positions say where, attention lets patches compare notes."""

    config_class = TinyVisionConfig
    base_model_prefix = "vision"
    main_input_name = "pixel_values"
    input_modalities: str | list[str] = "image"
    _supports_sdpa = True

    def __init__(self, config: TinyVisionConfig):
        super().__init__(config)
        widths = [3, *config.stem_widths]
        stages = zip(widths[:-1], widths[1:], config.stem_blocks, strict=True)
        self.stem = nn.Sequential(*(_stage(before, after, blocks) for before, after, blocks in stages))
        self.to_tokens = nn.Linear(widths[-1], config.hidden_size)
        self.position_ND = nn.Parameter(torch.empty(config.tokens, config.hidden_size))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, TinyVision):
            init.normal_(module.position_ND, std=self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        """The first convolution; transformers asks every model for it."""
        return self.stem

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutput:
        """Tokens (B, N, D) of normalised images (B, 3, S, S), row by row from the top left."""
        # Channels last: convolutions on a CPU are a quarter faster, and the tokens come out without a copy.
        map_BCHW = self.stem(pixel_values.contiguous(memory_format=torch.channels_last))
        tokens_BND = self.to_tokens(map_BCHW.flatten(2).transpose(1, 2)) + self.position_ND
        for block in self.blocks:
            tokens_BND = block(tokens_BND)
        tokens_BND = self.norm(tokens_BND)
        # LLaVA picks `hidden_states[-1]`; one entry is all it may ask for.
        return BaseModelOutput(last_hidden_state=tokens_BND, hidden_states=(tokens_BND,))


class _Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, map_BCHW: Tensor) -> Tensor:
        return F.relu(map_BCHW + self.body(map_BCHW))


def _stage(before: int, after: int, blocks: int) -> nn.Sequential:
    halve = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(halve, nn.BatchNorm2d(after), nn.ReLU(), *(_Residual(after) for _ in range(blocks)))


class _Block(nn.Module):
    """Pre-norm transformer block; queries and keys are normalised, without which it does not learn in minutes."""

    def __init__(self, config: TinyVisionConfig):
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm = nn.RMSNorm(width // self.heads)
        self.k_norm = nn.RMSNorm(width // self.heads)
        self.out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, config.mlp_ratio * width), nn.GELU(), nn.Linear(config.mlp_ratio * width, width)
        )

    def forward(self, tokens_BND: Tensor) -> Tensor:
        batch, tokens, width = tokens_BND.shape
        qkv = self.qkv(self.attention_norm(tokens_BND)).view(batch, tokens, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(self.q_norm(query), self.k_norm(key), value)
        tokens_BND = tokens_BND + self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return tokens_BND + self.mlp(self.mlp_norm(tokens_BND))


# LLaVA builds its tower with AutoModel.from_config(vision_config); registering is how it learns of ours.
AutoConfig.register(TinyVisionConfig.model_type, TinyVisionConfig, exist_ok=True)
AutoModel.register(TinyVisionConfig, TinyVision, exist_ok=True)
