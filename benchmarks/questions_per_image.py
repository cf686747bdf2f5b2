"""Does it harm to learn many questions of one image at once? Held-out scores at 1, 8 and 40 questions an image.

python benchmarks/questions_per_image.py DATASET FOLDER [SEEDS [STEPS]]      such as runs/demo/dataset runs/quality

Every run goes on from `tiny-synthetic`, made forgetful by noise in its weights, and sees the same number of questions:
96 a step, of as many images as that takes (an image with fewer than 40 questions gives all of them), every question
once in a pass over the data, as the recipes for large models have it. Finished runs are kept in FOLDER and not trained
again. Scores are each task's own on the test split, 95 % intervals over images.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import torch

from georefer.evaluation.pipeline import evaluate
from georefer.evaluation.plan import EvaluateSettings
from georefer.evaluation.summary import interval
from georefer.models import load_model
from georefer.scenes import open_dataset
from georefer.training.batches import BatchSettings
from georefer.training.loop import LoopSettings
from georefer.training.sft import SftSettings, sft

QUESTIONS_A_STEP, NOISE = 96, 0.3
COUNTS = (1, 8, 40)


def main() -> None:
    data, folder = Path(sys.argv[1]), Path(sys.argv[2])
    seeds, steps = (int(word) for word in [*sys.argv[3:], *("3", "160")[len(sys.argv) - 3 :]][:2])
    start = forgetful(folder / "start")
    print(f"before: {scores(start, data, folder / 'before')}", flush=True)
    questions = [*Counter(q.scene_id for q in open_dataset(data).questions("train")).values()]
    for seed in range(seeds):
        for count in COUNTS:  # in turn, so that a busy machine slows all
            began = time.monotonic()
            out = folder / f"{count}-of-an-image-seed-{seed}"
            each = sum(min(count, n) for n in questions) / len(questions)
            images = round(QUESTIONS_A_STEP / each)
            settings = recipe(data, start, count, images, seed, steps)
            model = out / "model" if (out / "model").is_dir() else sft(settings, out)
            minutes = (time.monotonic() - began) / 60
            found = scores(model, data, out / "evaluation")
            asked = f"{images} images of {each:.1f} questions a step"
            print(f"seed {seed}, up to {count:>2} ({asked}): {found}  ({minutes:.1f} minutes)", flush=True)


def recipe(data: Path, start: Path, count: int, images: int, seed: int, steps: int) -> SftSettings:
    return SftSettings(
        dataset=(data,),
        start=str(start),
        batch=BatchSettings(images_per_step=images, questions_per_image=count, order="epochs"),
        loop=LoopSettings(
            steps=steps,
            learning_rate=1e-3,
            optimiser="muon",
            warmup_steps=6,
            final_rate=0.1,
            seed=seed,
            save_every=steps,
        ),
    )


def forgetful(folder: Path) -> Path:
    """The shipped model with noise in its matrices, so that there is something to learn in minutes."""
    if not folder.is_dir():
        model = load_model("tiny-synthetic")
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in model.family.model.parameters():
                if weight.ndim > 1:
                    weight += NOISE * weight.std() * torch.randn(weight.shape, generator=generator)
        folder.mkdir(parents=True)
        model.save(folder)
    return folder


def scores(model: Path, data: Path, out: Path) -> str:
    """The first measure of every task."""
    settings = EvaluateSettings(split="test", blind=False)
    found = evaluate(load_model(model), open_dataset(data), settings, out)
    return ", ".join(f"{name} {interval(next(iter(task.measures.values())))}" for name, task in found.tasks.items())


if __name__ == "__main__":
    main()
