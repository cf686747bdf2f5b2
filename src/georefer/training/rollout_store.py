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
    """The batches of answers of one process under `folder`/rollouts, a file each; none where a step has its own."""

    folder: Path
    updates: int
    rank: int

    def write(self, number: int, micros: Sequence[Kept]) -> None:
        """Keeps batch `number`, and drops those that no saved state goes on from."""
        if self.updates == 1:
            return
        self._path(number).parent.mkdir(parents=True, exist_ok=True)
        write_json(
            self._path(number), [{"scenes": scenes, "rollouts": list(map(_plain, some))} for scenes, some in micros]
        )
        oldest = self._saved_step() // self.updates
        for path in self._path(number).parent.glob(f"*-{self.rank}.json"):
            if int(path.stem.partition("-")[0]) < oldest:
                path.unlink()

    def read(self, number: int, prompts: Sequence[Prompts]) -> list[Kept]:
        """What was kept, to the last bit; CheckpointError where it is gone."""
        path = self._path(number)
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            return [
                (tuple(m["scenes"]), tuple(_rollout(one, [prompts[n] for n in m["scenes"]]) for one in m["rollouts"]))
                for m in plain
            ]
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise CheckpointError(
                f"{path} does not hold the answers that the saved step learns from ({error}); go on with as many "
                "processes as before, or begin in another folder"
            ) from error

    def _path(self, number: int) -> Path:
        return self.folder / "rollouts" / f"{number:08}-{self.rank}.json"

    def _saved_step(self) -> int:
        try:
            return int(json.loads((self.folder / "state" / "state.json").read_text(encoding="utf-8"))["step"])
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
