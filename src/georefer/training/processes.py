"""The processes of a run, alone or many, behind one face: accelerate starts them, the loop never asks which kind.

Three kinds. *Alone*. *Copies* (data parallel): each process holds all weights, and gradients are added up once a step,
by this module and not by torch's wrapper: a step's parts may differ in number and in what they use, a gradient that no
process has stays absent, and any number of parts costs one exchange. *Shards* (FSDP2, DeepSpeed): weights or moments
are spread over the processes; their hooks exchange during each forward and backward pass, so that all processes run
equally many parts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, broadcast
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from georefer.errors import CheckpointError, ConfigError
from georefer.training.optimisers import make_optimiser
from georefer.training.schedule import LoopSettings

Value = TypeVar("Value")

_SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)
_MESSAGE_BYTES = 4096
_BUCKET_NUMBERS = 1 << 24
"""Gradients are exchanged in pieces of so many numbers: few calls, and little memory beside the gradients."""


class Together(nn.ModuleDict):
    """All modules of a run as one, so that whatever wraps it takes part in every computation of a closure."""

    def __init__(
        self, modules: Mapping[str, nn.Module], computing: Callable[[], Any] = nullcontext, is_sharded: bool = False
    ):
        super().__init__(dict(modules))
        self._computing = computing
        self._is_sharded = is_sharded
        # where a sharded model is cut: at the layers that its parts name
        self._no_split_modules = sorted(
            {name for m in self.modules() for name in getattr(m, "_no_split_modules", None) or ()}
            & {type(m).__name__ for m in self.modules()}
        )

    def forward(self, compute: Callable[[], Value]) -> Value:
        with self._computing():
            found = compute()
            if self._is_sharded and torch.is_grad_enabled() and isinstance(found, dict) and found:
                # processes exchange the gradients of what is used, and must agree on what that is
                name = min(found)
                found = {**found, name: found[name] + self._zero()}  # type: ignore[assignment]
        return found

    def _zero(self) -> Tensor:
        """0, from every trained parameter that is whole now: layers are not, but they run in every part."""
        here = [p for p in trained(self).values() if not isinstance(p, DTensor) and p.numel()]
        return torch.stack([p.float().sum() * 0 for p in here]).sum() if here else torch.zeros(())


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are learned, each once, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


@dataclass(eq=False)
class Processes:
    """This process among those of the run; `run` computes, the rest exchanges."""

    accelerator: Accelerator
    together: Together
    wrapped: Callable[..., Any]
    optimiser: torch.optim.Optimizer

    @property
    def rank(self) -> int:
        return self.accelerator.process_index

    @property
    def world(self) -> int:
        return self.accelerator.num_processes

    @property
    def is_main(self) -> bool:
        return self.accelerator.is_main_process

    @property
    def in_step(self) -> bool:
        """Whether all processes must run equally many parts."""
        return self.accelerator.distributed_type in _SHARDED

    @property
    def by_deepspeed(self) -> bool:
        return self.accelerator.distributed_type == DistributedType.DEEPSPEED

    def run(self, compute: Callable[[], Value]) -> Value:
        """`compute()` in the run's precision, with whatever sharding needs around it."""
        return self.wrapped(compute)

    def wait(self) -> None:
        self.accelerator.wait_for_everyone()

    def tell(self, value: Any) -> list[Any]:
        """What each process has to say (small, plain values), in the order of ranks."""
        if self.world == 1:
            return [value]
        said = json.dumps(value).encode()
        if len(said) > _MESSAGE_BYTES:
            raise CheckpointError(
                f"a process has {len(said)} bytes to tell the others at a step, where at most {_MESSAGE_BYTES} are "
                "expected; name fewer losses or scores"
            )
        # JSON in a tensor of fixed size: nothing is unpickled
        page = torch.frombuffer(bytearray(said.ljust(_MESSAGE_BYTES)), dtype=torch.uint8)
        pages = self.accelerator.gather(page[None].to(self.accelerator.device)).cpu()
        return [json.loads(bytes(row.tolist())) for row in pages]

    def total(self, numbers: Tensor) -> Tensor:
        """The sum over all processes."""
        return numbers if self.world == 1 else self.accelerator.reduce(numbers, reduction="sum")

    def backward(self, loss: Tensor, is_last: bool) -> None:
        """Adds the gradients of one part; shards take the mean over processes, where the loop wants the sum."""
        if self.by_deepspeed:
            # DeepSpeed takes its step inside the last backward pass
            self.accelerator.gradient_state._set_sync_gradients(is_last)
        self.accelerator.backward(loss * self.world if self.in_step else loss)

    def collect_gradients(self) -> None:
        """Makes every copy hold the sum of all processes' gradients; a gradient that nobody has stays absent."""
        if self.world == 1 or self.in_step:
            return
        parameters = list(trained(self.together).values())
        has = torch.tensor([p.grad is not None for p in parameters], device=self.accelerator.device)
        used = [p for p, is_used in zip(parameters, self.total(has.int()).tolist(), strict=True) if is_used]
        for parameter in used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets(used):
            flat = torch.cat([p.grad.flatten() for p in bucket])  # type: ignore[union-attr]
            pieces = self.total(flat).split([p.numel() for p in bucket])
            for parameter, piece in zip(bucket, pieces, strict=True):
                parameter.grad.copy_(piece.view_as(parameter))  # type: ignore[union-attr]

    def clip(self, norm: float) -> float:
        """Scales gradients down to `norm` at most; what their norm was (DeepSpeed clips by itself)."""
        parameters = list(self.together.parameters())
        if self.in_step:
            return float(self.accelerator.clip_grad_norm_(parameters, norm) or 0.0)
        return float(torch.nn.utils.clip_grad_norm_(parameters, norm))

    def even_buffers(self) -> None:
        """Gives all processes the mean of running statistics, so that what is saved and judged is one model."""
        if self.world == 1:
            return
        kept = self.together.state_dict(keep_vars=True)
        for name, buffer in self.together.named_buffers():
            if name in kept and buffer.is_floating_point():
                buffer.copy_(self.total(buffer) / self.world)

    def same_start(self) -> None:
        """Gives all copies the weights of the first process: random ones may differ."""
        if self.world == 1 or self.in_step:
            return
        with torch.no_grad():
            for tensor in (*trained(self.together).values(), *self.together.buffers()):
                tensor.copy_(broadcast(tensor.detach().clone()))


