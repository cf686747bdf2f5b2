"""Answers that several steps learn from, kept until a saved state no longer needs them.

Weights have moved since they were drawn, so a run that stops between those steps could not draw them again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from georefer.errors import CheckpointError
from georefer.models.sampling import Drawn
from georefer.runlog import write_json
from georefer.training.prompts import Prompts
from georefer.training.rollouts import Place, Rollout

Kept = tuple[tuple[int, ...], tuple[Rollout, ...]]
"""Numbers of the scenes of a micro-batch, and the answers to its questions."""


@dataclass(frozen=True)
class RolloutStore:
    """The batches of answers of one of `world` processes under `folder`/rollouts; none where a step has its own.

    A file each, which other numbers of processes can go on from.
    """

    folder: Path
    updates: int
    rank: int
    world: int = 1

    def write(self, number: int, micros: Sequence[Kept]) -> None:
        """Keeps batch `number`, and drops those that no saved state goes on from."""
        if self.updates == 1:
            return
        path = self._path(number, self.rank, self.world)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, [{"scenes": scenes, "rollouts": list(map(_plain, some))} for scenes, some in micros])
        oldest = saved_step(self.folder) // self.updates
        for old in path.parent.glob("[0-9]*.json") if not self.rank else ():
            if int(old.stem.partition("-")[0]) < oldest:
                old.unlink()

    def read(self, number: int, prompts: Sequence[Prompts]) -> list[Kept]:
        """What this process kept, to the last bit, or its share of what another number of them did.

        CheckpointError where it is gone.
        """
        world = self._drawn_by(number)
        if world == self.world:
            return _read(self._path(number, self.rank, world), prompts)
        kept = [micro for rank in range(world) for micro in _read(self._path(number, rank, world), prompts)]
        return kept[self.rank :: self.world]

    def _drawn_by(self, number: int) -> int:
        """By how many processes a batch was drawn, as all find alike; not those of whom some were killed before."""
        begun = self._path(number, 0, 0).parent.glob(f"{number:08}-0-of-*.json")
        worlds = [int(path.stem.rpartition("-")[2]) for path in begun]
        whole = [w for w in worlds if all(self._path(number, rank, w).is_file() for rank in range(w))]
        return self.world if self.world in whole else min(whole, default=self.world)

    def _path(self, number: int, rank: int, world: int) -> Path:
        return self.folder / "rollouts" / f"{number:08}-{rank}-of-{world}.json"


def _read(path: Path, prompts: Sequence[Prompts]) -> list[Kept]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return [
            (tuple(m["scenes"]), tuple(_rollout(one, [prompts[n] for n in m["scenes"]]) for one in m["rollouts"]))
            for m in plain
        ]
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise CheckpointError(
            f"{path} does not hold the answers that the saved step learns from ({error}); begin in another folder"
        ) from error


def saved_step(folder: Path) -> int:
    """The step at which a run would go on; 0 where nothing is saved."""
    try:
        return int(json.loads((folder / "state" / "state.json").read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError):
        return 0


def _plain(rollout: Rollout) -> dict[str, Any]:
    return {
        "place": asdict(rollout.place), "answers": [asdict(drawn) for drawn in rollout.answers],
        "texts": rollout.texts, "earned": rollout.earned_GK.tolist(), "total": rollout.total_G.tolist(),
        "advantage": rollout.advantage_G.tolist(), "equal": rollout.is_equal, "reference": rollout.reference,
    }  # fmt: skip


def _rollout(plain: dict[str, Any], prompts: Sequence[Prompts]) -> Rollout:
    place = Place(**plain["place"])
    answers = tuple(Drawn(tuple(a["ids"]), tuple(a["logprobs"]), a["is_cut"]) for a in plain["answers"])
    return Rollout(
        place, prompts[place.image].asked[place.question], answers, tuple(plain["texts"]),
        np.array(plain["earned"], np.float64), np.array(plain["total"]), np.array(plain["advantage"]), plain["equal"],
        tuple(map(tuple, plain["reference"])),
    )  # fmt: skip
