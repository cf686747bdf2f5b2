"""Fine-tuning on GroundSet-shaped data: an image once for its questions, against one question a row and TRL.

python benchmarks/training.py [QUESTIONS ...]    questions an image, by default 1, 8 and 40

One LLaVA-NeXT (AnyRes: a 672 px image is five tiles, 2,928 tokens) of random weights, all its weights trained. Each way
does the forward and backward passes of the same questions of one image, in turn, in one process:

  packed    georefer: rows of one prefix and its questions, image encoded once
  one a row the model's own forward with labels, one question a row, as the published baseline trains
  TRL       SFTTrainer, its own preparation and collation, batches of 4

The text part is small (128 wide, 4 layers) and so is the tower, in about the proportion of the 7B model's.
"""

from __future__ import annotations

import logging
import resource
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.data import checkpoints

from georefer.models import load_model
from georefer.models.packed import forward_packed, pack

REPEATS, ROWS_OF_TRL = 3, 4
Turns = list[tuple[str, str]]


def main() -> None:
    asked = [int(word) for word in sys.argv[1:]] or [1, 8, 40]
    checkpoints.TEXT.update(hidden_size=128, intermediate_size=384, num_hidden_layers=4)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        start = checkpoints.build("llava_next", Path(folder) / "model", true_size=True)
        model = load_model(start)
        model.family.model.eval()  # no dropout: the ways are compared
        image = np.random.default_rng(0).integers(0, 255, (672, 672, 3), dtype=np.uint8)
        prefix = len(model.prefix((672, 672)))
        parameters = sum(p.numel() for p in model.family.model.parameters())
        print(f"{torch.get_num_threads()} threads; {parameters:,} parameters, {prefix:,} tokens of image and header")
        for count in asked:
            turns = questions(count)
            compare(model, image, turns, Path(folder))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of the process {peak:.1f} GiB")


def questions(count: int) -> Turns:
    """Of the lengths of REC, detection and presence."""
    rng = np.random.default_rng(1)
    made = []
    for n in range(count):
        boxes = [rng.integers(0, 1000, 4).tolist() for _ in range((1, 3, 0)[n % 3])]
        made.append((f"Where is building {n} by the road? Give its box.", ", ".join(map(str, boxes)) or "none"))
    return made


def compare(model: Any, image: np.ndarray, turns: Turns, folder: Path) -> None:
    ways: dict[str, Callable[[], float]] = {
        "packed": lambda: packed(model, image, turns),
        "one a row": lambda: one_a_row(model, image, turns),
        "TRL": lambda: with_trl(model, image, turns, folder),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(REPEATS):  # in turn, so that a busy machine slows all
        for name, way in ways.items():
            times[name].append(way())
    seconds = {name: statistics.median(some) for name, some in times.items()}
    tokens = statistics.mean(len(model.segment(*turn).ids) for turn in turns)
    ratios = ", ".join(f"{seconds[name] / seconds['packed']:.1f}x {name}" for name in ("one a row", "TRL"))
    speeds = ", ".join(f"{name} {len(turns) / taken:.2f}" for name, taken in seconds.items())
    print(f"{len(turns):>3} questions an image of {tokens:.0f} tokens: {ratios}   ({speeds} questions a second)")


def packed(model: Any, image: np.ndarray, turns: Turns) -> float:
    started = time.perf_counter()
    batch = pack([[model.group((672, 672), turns, 0)]], model.pixels([image]), pad_id=model.speech.pad_id)
    logits_MV, _ = forward_packed(model.family, batch)
    F.cross_entropy(logits_MV, batch.targets_M).backward()
    taken = time.perf_counter() - started
    model.family.model.zero_grad()
    return taken


def one_a_row(model: Any, image: np.ndarray, turns: Turns) -> float:
    own, prefix = model.family.model, model.prefix((672, 672))
    started = time.perf_counter()
    for turn in turns:
        segment = model.segment(*turn)
        ids_1T = torch.tensor([[*prefix.ids, *segment.ids]])
        answer = [i if learn else -100 for i, learn in zip(segment.ids, segment.learn, strict=True)]
        labels_1T = torch.tensor([[-100] * len(prefix) + answer])
        loss = own(input_ids=ids_1T, labels=labels_1T, **model.pixels([image]), use_cache=False).loss
        (loss / len(turns)).backward()
    taken = time.perf_counter() - started
    own.zero_grad()
    return taken


def with_trl(model: Any, image: np.ndarray, turns: Turns, folder: Path) -> float:
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import SFTConfig, SFTTrainer

    picture = Image.fromarray(image)
    rows = [
        {
            "prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}],
            "completion": [{"role": "assistant", "content": [{"type": "text", "text": answer}]}],
            "images": [picture],
        }
        for prompt, answer in turns
    ]
    settings = SFTConfig(
        output_dir=str(folder / "trl"), per_device_train_batch_size=min(ROWS_OF_TRL, len(turns)), num_train_epochs=1,
        max_length=None, use_cpu=True, bf16=False, report_to=[], log_level="error",
        save_strategy="no", logging_strategy="no",
        learning_rate=0.0, gradient_checkpointing=False, disable_tqdm=True,
    )  # fmt: skip
    trainer = SFTTrainer(
        model.family.model, settings, train_dataset=Dataset.from_list(rows), processing_class=model.speech.processor
    )
    trainer.remove_callback(PrinterCallback)
    started = time.perf_counter()
    trainer.train()
    taken = time.perf_counter() - started
    model.family.model.eval()
    return taken


if __name__ == "__main__":
    main()
