"""An adapter worked into its base model's weights, kept only where the merged model scores every token the same."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from georefer.errors import CheckpointError, InputError
from georefer.models import adapter
from georefer.models.loading import load
from georefer.models.packed import forward_packed, pack
from georefer.models.transformers_model import TransformersModel
from georefer.runlog import swap_folder

BOUND = 1e-4
"""Largest difference of a score in float32, as a share of the largest score, at which two models are the same."""

_QUESTION, _ANSWER = "where is the building with the red roof?", "[120, 340, 560, 780]"
_SIZE = (224, 168)
_PRECISIONS = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True)
class Merged:
    """What was written: by how much its scores differ, in float32 and as stored, as a share of the largest score."""

    folder: Path
    difference: float
    stored_difference: float
    precision: str


def merge(source: Path, out: Path) -> Merged:
    """Merges the adapter in a folder, or of a run, into a plain checkpoint of its family's own format.

    Reckoned in float32 and stored with the numbers of the base, whose rounding is reported beside. What was written
    is read again before it takes its place. CheckpointError where the scores differ by more than `BOUND`.
    """
    folder = source if adapter.is_adapter(source) or not adapter.is_adapter(source / "model") else source / "model"
    if not adapter.is_adapter(folder):
        raise CheckpointError(f"{source} holds no {adapter.CONFIG_FILE}; give the folder of an adapter or of its run")
    if out.exists():
        raise InputError(f"{out} is there already, where a new folder is expected; remove it or name another")
    model = load(folder, precision=torch.float32)
    precision = _stored(Path(model.family.bare.config._name_or_path))
    adapted = probe(model)
    model.family.model = model.family.model.merge_and_unload()
    difference = apart(adapted, probe(model))
    _check(difference, folder)
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        model.family.model.to(precision)
        model.save(partial)
        del model  # a large model is in memory once
        stored = apart(adapted, probe(load(partial, precision=torch.float32)))
        if precision == torch.float32:
            _check(stored, folder)
        swap_folder(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Merged(out, difference, stored, str(precision).removeprefix("torch."))


def probe(model: TransformersModel) -> Tensor:
    """Scores (M, V) at the tokens of an answer about a picture of noise."""
    image_HW3 = np.random.default_rng(0).integers(0, 256, (_SIZE[1], _SIZE[0], 3), dtype=np.uint8)
    return taught_scores(model, image_HW3, _QUESTION, _ANSWER)


@torch.inference_mode()
def taught_scores(model: TransformersModel, image_HW3: np.ndarray, prompt: str, answer: str) -> Tensor:
    """Float32 scores (M, V) that the way of training gives at the tokens of this answer and at its end."""
    model.family.model.eval()
    group = model.group((image_HW3.shape[1], image_HW3.shape[0]), [(prompt, answer)], 0)
    batch = pack([[group]], model.pixels([image_HW3]), pad_id=model.speech.pad_id)
    scores_MV, _ = forward_packed(model.family, batch.to(model.family.device))
    return scores_MV.float().cpu()


def apart(expected: Tensor, actual: Tensor) -> float:
    """Largest difference as a share of the largest expected value; infinite where the shapes differ."""
    if expected.shape != actual.shape:
        return float("inf")
    found = float((expected - actual).abs().max() / expected.abs().max().clamp(min=1e-30))
    return found if found == found else float("inf")


def _check(difference: float, folder: Path) -> None:
    if difference > BOUND:
        raise CheckpointError(
            f"the merged model was found to score otherwise than {folder}, by {difference:.1e} of the largest score, "
            f"where at most {BOUND:.0e} is expected; nothing was kept: use the adapter unmerged"
        )


def _stored(base: Path) -> torch.dtype:
    """The precision of the largest tensor that a checkpoint stores."""
    found = torch.float32, 0
    for file in base.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dictionary
                part = tensors.get_slice(name)
                size = int(np.prod(part.get_shape()))
                if size > found[1] and part.get_dtype() in _PRECISIONS:
                    found = _PRECISIONS[part.get_dtype()], size
    return found[0]
