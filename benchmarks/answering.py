"""Answers that share their image, and masks that are drafted, against transformers' own `generate` on the same model.

The models are LLaVA's with random weights: 24 x 24 patches of 336 px, a text part of width 512 with 4 layers, digits
and most letters a token each, as Llama has them. To say a mask, the last matrix alone is fitted in closed form, so
every pass costs what it costs any model of this shape. Prints ratios of medians, both ways in turn in one process.

`answering.py memory FORM QUESTIONS` is run by itself, so that one form's peak is not the other's.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import DynamicCache

from georefer.dialects import DIALECTS
from georefer.dialects.runs import GeoGroundRuns
from georefer.models import Ask
from georefer.models.loading import load
from georefer.models.packed import following_positions
from georefer.models.transformers_model import TransformersModel

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.data import checkpoints
from tests.data.taught import teach

WIDTH, LAYERS, HEADS = 512, 4, 8
TOKENS, IMAGES, REPEATS = 24, 2, 3
FEW = 4
"""Tokens of an answer where memory is looked at."""
WORDS = [
    "where is the red roofed building by the road? find every ship in the image, list. a * * * * * * *",
    ", , ; ; .",
]
"""What the tokenizer is made from: no digits, which so stay apart."""


def main() -> None:
    print(f"{torch.get_num_threads()} threads, medians of {REPEATS}; width {WIDTH}, {LAYERS} layers")
    with tempfile.TemporaryDirectory() as folder:
        shared_images(model_of("llava", Path(folder)))
        shared_images(model_of("llava_next", Path(folder)), (8, 40), repeats=1)
        masks(model_of("llava", Path(folder)))
    for questions in (8, 40):
        memory(questions)


def model_of(kind: str, folder: Path) -> TransformersModel:
    """336 px: 576 image tokens for LLaVA, and 2,928 of a 672 px image for LLaVA-NeXT."""
    checkpoints.TEXT.update(
        hidden_size=WIDTH,
        intermediate_size=WIDTH * 43 // 16,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
    )
    checkpoints.TEXTS[:] = WORDS
    if not (folder / kind).exists():
        checkpoints.build(kind, folder / kind, true_size=True)
    return load(folder / kind)


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (672, 672, 3), dtype=np.uint8)


def ratio(told: str, ours: Callable[[], object], theirs: Callable[[], object], repeats: int = REPEATS) -> None:
    """Prints how many times faster; both must give the same."""
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(repeats):  # in turn, so that a busy machine slows both
        for name, run in (("theirs", theirs), ("ours", ours)):
            started = time.perf_counter()
            made = run()
            times[name].append(time.perf_counter() - started)
            if name == "theirs":
                expected = made
        assert made == expected, f"{told}: other answers"
    one, other = statistics.median(times["ours"]), statistics.median(times["theirs"])
    print(f"{told}: {other / one:.1f}x  ({other:.3f} s -> {one:.3f} s)")


# --- questions of one image --------------------------------------------------------------------------------


def shared_images(model: TransformersModel, counts: tuple[int, ...] = (5, 40), repeats: int = REPEATS) -> None:
    """One by one with `generate`, then from an expanded cache."""
    length = len(model.prefix((672, 672)))
    for questions in counts:
        asks = [Ask(image(n), f"where is the building number {q:02}?") for n in range(IMAGES) for q in range(questions)]
        asks = [Ask(asks[n - n % questions].image_HW3, ask.prompt) for n, ask in enumerate(asks)]
        few = asks[:questions]
        if repeats > 1 and questions < 40:
            ratio(
                f"{length} tokens before, {questions} questions an image, one by one",
                lambda asks=asks: model.generate(asks, TOKENS),
                lambda asks=asks: [own_answer(model, ask, TOKENS) for ask in asks],
            )
        ratio(
            f"{length} tokens before, {questions} questions an image, expanded cache",
            lambda few=few: model.generate(few, TOKENS),
            lambda few=few: expanded(model, few, TOKENS)[0],
            repeats,
        )


def own_answer(model: TransformersModel, ask: Ask, count: int) -> str:
    """The family's own `generate`, fed by its own processor."""
    family, speech = model.family, model.speech
    text = family.processor.apply_chat_template(speech.messages(ask.prompt), add_generation_prompt=True, tokenize=False)
    inputs = family.processor(text=[text], images=[ask.image_HW3], return_tensors="pt")
    with torch.inference_mode():
        made = family.model.generate(
            **inputs, do_sample=False, max_new_tokens=count, eos_token_id=sorted(model.end_ids)
        )
    return speech.answer(made[0, inputs["input_ids"].shape[1] :].tolist())


