"""A small run that any number of processes must end alike; also a script, for `accelerate launch`.

python many_processes.py FOLDER STEPS [DIE_AT_STEP]
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from georefer.training.loop import LoopSettings, Part, Progress, Work, train

ROWS = 7
"""Rows of a step: an odd number, so that two processes never have as much to do."""


class Block(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.mix = nn.Linear(width, width)

    def forward(self, x_NW: Tensor) -> Tensor:
        return x_NW + torch.tanh(self.mix(x_NW))


class Net(nn.Module):
    """Two like layers, a frozen input, and a side branch that only some steps use."""

    _no_split_modules = ["Block"]

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
        (torch.randn(n, 3, generator=random), torch.randint(5, (n,), generator=random), step % every == 0 and i % 2 == 0)
        for i, n in enumerate(sizes)
    ]


def step_of(net: Net, part_rows: int = 2, every: int = 3):
    """Rows are shared out by rank and cut into parts: of two processes only the first has side losses."""

    def sums(cut: list[Row]) -> dict[str, Tensor]:
        answers = [F.cross_entropy(net.head(net(x)), y, reduction="sum") for x, y, _ in cut]
        side = [net.side(net(x)).square().sum() for x, _, has_side in cut if has_side]
        return {"answers": torch.stack(answers).sum(), **({"side": torch.stack(side).sum()} if side else {})}

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


def run(folder: Path, steps: int, die_at: int | None = None, part_rows: int = 2, every: int = 3) -> Progress:
    modules = make()
    net = modules["net"]
    inner = step_of(net, part_rows, every)

    def step(at: Progress) -> Work:
        if at.step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(at)

    def validate() -> dict[str, float]:
        x = torch.linspace(-1, 1, 30).view(10, 3)
        return {"score": float(net.head(net(x)).softmax(1).max(1).values.mean())}

    def save_best(into: Path) -> None:
        save_file({name: p.detach().clone().contiguous() for name, p in net.named_parameters()}, into / "net.safetensors")

    end = train(modules, step, settings(steps), folder, {"data": "made up"}, validate, save_best)
    if end.rank == 0:
        save_best(folder)
    return end


def main() -> None:
    folder, steps = Path(sys.argv[1]), int(sys.argv[2])
    die_at = int(sys.argv[3]) if len(sys.argv) > 3 else None
    torch.set_num_threads(1)
    written: list[str] = []

    def audit(event: str, arguments: tuple) -> None:
        if event == "open" and str(folder) in str(arguments[0]) and arguments[1] and set(arguments[1]) & set("wax+"):
            written.append(str(arguments[0]))
        if event in ("os.rename", "os.mkdir") and str(folder) in str(arguments[0]):
            written.append(f"{event} {arguments[0]}")

    sys.addaudithook(audit)
    # sharded, what no process uses still takes a step without a gradient: let some use everything at each
    is_sharded = "ACCELERATE_USE_FSDP" in os.environ or "ACCELERATE_USE_DEEPSPEED" in os.environ
    end = run(folder, steps, die_at, every=1 if is_sharded else 3)
    print(json.dumps({"rank": end.rank, "world": end.world, "written": written}), flush=True)


if __name__ == "__main__":
    main()
