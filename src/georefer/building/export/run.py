"""An export from end to end: scenes are read, shown, put into words and written; the manifest comes last."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from georefer.building.export.base import ExportSettings, Format, Job, Shown, samples_of
from georefer.building.export.card import card
from georefer.building.export.folder import finish, new_folder
from georefer.building.export.frames import frame_rule
from georefer.building.export.pictures import Names, picture_of
from georefer.dialects import DIALECTS
from georefer.errors import DatasetError, InputError
from georefer.geometry import Frame
from georefer.runlog import progress
from georefer.scenes import Dataset, Question, Scene, open_dataset
from georefer.scenes.interchange.files import storable
from georefer.scenes.readers.common import dumped
from georefer.scenes.store import crs_to_text

_SPLIT = re.compile(r"[a-z][a-z0-9_]{0,30}")


def export(
    dataset: Dataset | Path | str, out: Path | str, form: Format, settings: ExportSettings, *, overwrite: bool = False
) -> dict[str, Any]:
    """Writes a dataset to the folder `out` in one format, and returns the manifest that it wrote last.

    The same dataset and settings give the same bytes. What the format or the dialect cannot hold is left out and
    counted in the manifest under "left_out" and "changed", each with its reason and the first examples.
    """
    dataset = dataset if isinstance(dataset, Dataset) else open_dataset(dataset)
    splits = _splits(dataset, settings)
    name = _dialect_name(form, settings)
    out = Path(out)
    if dataset.folder.resolve().is_relative_to(out.resolve()):
        raise DatasetError(f"{out} holds the dataset itself, so it is not replaced; choose another folder")
    with new_folder(out, overwrite=overwrite) as folder:
        dialect = None if name is None else DIALECTS[name]
        asked = form.frame if settings.frame == "dialect" else settings.frame
        rule = frame_rule(asked, DIALECTS["georefer"] if dialect is None else dialect)
        job = Job(folder, settings, dialect, rule, splits)
        source = _Outgoing(dataset, form, job)
        form.write(source.shown(), job)
        wanted = "scenes" if dialect is None or form.keeps_unasked else "questions"
        if not any(job.counts[f"{split}: {wanted}"] for split in splits):
            raise DatasetError(
                f"nothing of {dataset.folder} is left to write as {form.name} ({job.account.dropped.counts}); choose "
                "another format, dialect or split"
            )
        content = source.manifest()
        (folder / "README.md").write_text(card(form, content), encoding="utf-8", newline="\n")
        return finish(folder, content)


def _splits(dataset: Dataset, settings: ExportSettings) -> tuple[str, ...]:
    there = tuple(dataset.manifest.get("splits", {}))
    if bad := [split for split in there if not _SPLIT.fullmatch(split)]:
        raise InputError(f"the split {bad[0][:80]!r} was found where a plain word is expected; build the dataset again")
    if unknown := [split for split in settings.splits if split not in there]:
        raise InputError(f"{dataset.folder} has no split {unknown[0][:80]!r}; it has {', '.join(there) or 'none'}")
    return tuple(split for split in there if not settings.splits or split in settings.splits)


def _dialect_name(form: Format, settings: ExportSettings) -> str | None:
    if form.dialect == "":
        return settings.dialect or "georefer"
    if settings.dialect not in (None, form.dialect):
        own = "no text" if form.dialect is None else f"only the dialect {form.dialect}"
        raise InputError(f"{form.name} holds {own}, but {settings.dialect} was asked for; leave the dialect out")
    if settings.frame != "dialect":
        raise InputError(
            f"{form.name} lays down its own numbers, but frame={settings.frame} was asked for; leave it out"
        )
    return form.dialect


@dataclass
class _Outgoing:
    """The scenes of one export on their way, and what the manifest will say of them."""

    dataset: Dataset
    form: Format
    job: Job
    rules: Counter[str] = field(default_factory=Counter)
    sources: Counter[tuple[str, str]] = field(default_factory=Counter)

    def shown(self) -> Iterator[Shown]:
        """Every scene that the format will hold; its picture lies in place when it is handed over."""
        names = Names()
        with (self.job.out / "scenes.jsonl").open("w", encoding="utf-8", newline="\n") as listing:
            for split in self.job.splits:
                for one in self._of_split(split, names):
                    listing.write(dumped(_listed(one)) + "\n")
                    yield one

    def _of_split(self, split: str, names: Names) -> Iterator[Shown]:
        asked = self._asked(split)
        count = self.dataset.manifest["splits"][split].get("scenes")
        for scene in progress(self.dataset.scenes(split), f"{split} scenes", count, "scene"):
            one = self._one(split, scene, asked.pop(scene.id, []), names)
            if one is not None:
                yield one
        for question in (question for questions in asked.values() for question in questions):
            self.job.leave_out("question about a scene that is not in the split", question)

    def _asked(self, split: str) -> dict[str, list[Question]]:
        asked: dict[str, list[Question]] = {}
        questions = self.dataset.questions(split)
        if self.form.dialect is None:
            for question in questions:
                self.job.leave_out("question, of which this format has none", question)
            return asked
        for question in questions:
            asked.setdefault(question.scene_id, []).append(question)
        return asked

    def _one(self, split: str, scene: Scene, questions: list[Question], names: Names) -> Shown | None:
        frame = None if self.job.dialect is None else self._frame(scene, questions)
        if self.job.dialect is None:
            shown = Shown(split, scene, picture_of(scene, split, names, self.job.settings.images))
        elif frame is None:
            return None
        else:
            samples = samples_of(scene, questions, frame, self.job.dialect, self.form, self.job)
            if not samples and not self.form.keeps_unasked:
                self.job.counts[f"{split}: scenes without a question, not written"] += 1
                return None
            picture = picture_of(scene, split, names, self.job.settings.images)
            shown = Shown(split, scene, picture, frame, samples)
            self.rules[f"{frame.rule} to {frame.width}x{frame.height}"] += 1
        if self.form.writes_pictures(self.job.settings):
            path = self.job.out / shown.picture.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(shown.picture.data)
        self.job.count(shown)
        said = scene.provenance
        self.sources[str(said.get("source", "unnamed")), str(said.get("licence", "unknown"))] += 1
        return shown

    def _frame(self, scene: Scene, questions: list[Question]) -> Frame | None:
        try:
            return self.job.rule(scene.size)
        except ValueError as error:
            for question in questions:
                self.job.leave_out("image whose size the frame does not fit", question, error)
            return None

    def manifest(self) -> dict[str, Any]:
        job, recipe = self.job, self.dataset.manifest.get("recipe", {})
        told = recipe.get("source", {}) if isinstance(recipe, dict) else {}
        account = job.account
        return {
            "format": self.form.name,
            "dataset": self.dataset.fingerprint,
            "dialect": None if job.dialect is None else job.dialect.name,
            "frame": None
            if job.dialect is None
            else {"asked": job.settings.frame, "made": dict(sorted(self.rules.items()))},
            "image_form": job.settings.images or "as stored",
            "link": job.settings.link,
            "splits": list(job.splits),
            "counts": dict(sorted(job.counts.items())),
            "tasks": dict(sorted((+job.tasks).items())),
            "left_out": _tallied(account.dropped),
            "changed": _tallied(account.changed),
            "sources": [
                {"source": source, "licence": licence, "scenes": count}
                for (source, licence), count in sorted(self.sources.items())
            ],
            "attribution": str(told.get("attribution", "")) if isinstance(told, dict) else "",
        }


def _tallied(tally) -> dict[str, Any]:
    return {
        reason: {"count": count, "examples": tally.examples[reason]} for reason, count in sorted(tally.counts.items())
    }


def _listed(shown: Shown) -> dict[str, Any]:
    """What the formats have no place for: where the picture lies on the ground and where it comes from."""
    scene, grid = shown.scene, shown.scene.grid
    return {
        "image": shown.picture.path,
        "scene": scene.id,
        "split": shown.split,
        "width": grid.width,
        "height": grid.height,
        "crs": None if grid.crs is None else crs_to_text(grid.crs),
        "transform": list(grid.transform)[:6],
        "frame": None if shown.frame is None else shown.frame.describe(),
        "provenance": {key: value for key, value in scene.provenance.items() if storable(value)},
    }