@torch.inference_mode()
def expanded(model: TransformersModel, asks: list[Ask], count: int) -> tuple[list[str], int]:
    """One image attended once, then a copy of its keys and values for each question; answers, bytes of the cache."""
    family, prefix, cache = model.family, model.prefix((672, 672)), DynamicCache()
    shown = family.image_features(family.pixels([asks[0].image_HW3]))
    embedded = family.embed(torch.tensor([prefix.ids]), shown)
    family.decoder(**embedded, position_ids=prefix.positions_AP, past_key_values=cache)
    cache.batch_repeat_interleave(len(asks))
    ids_RT = torch.tensor([model.speech.question_ids(ask.prompt) for ask in asks])  # of equal length
    said, place = [], 0
    for _ in range(count):
        positions_1T = following_positions(prefix, place + ids_RT.shape[1])[:, place:]
        embedded = family.embed(ids_RT, None)
        hidden = family.decoder(**embedded, position_ids=positions_1T, past_key_values=cache).last_hidden_state
        place += ids_RT.shape[1]
        ids_RT = family.logits(hidden[:, -1]).argmax(dim=-1, keepdim=True)
        said.append(ids_RT)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    return [model.speech.answer(row.tolist()) for row in torch.cat(said, dim=1)], held


# --- masks -------------------------------------------------------------------------------------------------


def masks(model: TransformersModel) -> None:
    """One 32 x 32 mask in GeoGround's runs: plain `generate` against drafts, a grammar, and both."""
    rows, columns = np.mgrid[:32, :32]
    tilted = (rows - 17 + (columns - 14) * 0.4) ** 2 / 90 + (columns - 14 - (rows - 17) * 0.4) ** 2 / 40 < 1
    dialect = DIALECTS["geoground-32"]
    text = f"<seg>{GeoGroundRuns().write(tilted.astype(np.uint8))}</seg>"
    ask = Ask(image(0), "find the building")
    teach(model, [(ask, text)])
    length = len(model.answers([ask], 1000)[0].ids)
    print(f"a mask of {len(text)} letters, {length} tokens")
    model = replaced(model, dialect)
    assert own_answer(model, ask, 1000) == text
    for told, dialect_of, grammar in (
        ("nothing", "llava-1.5", None),
        ("the grammar", "llava-1.5", dialect.grammar()),
        ("the row above", "geoground-32", None),
        ("both", "geoground-32", dialect.grammar()),
    ):
        spoken = replaced(model, DIALECTS[dialect_of])
        passes: list[int] = []
        score = spoken.family.logits
        spoken.family.logits = lambda hidden, passes=passes, score=score: passes.append(len(hidden)) or score(hidden)
        assert spoken.answers([ask], 1000, grammar=grammar)[0].text == text
        del spoken.family.logits
        print(f"a mask, drafted by {told}: {len(passes)} passes")
        if told not in ("the row above", "both"):
            continue
        ratio(
            f"a mask, drafted by {told}",
            lambda spoken=spoken, grammar=grammar: spoken.answers([ask], 1000, grammar=grammar)[0].text,
            lambda spoken=spoken: own_answer(spoken, ask, 1000),
        )


def replaced(model: TransformersModel, dialect: object) -> TransformersModel:
    return TransformersModel(model.name, model.family, model.speech, dialect, model.system, model.batch_rows)


# --- memory ------------------------------------------------------------------------------------------------


def memory(questions: int) -> None:
    """Peaks of processes of their own, above what the loaded model takes."""
    found = {}
    for form in ("shared", "expanded"):
        done = subprocess.run(
            [sys.executable, __file__, "memory", form, str(questions)], capture_output=True, text=True, check=True
        )
        found[form] = json.loads(done.stdout.splitlines()[-1])
    shared, other = found["shared"], found["expanded"]
    print(
        f"{questions} questions of an image of 2,930 tokens: peak {other['peak'] / shared['peak']:.1f}x less "
        f"({other['peak']:.0f} MB -> {shared['peak']:.0f} MB), keys and values {other['cache'] / shared['cache']:.1f}x "
        f"({other['cache']:.0f} MB -> {shared['cache']:.0f} MB)"
    )


def one_peak(form: str, questions: int) -> None:
    """Peak and cache in MB as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        model = model_of("llava_next", Path(folder))
        asks = [Ask(image(0), f"where is the building number {q:02}?") for q in range(questions)]
        asks = [Ask(asks[0].image_HW3, ask.prompt) for ask in asks]
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = kilobytes("VmRSS")
        if form == "shared":
            model = TransformersModel(model.name, model.family, model.speech, model.dialect, "", questions)
            model.generate(asks, FEW)
            asked = len(model.speech.question_ids(asks[0].prompt))
            columns = len(model.prefix((672, 672))) + questions * (asked + FEW)
            held = columns * 2 * WIDTH * LAYERS * 4
        else:
            held = expanded(model, asks, FEW)[1]
        peak = kilobytes("VmHWM") - before
    print(json.dumps({"peak": peak / 1024, "cache": held / 2**20}))


def kilobytes(name: str) -> int:
    """A figure of this process that Linux keeps."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        one_peak(sys.argv[2], int(sys.argv[3]))
    else:
        main()
