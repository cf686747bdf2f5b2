"""What a killed run goes on from, bit by bit: trained weights, buffers, moments and the step; nothing is pickled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from georefer.errors import CheckpointError
from georefer.runlog import swap_folder
from georefer.training.processes import Processes, trained
from georefer.training.zero import gathered, pieces, restore


@dataclass(frozen=True)
class Standing:
    """How far a run is, and its best validation so far."""

    step: int = 0
    minutes: float = 0.0
    validated: int = 0
    """The step that was validated last."""
    best_score: float | None = None
    best_step: int | None = None


@dataclass
class State:
    """The state folder: `state.safetensors` (module/NAME, optimiser/NAME/MOMENT) and `state.json`.

    Frozen weights are not in it: they are those the run started from, which `identity` must tell apart. The file is
    the same however many processes wrote it, sharded or not; DeepSpeed alone has a file for each process, for as many
    of them. All processes call; the first one writes.
    """

    folder: Path
    processes: Processes
    identity: Mapping[str, Any] = field(default_factory=dict)

    def save(self, standing: Standing) -> None:
        """Written beside, then swapped in; a kill leaves the old state or the new one."""
        self.processes.even_buffers()
        partial = self.folder.with_name(f"{self.folder.name}.partial")
        if self.processes.is_main:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self.processes.wait()
        tensors = self._tensors()
        if tensors:
            save_file(tensors, partial / self._file)
        self.processes.wait()
        if self.processes.is_main:
            values = {**vars(standing), "identity": self.identity}
            (partial / "state.json").write_text(json.dumps(values, indent=1, default=str), encoding="utf-8")
            swap_folder(partial, self.folder)
        self.processes.wait()

    def load(self) -> Standing:
        """Where to go on from: the beginning where there is no state yet."""
        if self.processes.is_main:
            recover(self.folder)
        self.processes.wait()
        if not self.folder.exists():
            return Standing()
        try:
            values = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
            self._refuse_others(values.pop("identity"))
            standing = Standing(**values)
            if self.processes.by_deepspeed:
                restore(self.processes, load_file(self.folder / self._file))
            else:
                with safe_open(self.folder / self._file, framework="pt") as file:
                    self._restore(file)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise CheckpointError(
                f"{self.folder} is damaged ({error}); remove the run folder and train again"
            ) from error
        return standing

    @property
    def _file(self) -> str:
        processes = self.processes
        return (
            f"piece-{processes.rank}-of-{processes.world}.safetensors"
            if processes.by_deepspeed
            else "state.safetensors"
        )

    def _tensors(self) -> dict[str, Tensor]:
        """What this process writes: everything in the first one, nothing in others, or its piece under DeepSpeed."""
        if self.processes.by_deepspeed:
            return {name: _alone(tensor).clone() for name, tensor in pieces(self.processes).items()}
        return dict(self._whole())

    def _refuse_others(self, theirs: Mapping[str, Any]) -> None:
        ours = json.loads(json.dumps(self.identity, default=str))
        if different := sorted(k for k in {*ours, *theirs} if ours.get(k) != theirs.get(k)):
            raise CheckpointError(
                f"{self.folder} was made with different {', '.join(different)}; continue with the same recipe and "
                "data, or choose another output folder"
            )

    def _whole(self) -> Iterator[tuple[str, Tensor]]:
        """All tensors of the state, whole and on the CPU; only the first process keeps them."""
        for name, tensor in self._places():
            value = whole(tensor)
            if self.processes.is_main:
                yield name, _alone(value)
        for name, moments in self._moments().items():
            for key, moment in moments.items():
                value = whole(moment)
                if self.processes.is_main:
                    yield f"optimiser/{name}/{key}", _alone(value)

    def _places(self) -> Iterator[tuple[str, Tensor]]:
        """Trained parameters, and the buffers that a checkpoint of the modules would hold."""
        together = self.processes.together
        for name, parameter in trained(together).items():
            yield f"module/{name}", parameter.detach()
        kept = together.state_dict(keep_vars=True).keys()
        yield from ((f"module/{name}", buffer) for name, buffer in together.named_buffers() if name in kept)

    def _moments(self) -> dict[str, dict[str, Tensor]]:
        by_parameter = self.processes.optimiser.state
        found = {name: by_parameter.get(p, {}) for name, p in trained(self.processes.together).items()}
        return {name: dict(moments) for name, moments in found.items() if moments}

    def _restore(self, file: Any) -> None:
        places = dict(self._places())
        names = set(file.keys())
        in_file = {name for name in names if name.startswith("module/")}
        if different := sorted(in_file ^ places.keys()):
            raise ValueError(f"it holds other tensors than the model trains, such as {different[0]}")
        for name, place in places.items():
            value = file.get_tensor(name)
            if value.shape != place.shape or value.dtype != place.dtype:
                raise ValueError(
                    f"{name} is {value.dtype} {tuple(value.shape)}, expected {place.dtype} {tuple(place.shape)}"
                )
            place.copy_(_like(value, place))
        parameters = trained(self.processes.together)
        for name in sorted(names - in_file):
            _, owner, key = name.split("/")
            moments = self.processes.optimiser.state[parameters[owner]]
            moments[key] = _moment(file.get_tensor(name), parameters[owner])


def recover(folder: Path) -> None:
    """Takes back the old folder where a run was killed between the two renames of `swap_folder`."""
    old = folder.with_name(f"{folder.name}.old")
    if not folder.exists() and old.exists():
        old.rename(folder)


def whole(tensor: Tensor) -> Tensor:
    """The tensor as one piece; all processes that hold a shard take part."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _alone(tensor: Tensor) -> Tensor:
    """On the CPU, in memory of its own: safetensors refuses tensors that share some."""
    shares = tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size()
    return (tensor.detach().clone() if shares else tensor.detach()).cpu().contiguous()


def _like(value: Tensor, place: Tensor) -> Tensor:
    if isinstance(place, DTensor):
        return distribute_tensor(value.to(place.device), place.device_mesh, place.placements)
    return value.to(place.device)


def _moment(value: Tensor, parameter: nn.Parameter) -> Tensor:
    # a count of steps is a scalar that optimisers keep on the CPU
    return value if value.ndim == 0 and parameter.ndim else _like(value, parameter.detach())


@contextmanager
def whole_weights(processes: Processes) -> Iterator[None]:
    """Inside, the modules of the first process hold whole weights, so that they can be saved in their own format."""
    if processes.by_deepspeed:
        with gathered(processes.together):
            yield
        return
    taken = make_whole(processes)
    try:
        yield
    finally:
        for module, name, parameter in taken:
            module._parameters[name] = parameter


def make_whole(processes: Processes) -> list[tuple[nn.Module, str, nn.Parameter]]:
    """Puts whole weights on the CPU in the place of shards, in the first process; returns what stood where."""
    if processes.by_deepspeed:
        gathered(processes.together).__enter__()
        return []
    taken: list[tuple[nn.Module, str, nn.Parameter]] = [
        (module, name, parameter)
        for module in processes.together.modules()
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False)
        if isinstance(parameter, DTensor)
    ]
    for module, name, parameter in taken:
        value = whole(parameter)
        if processes.is_main:
            module._parameters[name] = nn.Parameter(value.detach().cpu(), parameter.requires_grad)
    return taken