def start(modules: Mapping[str, nn.Module], settings: LoopSettings) -> Processes:
    """Puts the modules where they are trained and makes their optimiser, by what `accelerate launch` says."""
    is_sharded = any(os.environ.get(f"ACCELERATE_USE_{kind}", "") == "true" for kind in ("FSDP", "DEEPSPEED"))
    has_gpu = torch.accelerator.is_available()
    accelerator = Accelerator(
        cpu=not has_gpu and not is_sharded,
        mixed_precision=_precision(settings, has_gpu) if is_sharded else "no",
    )
    _expect_all(accelerator, is_sharded)
    is_bf16 = _precision(settings, accelerator.device.type != "cpu") == "bf16"

    def autocast():
        return torch.autocast(accelerator.device.type, torch.bfloat16)

    together = Together(modules, autocast if is_bf16 and not is_sharded else nullcontext, is_sharded)
    if not trained(together):
        raise ConfigError("no parameter is to be trained, where at least one is expected; unfreeze a part of the model")
    for parameter in trained(together).values():
        # steps are far smaller than what bf16 can tell apart: what is learned stays in float32
        parameter.data = parameter.data.float()
    if settings.gradient_checkpointing:
        _checkpoint(modules)
    if settings.compile:
        compile_layers(together)
    if is_sharded:
        return _sharded(accelerator, together, settings)
    _move(modules, accelerator.device)
    return Processes(accelerator, together, together, make_optimiser(trained(together), settings))


def _precision(settings: LoopSettings, is_gpu: bool) -> str:
    chosen = settings.precision if settings.precision != "auto" else "bf16" if is_gpu else "float32"
    return "bf16" if chosen == "bf16" else "no"


def _expect_all(accelerator: Accelerator, is_sharded: bool) -> None:
    if is_sharded and accelerator.distributed_type not in _SHARDED:
        raise ConfigError("FSDP and DeepSpeed are asked for, which need GPUs, where none is found; launch without them")
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if launched != accelerator.num_processes:
        raise ConfigError(
            f"{launched} processes were launched, where this one sees {accelerator.num_processes}, and all would write "
            "the same files; start a new process for each run, by accelerate launch"
        )


def _sharded(accelerator: Accelerator, together: Together, settings: LoopSettings) -> Processes:
    if settings.optimiser == "muon":
        raise ConfigError('optimiser "muon" needs whole matrices, which FSDP and DeepSpeed cut up; use "adamw"')
    if plugin := accelerator.state.deepspeed_plugin:
        plugin.deepspeed_config["gradient_clipping"] = settings.clip_norm
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = 1
    elif not accelerator.is_fsdp2:
        raise ConfigError("the accelerate configuration asks for FSDP version 1; set fsdp_version: 2")
    optimiser = make_optimiser(trained(together), settings)
    wrapped, optimiser = accelerator.prepare(together, optimiser)
    return Processes(accelerator, together, wrapped, optimiser)


def _move(modules: Mapping[str, nn.Module], device: torch.device) -> None:
    for module in modules.values():
        # quantised models are placed when loaded and refuse to be moved
        if any(p.device.type != device.type for p in module.parameters()):
            module.to(device)


def _checkpoint(modules: Mapping[str, nn.Module]) -> None:
    able: list[Any] = [m for m in modules.values() if getattr(m, "supports_gradient_checkpointing", False)]
    if not able:
        raise ConfigError("gradient_checkpointing is set, where the model has no way to do it; leave it out")
    for module in able:
        if hasattr(module, "activation_checkpointing_enable"):
            module.activation_checkpointing_enable({"use_reentrant": False})
        else:  # the name before transformers 5.23
            module.gradient_checkpointing_enable({"use_reentrant": False})


def compile_layers(module: nn.Module) -> int:
    """Compiles, in place, the members of every list of like layers; returns how many.

    Layers and not the whole: they are alike, so that one compilation serves all, and whoever calls them by hand
    (packed rows) gets the compiled ones.
    """
    lists = [m for m in module.modules() if isinstance(m, nn.ModuleList) and len(m) > 1]
    layers = [layer for m in lists for layer in m if len({type(one) for one in m}) == 1]
    inner = {id(below) for layer in layers for below in layer.modules() if below is not layer}
    outermost = [layer for layer in layers if id(layer) not in inner]
    for layer in outermost:
        layer.compile(dynamic=True)
    return len(outermost)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    bucket: list[nn.Parameter] = []
    for parameter in parameters:
        full = sum(p.numel() for p in bucket) + parameter.numel() > _BUCKET_NUMBERS
        if bucket and (full or parameter.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket


@contextmanager
def judging(together: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module is in the mode it was in."""
    modes = {module: module.training for module in together.modules()}
    together.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode
