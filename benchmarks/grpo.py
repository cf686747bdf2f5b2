"""One step of reinforcement by groups, against TRL's GRPOTrainer on the same model, prompts and rewards.

python benchmarks/grpo.py [KIND] [REPEATS]    a layout of tests/data/checkpoints: llava (576 image tokens, the default),
                                              llava_next (2,928 of a 672 px image)

A step asks one question about one image, draws 8 answers of 64 tokens (none may end before, so that both ways say
equally many), rewards them for their letters, and takes one step of AdamW on all weights, the tower's too. The text
part is that of `answering.py`, 512 wide with 4 layers. The ways take turns in one process; medians of all repeats but
the first are compared, on the clock and in processor time, which other work on the same machine distorts less. TRL's
generation holds vision, prefill and decoding.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.data import checkpoints

from georefer.geometry import Objects
from georefer.models.loading import load
from georefer.training import grpo as grpo_module
from georefer.training import prompts as prompts_module
from georefer.training import rollouts as rollouts_module
from georefer.training.examples import Example
from georefer.training.grpo import GrpoRun
from georefer.training.grpo_settings import DrawSettings, GrpoSettings
from georefer.training.loop import LoopSettings, Progress, take_step
from georefer.training.processes import start
from georefer.training.prompts import Asked, Prompts
from georefer.training.rewards.base import Truth

ANSWERS, TOKENS = 8, 64
SIDES = {"llava_next": 672}
WIDE = {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 4, "num_attention_heads": 8,
        "num_key_value_heads": 8}  # fmt: skip
PROMPT = "Where is the white building with the flat roof, north of the road? Answer with its box, or none."
PARTS = {"generation": ("vision", "prefill", "decode")}
Phases = dict[str, np.ndarray]
"""Seconds (2,) on the clock and of the processor by the name of a phase."""
NONE = np.zeros(2)


def letters(answer: Any) -> float:
    """The reward: how many letters are in an answer."""
    return min(1.0, len(answer.text) / 1000)


def main() -> None:
    kind = sys.argv[1] if len(sys.argv) > 1 else "llava"
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    checkpoints.TEXT.update(WIDE)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    side = SIDES.get(kind, 336)
    image = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = checkpoints.build(kind, Path(folder) / "model", true_size=True)
        ways = {"georefer": ours(path, image, Path(folder)), "TRL": theirs(path, image, Path(folder))}
        found: dict[str, list[Phases]] = {name: [] for name in ways}
        for _ in range(repeats + 1):  # in turn, so that a busy machine slows both
            for name, way in ways.items():
                found[name].append(way())
    report({name: steps[1:] for name, steps in found.items()})


def report(found: dict[str, list[Phases]]) -> None:
    """A table of medians, and the ratio of each pair of steps that followed each other."""
    middle: dict[str, Phases] = {}
    for name, steps in found.items():
        middle[name] = {phase: np.median([step[phase] for step in steps], axis=0) for phase in steps[0]}
        for whole, parts in PARTS.items():
            middle[name].setdefault(whole, sum((middle[name].get(part, NONE) for part in parts), NONE))
    print(f"{'clock (processor) s':<20}" + "".join(f"{name:>20}" for name in found))
    for phase in ("vision", "prefill", "decode", "generation", "reward", "forward", "backward", "step"):
        cells = ["{:.2f} ({:.2f})".format(*one[phase]) if phase in one else "" for one in middle.values()]
        print(f"{phase:<20}" + "".join(f"{cell:>20}" for cell in cells))
    said = {name: int(statistics.median(step["tokens"][0] for step in steps)) for name, steps in found.items()}
    print(f"{'tokens drawn':<20}" + "".join(f"{count:>20}" for count in said.values()))
    speeds = [f"{said[name] / one['generation'][1]:.0f}" for name, one in middle.items()]
    print(f"{'a processor second':<20}" + "".join(f"{speed:>20}" for speed in speeds))
    pairs = [other["step"] / own["step"] for own, other in zip(found["georefer"], found["TRL"], strict=True)]
    for number, clock in enumerate(("on the clock", "in processor time")):
        ratio = middle["TRL"]["step"][number] / middle["georefer"]["step"][number]
        each = ", ".join(f"{pair[number]:.1f}" for pair in pairs)
        print(f"a GRPO step of {ANSWERS} answers of {TOKENS} tokens: {ratio:.1f}x TRL's {clock} ({each})")


def now() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


@contextmanager
def timed(phases: Phases, places: dict[str, tuple[Any, str]]) -> Iterator[None]:
    """Adds the seconds spent in functions, by the name of their phase."""
    originals = [(owner, name, getattr(owner, name)) for owner, name in places.values()]

    def clock(phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            started = now()
            try:
                return function(*args, **kwargs)
            finally:
                phases[phase] = phases.get(phase, NONE) + now() - started

        return call

    for phase, (owner, name, original) in zip(places, originals, strict=True):
        setattr(owner, name, clock(phase, original))
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


# --- georefer -----------------------------------------------------------------------------------------------------


def ours(path: Path, image: np.ndarray, folder: Path) -> Callable[[], Phases]:
    model = load(path)
    model.family.model.eval()
    size = image.shape[1::-1]
    example = Example("scene", [image], 0, size, (), np.array([40]), np.array([1.0]), None)  # type: ignore[arg-type]
    truth = Truth(Objects.none(), model.dialect, model.frame_for(size))
    asked = Asked("question", "rec", PROMPT, tuple(model.speech.question_ids(PROMPT)), truth)
    settings = GrpoSettings(
        start="", rewards={f"{__file__}:letters": 1.0}, log_every=10**9, equal_groups="keep",
        draw=DrawSettings(answers=ANSWERS, max_new_tokens=TOKENS),
        loop=LoopSettings(learning_rate=1e-6, warmup_steps=0),
    )  # fmt: skip
    settings = replace(settings, batch=replace(settings.batch, images_per_step=1))
    # TRL's side hardly ever says its one ending token; ours knows several
    type(model).end_ids = frozenset()  # type: ignore[assignment,misc]
    run = GrpoRun(settings, model, [Prompts(example, (asked,))], folder)
    processes = start({"model": model.family.model}, settings.loop)
    parameters = sum(p.numel() for p in model.family.model.parameters())
    print(f"{torch.get_num_threads()} threads; {parameters:,} parameters, {len(model.prefix(size)):,} tokens of image "
          f"and header, {len(asked.ids)} of the question")  # fmt: skip
    steps = iter(range(1, 10**6))

    def step() -> Phases:
        phases: Phases = {}
        at = Progress(next(steps), 0.0, 0.0)
        places = {
            "vision": (rollouts_module.Seen, "of"), "prefill": (rollouts_module, "SharedRows"),
            "decode": (rollouts_module, "sampled"), "reward": (prompts_module.Earnings, "of"),
            "forward": (grpo_module, "answer_logprobs"), "backward": (type(processes), "backward"),
        }  # fmt: skip
        with timed(phases, places):
            started = now()
            take_step(run.step(at), at, processes, settings.loop)
            phases["step"] = now() - started
        rollouts = [rollout for micro in run.held[1] for rollout in micro.rollouts]
        phases["tokens"] = NONE + sum(len(drawn.ids) for rollout in rollouts for drawn in rollout.answers)
        return phases

    return step


# --- TRL ----------------------------------------------------------------------------------------------------------


def theirs(path: Path, image: np.ndarray, folder: Path) -> Callable[[], Phases]:
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    model = load(path)
    picture = Image.fromarray(image)
    rows = [{"prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}],
             "images": [picture]}]  # fmt: skip

    def step() -> Phases:
        phases: Phases = {}
        settings = GRPOConfig(
            output_dir=str(folder / "trl"), per_device_train_batch_size=ANSWERS, num_generations=ANSWERS, max_steps=1,
            max_completion_length=TOKENS, use_cpu=True, bf16=False, report_to=[], log_level="error", save_strategy="no",
            logging_strategy="no", learning_rate=1e-6, gradient_checkpointing=False, disable_tqdm=True, beta=0.0,
            loss_type="grpo", temperature=1.0,
        )  # fmt: skip

        def reward(completions: Any, completion_ids: Any, **_: Any) -> list[float]:
            phases["tokens"] = NONE + sum(map(len, completion_ids))
            return [min(1.0, len(c[-1]["content"]) / 1000) for c in completions]

        class Clock(TrainerCallback):
            def on_step_begin(self, *_: Any, **__: Any) -> None:
                self.started = now()

            def on_step_end(self, *_: Any, **__: Any) -> None:
                phases["step"] = now() - self.started

        trainer = GRPOTrainer(
            model.family.model, reward_funcs=reward, args=settings, train_dataset=Dataset.from_list(rows * ANSWERS),
            processing_class=model.speech.processor, callbacks=[Clock()],
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        places = {
            "generation": (trainer, "_generate"), "reward": (trainer, "_calculate_rewards"),
            "forward": (trainer, "compute_loss"), "backward": (trainer.accelerator, "backward"),
        }  # fmt: skip
        with timed(phases, places):
            trainer.train()
        return phases

    return step


if __name__ == "__main__":
    main()
