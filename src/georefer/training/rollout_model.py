"""The model while it answers, while it learns from that, which is the same function, and as the run began with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from georefer.errors import ConfigError
from georefer.models.families.base import Family
from georefer.training.processes import judging
from georefer.training.schedule import LoopSettings


def refuse_shards() -> None:
    """ConfigError where weights are to be spread over processes: answers are drawn with whole ones."""
    for kind in ("FSDP", "DEEPSPEED"):
        if os.environ.get(f"ACCELERATE_USE_{kind}", "") == "true":
            raise ConfigError(
                f"{kind} was asked for, where each process draws answers with a whole model; launch with copies "
                "(recipes/accelerate/ddp.yaml) and, where model and moments do not fit one GPU, train adapters, on "
                'weights in four bits if need be (tune.language = "lora", tune.quantise = "nf4")'
            )


@contextmanager
def answering(family: Family, settings: LoopSettings) -> Iterator[None]:
    """Evaluation mode without gradients, in the precision in which the run learns."""
    device = family.device.type
    is_bf16 = settings.precision == "bf16" or (settings.precision == "auto" and device != "cpu")
    with judging(family.model), torch.autocast(device, torch.bfloat16) if is_bf16 else nullcontext():
        yield


def learning(family: Family) -> None:
    """Evaluation mode all the same, so that what is learned has the probabilities with which it was drawn.

    No dropout and no new statistics of batch norms; only layers that are to be computed again on the way back are told
    that they train, since transformers does it in no others.
    """
    family.model.eval()
    for module in family.bare.modules():
        if isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing:
            module.training = not hasattr(module, "dropout")


class BegunWeights:
    """The trained weights as they were when the run began, to look up what the model would have said then.

    Of adapters these are the adapters alone, which begin as if they were not there: no second model is held.
    """

    def __init__(self, family: Family) -> None:
        trained = [p for p in family.bare.parameters() if p.requires_grad]
        self._begun: list[tuple[nn.Parameter, Tensor]] = [(p, p.detach().clone()) for p in trained]

    @contextmanager
    def back(self) -> Iterator[None]:
        """Inside, the model is as it was; nothing may be learned there."""
        now = [parameter.data for parameter, _ in self._begun]
        for parameter, begun in self._begun:
            parameter.data = begun.to(parameter)
        try:
            yield
        finally:
            for (parameter, _), data in zip(self._begun, now, strict=True):
                parameter.data = data
