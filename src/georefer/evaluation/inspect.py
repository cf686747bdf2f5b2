"""A page of a dataset as it is learned: pictures as a model sees them, texts as their tokens, counts and drops."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from georefer.dialects import DIALECTS
from georefer.errors import InputError, MissingExtra
from georefer.evaluation.inspect_counts import histograms
from georefer.evaluation.inspect_drops import examples, plain_lines, registration, tables
from georefer.evaluation.inspect_scene import Card, card
from georefer.evaluation.inspect_seen import DialectSight, ModelSight, Sight
from georefer.evaluation.inspect_tables import ids_at, questions_about, scenes_at, spread
from georefer.models import load_model
from georefer.runlog import written_beside
from georefer.scenes import Dataset
from georefer.tasks import TASKS

SHIPPED_MODEL = "tiny-synthetic"


@dataclass(frozen=True)
class Inspection:
    """A page and what it found: of `compared` answers, `differing` do not say what the dataset holds."""

    page: str
    scenes: int
    compared: int
    differing: int
    unsaid: int


def sight_of(model: str | Path | None = None, dialect: str | None = None) -> tuple[Sight, str]:
    """How a dataset is looked at, and a remark where that is less than was to be expected.

    A model is a folder or the name of a shipped one, which is the default; with a dialect there is none. Where the
    packages that models need are missing and no model was named, the project's own dialect stands for it.
    """
    if dialect is not None:
        if model is not None:
            raise InputError(f"the model {model} and the dialect {dialect} are both given; a model brings its own")
        if dialect not in DIALECTS:
            raise InputError(f"there is no dialect '{dialect}'; choose among {', '.join(DIALECTS)}")
        return DialectSight(DIALECTS[dialect]), ""
    try:
        return ModelSight(load_model(model or SHIPPED_MODEL)), ""
    except MissingExtra as missing:
        if model is not None:
            raise
        return DialectSight(DIALECTS["georefer"]), str(missing)


def inspect(
    dataset: Dataset, split: str, scenes: int = 24, *, tasks: Sequence[str] = (), sight: Sight, remark: str = ""
) -> Inspection:
    """The page, in memory: at most `scenes` scenes spread over the split (of those asked `tasks`, if named)."""
    if unknown := [task for task in tasks if task not in TASKS]:
        raise InputError(f"there is no task '{unknown[0]}'; choose among {', '.join(TASKS)}")
    if scenes < 0:
        raise InputError(f"{scenes} scenes were asked for; give 0 or more")
    rows = spread(dataset, split, scenes, tasks)
    asked = questions_about(dataset, split, ids_at(dataset, split, rows), tasks)
    cards = [card(scene, asked.get(scene.id, []), sight) for scene in scenes_at(dataset, split, rows)]
    shown = [question for each in cards for question in each.asked]
    compared = [question for question in shown if not question.unsaid]
    differing, unsaid = sum(bool(q.differs) for q in compared), len(shown) - len(compared)
    page = _environment().get_template("inspect.html").render(
        name=dataset.folder.resolve().name, split=split, total=dataset.manifest["splits"][split]["scenes"],
        questions=dataset.manifest["splits"][split].get("questions", 0), labels=dataset.manifest.get("labels", []),
        sight=sight, remark=remark, cards=cards, tasks=_tasks_of(cards), compared=len(compared), differing=differing,
        unsaid=unsaid, hidden=sum(each.hidden for each in cards), histograms=histograms(dataset, sight),
        tables=tables(dataset.manifest), problems=plain_lines(dataset.manifest.get("problems", {})),
        examples=examples(dataset), registration=registration(dataset), only=tuple(tasks),
    )  # fmt: skip
    return Inspection(page, len(cards), len(compared), differing, unsaid)


def write_inspection(
    dataset: Dataset, split: str, scenes: int, out: Path | str, *, tasks: Sequence[str] = (), sight: Sight | None = None
) -> Path:
    """Writes the page as one self-contained file, as the shipped model sees it where no `sight` is given."""
    seen, remark = (sight, "") if sight is not None else sight_of()
    found = inspect(dataset, split, scenes, tasks=tasks, sight=seen, remark=remark)
    return write_page(found, out)


def write_page(found: Inspection, out: Path | str) -> Path:
    """The page as a file, whole or not at all."""
    with written_beside(out) as partial:
        partial.write_text(found.page, encoding="utf-8")
    return Path(out)


def _tasks_of(cards: Sequence[Card]) -> list[str]:
    return list(dict.fromkeys(question.task for each in cards for question in each.asked))


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"thousands": "{:,}".format, "csp": _csp_hash, "runs": _runs}
    return environment


def _runs(tokens: Sequence[Any]) -> list[list[Any]]:
    """Tokens in runs of those that are learned and those that are not."""
    runs: list[list[Any]] = []
    for token in tokens:
        if not runs or runs[-1][0].is_learned != token.is_learned:
            runs.append([])
        runs[-1].append(token)
    return runs


def _csp_hash(script: str) -> str:
    """How the page's own script is named to the browser, so that it runs that one and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
