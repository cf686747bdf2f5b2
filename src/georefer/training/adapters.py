"""What is trained of a model: vision tower, projector and language part, each frozen, in full, or by adapters.

Layers are named by their full path. A bare name such as `q_proj` also matches the attention of a vision tower, and
so GroundSet's published baseline trained a tower that it held to be frozen.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers.modeling_layers import GradientCheckpointingLayer

from georefer.errors import InputError
from georefer.models import adapter
from georefer.models.families.base import Family

Tuning = Literal["frozen", "full", "lora"]
PARTS = ("vision", "projector", "language")


@dataclass(frozen=True)
class TuneSettings:
    """What is trained of each part; as it stands, GroundSet's published recipe with a truly frozen tower."""

    vision: Tuning = "frozen"
    projector: Tuning = "full"
    """What lies between tower and text part, Qwen's merger too."""
    language: Tuning = "lora"
    """Adapters go on every linear layer of the decoder, not on its head."""
    lm_head: bool = False
    """Adapters on the scores of the vocabulary as well."""
    rank: int = 32
    alpha: int = 64
    """An adapter's output is scaled by alpha / rank."""
    dropout: float = 0.1
    """Of what goes into an adapter."""
    init: Literal["kaiming", "gaussian"] = "kaiming"
    """How an adapter's first factor begins; the second is zero, so that training begins at the base model."""
    quantise: Literal["none", "nf4"] = "none"
    """"nf4" keeps the weights of the decoder's linear layers in four bits (QLoRA)."""

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1 or not 0 <= self.dropout < 1:
            raise ValueError("rank and alpha must be at least 1, dropout at least 0 and below 1")
        if all(getattr(self, part) == "frozen" for part in PARTS):
            raise ValueError(f"{', '.join(PARTS)} are all frozen; train one of them")
        if self.quantise != "none" and self.language != "lora":
            raise ValueError(f"language is '{self.language}'; weights in four bits can only have adapters ('lora')")
        if self.lm_head and self.language != "lora":
            raise ValueError(f"lm_head asks for adapters where language is '{self.language}'; expected 'lora'")


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did: full paths of layers with adapters, of parameters trained as they are, and counts."""

    adapted: tuple[str, ...]
    full: tuple[str, ...]
    trained: int
    parameters: int

    def __str__(self) -> str:
        return (
            f"{self.trained:,} of {self.parameters:,} parameters are trained: adapters on {len(self.adapted)} layers, "
            f"{len(self.full)} tensors in full"
        )


def prepare(family: Family, settings: TuneSettings, seed: int = 0) -> Prepared:
    """Puts adapters onto the model in place and sets `requires_grad` of every parameter.

    A model that was loaded with an adapter goes on with it, where the settings ask for the same layers and rank.
    InputError where a part has nothing to train as asked. Call `train_mode` before every stretch of training.
    """
    adapted = [path for part in PARTS if getattr(settings, part) == "lora" for path in _linears(family, part, settings)]
    full = [n for n, _ in _own_parameters(family) if getattr(settings, family.part_of(n)) == "full"]
    for part in PARTS:
        if getattr(settings, part) == "full" and not any(family.part_of(name) == part for name in full):
            raise _nothing(family, part, "parameters", "frozen")
    if adapter.is_adapted(family):
        _check_same(family, adapted, settings)
    elif adapted:
        if settings.quantise == "nf4":
            adapter.quantise(family, [path for path in adapted if family.part_of(path) == "language"])
        shape = adapter.Shape(settings.rank, settings.alpha, settings.dropout, init=settings.init)
        adapter.attach(family, adapted, shape, seed)
    wanted = set(full)
    for name, parameter in family.bare.named_parameters():
        parameter.requires_grad_(name in wanted or adapter.is_factor(name))
    sizes = [(p.numel(), p.requires_grad) for p in family.bare.parameters()]
    trained = sum(size for size, trains in sizes if trains)
    return Prepared(tuple(adapted), tuple(full), trained, sum(size for size, _ in sizes))


def train_mode(family: Family) -> None:
    """Sets every module to training or not, by what is trained of the part it belongs to.

    A frozen part stays as it answers: no dropout, no new statistics of batch norms. The loop must not call
    `model.train()` itself afterwards.
    """
    bare, trained = family.bare, _trained_parts(family)
    family.model.eval()
    holders = ("", bare.base_model_prefix)
    for name, module in bare.named_modules():
        is_trained = bool(trained) if name in holders else family.part_of(name) in trained
        # adapters on a part leave its own normalisation alone
        is_fixed = isinstance(module, _BatchNorm) and not any(p.requires_grad for p in module.parameters())
        module.training = (is_trained and not is_fixed) or _must_recompute(family, name, module)
    family.model.training = bool(trained)


def checkpoint_layers(family: Family) -> None:
    """Keep only what goes into each layer and compute the rest again on the way back: less memory, equal gradients.

    Works on packed rows and on frozen embeddings; transformers does it only in layers that are in training mode, so
    `train_mode` comes after it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer transformers have another name for it
        family.bare.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _must_recompute(family: Family, name: str, module: nn.Module) -> bool:
    """A frozen text part behind a trained projector keeps activations too; its layers have no dropout themselves."""
    is_layer = isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing
    return is_layer and not hasattr(module, "dropout") and family.part_of(name) == "language"


def _trained_parts(family: Family) -> set[str]:
    return {family.part_of(name) for name, p in family.bare.named_parameters() if p.requires_grad}


def _own_parameters(family: Family) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in family.bare.named_parameters() if not adapter.is_factor(name))


def _linears(family: Family, part: str, settings: TuneSettings) -> list[str]:
    """Full paths of the linear layers of a part that an adapter can go on."""
    bare = family.bare
    head = bare.get_output_embeddings()
    modules = dict(bare.named_modules())
    if head is not None and settings.lm_head and head.weight is bare.get_input_embeddings().weight:
        raise InputError("lm_head was asked to be adapted, but its weights are also the embeddings; leave lm_head out")
    found = []
    for name, module in modules.items():
        inside = modules[name.rpartition(".")[0]]
        if isinstance(module, nn.Linear) and not isinstance(inside, nn.MultiheadAttention):  # which reads its weights
            path = name.removesuffix(".base_layer")
            is_head = inside is head or module is head
            if _is_of_base(path) and family.part_of(path) == part and (settings.lm_head or not is_head):
                found.append(path)
    if not found:
        raise _nothing(family, part, "linear layers", "full or frozen")
    return found


def _is_of_base(path: str) -> bool:
    return ".lora_A" not in path and ".lora_B" not in path


def _nothing(family: Family, part: str, what: str, instead: str) -> InputError:
    kind = family.bare.config.model_type
    return InputError(f"the {part} of a model of type '{kind}' has no {what} to train; set {part} to {instead}")


def _check_same(family: Family, adapted: list[str], settings: TuneSettings) -> None:
    config = family.model.peft_config["default"]
    if set(adapter.adapted_paths(family)) != set(adapted) or (config.r, config.lora_alpha) != (
        settings.rank,
        settings.alpha,
    ):
        raise InputError(
            f"the model came with an adapter of rank {config.r} and alpha {config.lora_alpha} on "
            f"{len(adapter.adapted_paths(family))} layers, where rank {settings.rank} and alpha {settings.alpha} on "
            f"{len(adapted)} are asked for; merge it first with  georefer merge  or ask for the same"
        )
