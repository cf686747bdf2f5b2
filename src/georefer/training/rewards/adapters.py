"""The rewards as other trainers call them: TRL, ms-swift, verl, EasyR1, VLM-R1.

Each takes the truth from where that trainer carries it, by default a text that `Truth.to_json` wrote: a column "truth"
of the dataset (TRL, ms-swift, VLM-R1) or the ground truth (verl, EasyR1). EasyR1 and TRL hand over no image sizes;
the truth holds the frame. Give `truth_of` to make one of your own columns. No trainer is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from georefer.errors import InputError
from georefer.training.rewards.base import Guarded, Reward, Truth, answers_of

COLUMN = "truth"

TruthOf = Callable[[Mapping[str, Any]], Truth]
"""Makes the truth of one row of columns."""


def truth_of_column(row: Mapping[str, Any]) -> Truth:
    """The truth in the column "truth"."""
    return Truth.from_json(row[COLUMN])


def text_of(completion: Any) -> str:
    """What a completion says: a text as it is, of messages the last one's text parts; InputError for anything else."""
    said = completion
    if isinstance(said, Sequence) and not isinstance(said, str) and said and isinstance(said[-1], Mapping):
        said = said[-1].get("content")
    if isinstance(said, Sequence) and not isinstance(said, str):
        parts = [part.get("text") for part in said if isinstance(part, Mapping) and part.get("type") == "text"]
        said = "".join(part for part in parts if isinstance(part, str)) if parts else None
    if said is None or not isinstance(said, str):
        raise InputError(
            f"the completion {str(completion)[:80]!r} was found, and a text or a list of messages was expected; give "
            "the trainer's completions as they come"
        )
    return said


def check_columns(columns: Sequence[str], needed: Sequence[str] = (COLUMN,)) -> None:
    """InputError where a dataset lacks a column that rewards need; call it with `dataset.column_names` before a run."""
    if missing := [name for name in needed if name not in columns]:
        raise InputError(
            f"the dataset has the columns {', '.join(columns) or 'none'}, and {', '.join(missing)} is needed by its "
            "rewards; add it (Truth.to_json) or give truth_of"
        )


class Grouped:
    """TRL's call, and VLM-R1's: (prompts, completions, **columns) -> a value or None for each completion.

    Every column is a list as long as the completions; what else comes by name (completion_ids, trainer_state,
    log_metric, image_grid_thw, ...) is passed over. A NaN of a guarded reward is handed on as None, which TRL leaves
    out. `__name__` is what TRL logs.
    """

    def __init__(self, reward: Reward | Guarded, *, truth_of: TruthOf = truth_of_column) -> None:
        self.reward, self.truth_of = reward, truth_of
        self.__name__ = (reward.reward if isinstance(reward, Guarded) else reward).name

    def __call__(self, prompts: Any = None, completions: Any = None, **columns: Any) -> list[float | None]:
        if completions is None:
            raise InputError(f"the reward {self.__name__} was called without completions; pass them by name")
        count = len(completions)
        lists = {name: of for name, of in columns.items() if isinstance(of, list | tuple) and len(of) == count}
        if self.truth_of is truth_of_column:
            check_columns(list(lists))
        rows = [{name: of[i] for name, of in lists.items()} for i in range(count)]
        truths = [self.truth_of(row) for row in rows]
        values = self.reward.of(answers_of([text_of(c) for c in completions], truths), truths)
        return [None if value != value else value for value in values.tolist()]


def for_trl(reward: Reward | Guarded, *, truth_of: TruthOf = truth_of_column) -> Grouped:
    """A function for GRPOTrainer's `reward_funcs`."""
    return Grouped(reward, truth_of=truth_of)


def for_vlm_r1(reward: Reward | Guarded, *, truth_of: TruthOf = truth_of_column) -> Callable[..., list[float]]:
    """A function for VLM-R1's registry of rewards: (completions, solution, **kwargs) -> list; NaN counts 0 there.

    Without a column "truth" the solution is taken for it.
    """
    call = Grouped(reward, truth_of=truth_of)

    def vlm_r1(completions: Any, solution: Any = None, **kwargs: Any) -> list[float]:
        given = {COLUMN: solution} if COLUMN not in kwargs and solution is not None else {}
        return [value or 0.0 for value in call(completions=completions, solution=solution, **given, **kwargs)]

    vlm_r1.__name__ = call.__name__
    return vlm_r1


def for_swift(reward: Reward | Guarded, *, truth_of: TruthOf = truth_of_column) -> type:
    """A class for ms-swift's table of outcome rewards `orms`: made once, then called (completions, **columns).

    It is no subclass of theirs: `orms["georefer"] = for_swift(reward)` in a plugin file. None marks a row of another
    task there, and stays.
    """

    class GeoreferReward:
        def __init__(self, *_: Any, **__: Any) -> None:
            self.call = Grouped(reward, truth_of=truth_of)

        def __call__(self, completions: Any, **columns: Any) -> list[float | None]:
            return self.call(completions=completions, **columns)

    return GeoreferReward


def for_verl(reward: Reward | Guarded, *, truth_of: TruthOf = truth_of_column) -> Callable[..., dict[str, float]]:
    """`compute_score` for verl: (data_source, solution_str, ground_truth, extra_info) -> {"score": ...}.

    The row given to `truth_of` holds the ground truth as "truth", "data_source", and what is in `extra_info`.
    """

    def compute_score(
        data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **_: Any
    ) -> dict[str, float]:
        row = {**(extra_info or {}), "data_source": data_source}
        return {"score": _value(reward, solution_str, {COLUMN: ground_truth, **row}, truth_of)}

    return compute_score


def for_easyr1(
    rewards: Mapping[str, float], table: Mapping[str, Reward], *, truth_of: TruthOf = truth_of_column
) -> Callable[[list[dict[str, Any]]], list[dict[str, float]]]:
    """`compute_score` for EasyR1's batches: rows of response and ground_truth -> {"overall": weighted sum, name: ...}.

    `rewards` are weights by name in `table`.
    """

    def compute_score(reward_inputs: list[dict[str, Any]], **_: Any) -> list[dict[str, float]]:
        for row in reward_inputs:
            check_columns(list(row), ("response", "ground_truth"))
        truths = [truth_of({**row, COLUMN: row["ground_truth"]}) for row in reward_inputs]
        answers = answers_of([row["response"] for row in reward_inputs], truths)
        values = {name: table[name].of(answers, truths).tolist() for name in rewards}
        return [
            {"overall": sum(weight * values[name][i] for name, weight in rewards.items())}
            | {name: of[i] for name, of in values.items()}
            for i in range(len(answers))
        ]

    return compute_score


def _value(reward: Reward | Guarded, text: str, row: Mapping[str, Any], truth_of: TruthOf) -> float:
    truth = truth_of(row)
    return float(reward.of([text], [truth])[0])
