r"""Does it harm to learn many questions of one image at once? Held-out scores at 1, 8 and 40 questions an image.

python benchmarks/questions_per_image.py DATASET FOLDER [SEEDS [STEPS]]

    georefer synth wide/area --seed 33 --size 6144 --gsd 0.4
    georefer build recipes/demo/build.toml wide/dataset --base wide --set gsd_m=0.8 --set place.stride=0.35 \
        --set split.test=0.4 --set keep_empty=0 --set ask.absent=6 --set ask.per_task.rec=40 --set phrases.groups=12 \
        --set 'ask.tasks=["rec","grec","detection","presence","classification","vqa","phrase"]'

makes a dataset with some forty questions a scene. Learned are 40 questions of each scene that has them, 120 a step of
120, 15 or 3 images, every question once in a pass over the data, as the recipes for large models have it. Every run
goes on from `tiny-synthetic`, which knows three of the seven tasks, and these at half the ground size of a pixel.
Finished runs in FOLDER are not trained again, and those of other settings are refused. Scores are each task's own on
the whole test split, 95 % intervals over images. The table at the end has all seeds together, and the difference to one
question an image, paired answer by answer.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from georefer.evaluation.grid_table import cells_of
from georefer.evaluation.pipeline import evaluate
from georefer.evaluation.plan import EvaluateSettings
from georefer.evaluation.score import read_rows
from georefer.evaluation.summary import difference_text, interval, p_text, percent, table
from georefer.models import load_model
from georefer.scenes import open_dataset
from georefer.tasks import TASKS
from georefer.training.batches import BatchSettings
from georefer.training.loop import LoopSettings
from georefer.training.sft import SftSettings, sft
from georefer.training.thoughts import rewritten

COUNTS = (1, 8, 40)
QUESTIONS_A_STEP, START = 120, "tiny-synthetic"


def main() -> None:
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    seeds, steps = (int(word) for word in [*sys.argv[3:], *("3", "600")[len(sys.argv) - 3 :]][:2])
    learned = rich(data, folder / "learned")
    told = open_dataset(learned).manifest["splits"]["train"]
    print(f"to learn from: {told['questions']:,} questions about {told['scenes']} scenes", flush=True)
    print(f"before: {scores(START, data, folder / 'before')}", flush=True)
    for seed in range(seeds):
        for count in COUNTS:  # in turn, so that a busy machine slows all
            began = time.monotonic()
            out = folder / f"{count}-of-an-image-seed-{seed}"
            images = QUESTIONS_A_STEP // count
            settings = recipe(learned, count, images, seed, steps)
            model = sft(settings, out)
            minutes = (time.monotonic() - began) / 60
            found = scores(model, data, out / "evaluation")
            print(f"seed {seed}, {count:>2} of {images} images a step: {found}  ({minutes:.1f} minutes)", flush=True)
    print(table_of(folder, seeds))


def recipe(data: Path, count: int, images: int, seed: int, steps: int) -> SftSettings:
    return SftSettings(
        dataset=(data,),
        start=START,
        batch=BatchSettings(images_per_step=images, questions_per_image=count, order="epochs"),
        loop=LoopSettings(
            steps=steps,
            learning_rate=2e-3,
            optimiser="muon",
            warmup_steps=6,
            final_rate=0.1,
            seed=seed,
            save_every=100,
        ),
    )


def rich(data: Path, folder: Path) -> Path:
    """The training scenes with at least 40 questions, with 40 of each: all runs then take whole groups."""
    if not folder.is_dir():
        dataset = open_dataset(data)
        of_scene: dict[str, list[str]] = {}
        for question in dataset.questions("train"):
            of_scene.setdefault(question.scene_id, []).append(question.id)
        rng, most = np.random.default_rng(0), max(COUNTS)
        kept = {id_ for ids in of_scene.values() if len(ids) >= most for id_ in rng.choice(ids, most, replace=False)}
        rewritten(dataset, folder, lambda q: q if q.id in kept else None, ["train"])
    return folder


def scores(model: Path | str, data: Path, out: Path) -> str:
    """The first measure of every task."""
    settings = EvaluateSettings(split="test", blind=False)
    found = evaluate(load_model(model), open_dataset(data), settings, out)
    return ", ".join(f"{name} {interval(next(iter(task.measures.values())))}" for name, task in found.tasks.items())


def table_of(folder: Path, seeds: int) -> str:
    """Each task after each number of questions an image, and whether it lies in the interval of one an image."""
    runs = {n: [read_rows(folder / f"{n}-of-an-image-seed-{s}" / "evaluation") for s in range(seeds)] for n in COUNTS}
    lines = [("task", "an image", "score", "seeds", f"beside {COUNTS[0]}", "p", "within")]
    for task in TASKS:
        of_task = {n: [[row for row in rows if row.task == task] for rows in runs[n]] for n in COUNTS}
        answers = [("test", 0, str(n), of_task[n]) for n in COUNTS]
        cells = [*cells_of(answers, task, str(COUNTS[0]))]
        for cell in cells:
            span = f"{percent(cell.lowest)} .. {percent(cell.highest)}"
            beside = (difference_text(cell.beside), p_text(cell.beside.p)) if cell.beside else ("", "")
            is_within = cells[0].value.low <= cell.value.value <= cells[0].value.high
            lines.append((task, cell.arm, interval(cell.value), span, *beside, "yes" if is_within else "no"))
    return "\n".join(table(lines, left=1))


if __name__ == "__main__":
    main()
