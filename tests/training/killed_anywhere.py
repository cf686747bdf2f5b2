"""Kills a small run at each of its file operations in turn, and lets it go on; a script, as it forks.

python killed_anywhere.py FOLDER: prints how many kills there were, and at which a run ended otherwise.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import many_processes
import torch

STEPS = 5
EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir")


def watch(folder: Path, act: Callable[[int], None]) -> None:
    """Calls `act` with the number of each operation that changes something in the folder, before it happens."""
    seen = 0

    def audit(event: str, arguments: tuple) -> None:
        nonlocal seen
        if event not in EVENTS or not arguments or "metrics" in str(arguments[0]):
            return
        in_folder = str(folder) in str(arguments[0]) or event in ("os.remove", "os.rmdir")
        if in_folder and (event != "open" or set(str(arguments[1])) & set("wax+")):
            seen += 1
            act(seen)

    sys.addaudithook(audit)


def child(folder: Path, act: Callable[[int], None]) -> None:
    """The run in a process of its own, to its end or to its kill."""
    if pid := os.fork():
        os.waitpid(pid, 0)
        return
    watch(folder, act)
    many_processes.run(folder, STEPS)
    os._exit(0)


def ending(folder: Path) -> tuple[bytes, bytes, list[str]]:
    """Weights, moments and best model as bytes, and the folders there are."""
    parts = [folder / name for name in ("state/state.safetensors", "best/net.safetensors")]
    return parts[0].read_bytes(), parts[1].read_bytes(), sorted(p.name for p in folder.iterdir() if p.is_dir())


def main() -> None:
    root = Path(sys.argv[1])
    torch.set_num_threads(1)
    plain = many_processes.settings(STEPS)
    many_processes.settings = lambda steps: replace(plain, save_every=2, validate_every=2)

    counted = root / "counted"

    def count(number: int) -> None:
        (root / "count").write_text(str(number))

    many_processes.run(root / "whole", STEPS)
    child(counted, count)
    kills = int((root / "count").read_text())
    expected = ending(root / "whole")
    wrong = []
    for at in range(1, kills + 1):
        folder = root / f"killed-{at}"
        child(folder, lambda number, at=at: os.kill(os.getpid(), signal.SIGKILL) if number == at else None)
        child(folder, lambda number: None)
        if ending(folder) != expected:
            wrong.append(at)
    print(json.dumps({"kills": kills, "wrong": wrong}))


if __name__ == "__main__":
    main()
