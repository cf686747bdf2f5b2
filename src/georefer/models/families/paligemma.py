"""PaliGemma 1 and 2: the image stretched to a square; image and question see each other, only the answer looks back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from georefer.geometry import Frame
from georefer.models.families.base import Family
from georefer.models.packed import Prefix
from georefer.models.speaking import Speech

QUESTION_ALONE = (
    "<image>{{ bos_token }}{% for m in messages %}{% for c in m.content %}{% if c.type == 'text' %}"
    "{{ c.text }}{{ ' ' if m.role == 'system' else '\\n' if m.role == 'user' else eos_token }}"
    "{% endif %}{% endfor %}{% endfor %}"
)
"""The image, the bare question with a line break, the answer: what its processor writes, which has no template."""


class PaliGemma(Family):
    """PaliGemmaForConditionalGeneration, with Gemma or Gemma 2 as its text part.

    The released models answer `detect ship ; car` and `segment ship`; other wordings need tuning.
    """

    dialect = "paligemma"
    template = QUESTION_ALONE

    def speech(self, system: str = "") -> Speech:
        return Speech(self.processor, system, image_tokens=self.processor.image_seq_length)

    def views(self, size: tuple[int, int]) -> tuple[Frame, ...]:
        seen = self.seeing.size
        return (Frame.resize(size, (seen["width"], seen["height"])),)

    def prefix(self, ids: Sequence[int], size: tuple[int, int]) -> Prefix:
        return replace(super().prefix(ids, size), takes_question=True)

    def positions_AP(self, ids_P: Tensor, size: tuple[int, int]) -> Tensor:
        """Counted from 1, as it was trained."""
        return super().positions_AP(ids_P, size) + 1

    def blocks(self, ids_P: Tensor) -> Tensor:
        """All one stretch."""
        return torch.zeros_like(ids_P)

    def logits(self, hidden_ND: Tensor) -> Tensor:
        scores, cap = super().logits(hidden_ND), getattr(self.decoder.config, "final_logit_softcapping", None)
        return scores if cap is None else cap * torch.tanh(scores / cap)
