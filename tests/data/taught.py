"""Models made to say given answers: real decoders of random weights whose last matrix alone is fitted."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from georefer.models.base import Ask
from georefer.models.packed import forward_packed, pack
from georefer.models.transformers_model import TransformersModel


def teach(model: TransformersModel, turns: Sequence[tuple[Ask, str]], rest: float = 1e-6) -> None:
    """Fit the head by least squares so that each ask has its answer; the tokens of all may not outnumber the width."""
    rows = [[model.group(ask.image_HW3.shape[1::-1], [(ask.prompt, text)], n)] for n, (ask, text) in enumerate(turns)]
    batch = pack(rows, model.pixels([ask.image_HW3 for ask, _ in turns]), pad_id=model.speech.pad_id)
    heard: list[torch.Tensor] = []
    family = model.family
    scored = family.logits
    with torch.inference_mode():
        family.logits = lambda hidden: heard.append(hidden) or scored(hidden)
        try:
            forward_packed(family, batch)
        finally:
            del family.logits
        hidden_MD, head = heard[0].double(), family.bare.get_output_embeddings()
        wanted_MV = torch.nn.functional.one_hot(batch.targets_M, len(head.weight)).double()
        # in the form that needs no more numbers than there are tokens
        gram_MM = hidden_MD @ hidden_MD.T
        gram_MM += rest * gram_MM.diagonal().mean() * torch.eye(len(gram_MM), dtype=torch.float64)
        weight_VD = (hidden_MD.T @ torch.linalg.solve(gram_MM, wanted_MV)).T
    made = torch.nn.Linear(head.weight.shape[1], len(head.weight), bias=False)
    made.weight.data = 20 * weight_VD.to(head.weight)
    family.bare.set_output_embeddings(made)
