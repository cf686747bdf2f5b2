"""A small run that any number of processes must end alike; also a script, for `accelerate launch`.

python many_processes.py FOLDER STEPS [--die-at STEP]
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


def step_of(net: Net, part_rows: int = 2, even: bool = False):
    """Rows are shared out by rank and cut into parts; every row has another number of terms."""

    def sums(rows: list[tuple[Tensor, Tensor]], with_side: bool):
        hidden = net(torch.cat([x for x, _ in rows]))
        found = {"answers": F.cross_entropy(net.head(hidden), torch.cat([y for _, y in rows]), reduction="sum")}
        return found | ({"side": net.side(hidden).square().sum()} if with_side else {})

    def step(at: Progress) -> Work:
        random = torch.Generator().manual_seed(at.step)
        sizes = torch.randint(1, 9, (ROWS + even,), generator=random).tolist()
        rows = [(torch.randn(n, 3, generator=random), torch.randint(5, (n,), generator=random)) for n in sizes]
        mine = rows[at.rank :: at.world]
        cuts = [mine[i : i + part_rows] for i in range(0, len(mine), part_rows)]
        # the side branch runs every third step only; under copies in the first process's parts only
        with_side = at.step % 3 == 0 and (even or at.rank == 0)
        parts = []
        for cut in cuts:
            terms = float(sum(len(y) for _, y in cut))
            counts = {"answers": terms, **({"side": terms} if with_side else {})}
            parts.append(Part(counts, lambda cut=cut: sums(cut, with_side)))
        return Work(parts, {"side": 0.5})

    return step


def settings(steps: int) -> LoopSettings:
    return LoopSettings(
        steps=steps, learning_rate=0.02, warmup_steps=3, save_every=10, metrics_every=1, validate_every=5,
        precision="float32", clip_norm=0.5,
    )  # fmt: skip


def run(folder: Path, steps: int, die_at: int | None = None, even: bool = False) -> Progress:
    modules = make()
    net = modules["net"]
    inner = step_of(net, even=even)

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
    die_at = int(sys.argv[4]) if "--die-at" in sys.argv else None
    torch.set_num_threads(1)
    written: list[str] = []

    def audit(event: str, arguments: tuple) -> None:
        if event == "open" and str(folder) in str(arguments[0]) and arguments[1] and set(arguments[1]) & set("wax+"):
            written.append(str(arguments[0]))
        if event in ("os.rename", "os.mkdir") and str(folder) in str(arguments[0]):
            written.append(f"{event} {arguments[0]}")

    folder.mkdir(parents=True, exist_ok=True)
    sys.addaudithook(audit)
    even = "ACCELERATE_USE_FSDP" in os.environ or "ACCELERATE_USE_DEEPSPEED" in os.environ
    end = run(folder, steps, die_at, even)
    print(json.dumps({"rank": end.rank, "world": end.world, "written": written}), flush=True)


if __name__ == "__main__":
    main()
