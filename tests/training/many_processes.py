"""A small run that any number of processes must end alike; also a script, for `accelerate launch`.

python many_processes.py FOLDER STEPS
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from georefer.training.loop import LoopSettings, Part, Progress, Work, train

ROWS = 7
"""Rows of a step: an odd number, so that two processes never have as much to do."""


class Stopped(Exception):
    """A run broke off."""


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.mix = nn.Linear(width, width)

    def forward(self, x_NW: Tensor) -> Tensor:
        return x_NW + torch.tanh(self.mix(x_NW))


class Net(nn.Module):
    """Two like layers, a frozen input, and a side branch that only some steps use."""

    _no_split_modules = ("Block",)

    def __init__(self) -> None:
        super().__init__()
        self.given = nn.Linear(3, 8).requires_grad_(False)
        self.blocks = nn.ModuleList(Block(8) for _ in range(2))
        self.head = nn.Linear(8, 5)
        self.side = nn.Linear(8, 2)

    def forward(self, x_N3: Tensor) -> Tensor:
        x_NW = self.given(x_N3)
        for block in self.blocks:
            x_NW = block(x_NW)
        return x_NW


def make() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {"net": Net()}


Row = tuple[Tensor, Tensor, bool]
"""Inputs (n, 3), classes (n), and whether the side branch learns from it."""


def rows_of(step: int, rows: int, every: int) -> list[Row]:
    """Rows of a step, each of another number of terms; some steps the even ones have the side loss too."""
    random = torch.Generator().manual_seed(step)
    sizes = torch.randint(1, 9, (rows,), generator=random).tolist()
    return [
        (
            torch.randn(n, 3, generator=random),
            torch.randint(5, (n,), generator=random),
            step % every == 0 and i % 2 == 0,
        )
        for i, n in enumerate(sizes)
    ]


def step_of(net: Net, part_rows: int = 2, every: int = 3):
    """Rows are shared out by rank and cut into parts: of two processes only the first has side losses."""

    def sums(cut: list[Row]) -> dict[str, Tensor]:
        # the layers run once a part: shards exchange at each call, so that calls must be as many everywhere
        hidden_NW = net(torch.cat([x for x, _, _ in cut]))
        of_side_N = torch.cat([torch.full(y.shape, has_side) for _, y, has_side in cut])
        answers = F.cross_entropy(net.head(hidden_NW), torch.cat([y for _, y, _ in cut]), reduction="sum")
        side = {"side": net.side(hidden_NW[of_side_N]).square().sum()} if of_side_N.any() else {}
        return {"answers": answers, **side}

    def part(cut: list[Row]) -> Part:
        side = float(sum(len(y) for _, y, has_side in cut if has_side))
        counts = {"answers": float(sum(len(y) for _, y, _ in cut)), **({"side": side} if side else {})}
        return Part(counts, lambda: sums(cut))

    def step(at: Progress) -> Work:
        mine = rows_of(at.step, ROWS, every)[at.rank :: at.world]
        return Work([part(mine[i : i + part_rows]) for i in range(0, len(mine), part_rows)], {"side": 0.5})

    return step


def settings(steps: int) -> LoopSettings:
    return LoopSettings(
        steps=steps, learning_rate=0.02, warmup_steps=3, save_every=10, metrics_every=1, validate_every=5,
        precision="float32", clip_norm=0.5,
    )  # fmt: skip


def run(folder: Path, steps: int, stop_at: int | None = None, part_rows: int = 2, every: int = 3) -> Progress:
    modules = make()
    net = modules["net"]
    inner = step_of(net, part_rows, every)

    def step(at: Progress) -> Work:
        if at.step == stop_at:
            raise Stopped
        return inner(at)

    def validate() -> dict[str, float]:
        x = torch.linspace(-1, 1, 30).view(10, 3)
        return {"score": float(net.head(net(x)).softmax(1).max(1).values.mean())}

    def save_best(into: Path) -> None:
        save_file(
            {name: p.detach().clone().contiguous() for name, p in net.named_parameters()}, into / "net.safetensors"
        )

    end = train(modules, step, settings(steps), folder, {"data": "made up"}, validate, save_best)
    if end.rank == 0:
        save_best(folder)
    return end


def shard_on_cpu() -> None:
    """Lets accelerate, which offers shards on GPUs alone, start them by gloo: torch has them on a CPU too."""

    def set_device(self: PartialState) -> None:
        self.device = torch.device("cpu")

    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    PartialState.set_device = set_device


def main() -> None:
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    written: list[str] = []

    def audit(event: str, arguments: tuple) -> None:
        if event == "open" and str(folder) in str(arguments[0]) and arguments[1] and set(arguments[1]) & set("wax+"):
            written.append(str(arguments[0]))
        if event in ("os.rename", "os.mkdir") and str(folder) in str(arguments[0]):
            written.append(f"{event} {arguments[0]}")

    sys.addaudithook(audit)
    if "FSDP_VERSION" in os.environ and not torch.accelerator.is_available():
        shard_on_cpu()
    # sharded, what no process uses still takes a step without a gradient: let some use everything at each
    is_sharded = "ACCELERATE_USE_FSDP" in os.environ or "ACCELERATE_USE_DEEPSPEED" in os.environ
    end = run(folder, steps, every=1 if is_sharded else 3)
    # in one write: both processes share this stream
    os.write(1, (json.dumps({"rank": end.rank, "world": end.world, "written": written}) + "\n").encode())


if __name__ == "__main__":
    main()
