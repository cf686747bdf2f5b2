"""What DeepSpeed holds of a run: flat pieces of weights and moments, another one in each process.

DeepSpeed's own checkpoints are pickled, and its interface to single moments works only after a first step; the pieces
themselves are plain tensors, which go on bitwise in as many processes as wrote them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from georefer.training.processes import Processes, trained


def pieces(processes: Processes) -> dict[str, Tensor]:
    """This process's piece of the state by name; each is the tensor in use, so that copying into it restores it."""
    found = {f"flat/{n}": flat.detach() for n, flat in enumerate(_flats(processes))}
    for name, parameter in trained(processes.together).items():
        found[f"module/{name}"] = getattr(parameter, "ds_tensor", parameter).detach()
    found.update({f"buffer/{name}": buffer for name, buffer in processes.together.named_buffers()})
    for n, flat in enumerate(_flats(processes)):
        moments = _zero(processes).optimizer.state.get(flat, {})
        found.update({f"moment/{n}/{key}": value for key, value in moments.items()})
    return found


def restore(processes: Processes, saved: dict[str, Tensor]) -> None:
    """Puts back what `pieces` gave; ValueError where the pieces are of another run."""
    here = {name: tensor for name, tensor in pieces(processes).items() if not name.startswith("moment/")}
    for name, place in here.items():
        if name not in saved or saved[name].shape != place.shape:
            raise ValueError(f"{name} is not there, or of another size")
        place.copy_(saved[name])
    flats, state = _flats(processes), _zero(processes).optimizer.state
    for name in saved.keys() - here.keys():
        _, number, key = name.split("/")
        flat = flats[int(number)]
        # a count of steps is a scalar that optimisers keep on the CPU
        state[flat][key] = saved[name].to(flat.device) if saved[name].ndim else saved[name]


def gathered(module: nn.Module) -> AbstractContextManager[Any]:
    """Inside, every process holds whole weights."""
    from deepspeed.runtime.zero import GatheredParameters

    return GatheredParameters([p for p in module.parameters() if hasattr(p, "ds_id")])


def _zero(processes: Processes) -> Any:
    wrapper: Any = processes.optimiser
    return wrapper.optimizer


def _flats(processes: Processes) -> list[torch.Tensor]:
    zero = _zero(processes)
    flats = getattr(zero, "fp32_partitioned_groups_flat", None)  # stage 3
    return list(zero.single_partition_of_fp32_groups if flats is None else flats)
