"""One question through every way that a model is run, side by side: where they part, another model was trained.

What a way sees, the ids it reads, what it says and how it scores are compared with transformers' own `generate`, fed
by the checkpoint's own processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from georefer.errors import InputError
from georefer.models import load_model
from georefer.models.base import Ask, Model
from georefer.models.merging import BOUND, apart, taught_scores
from georefer.models.transformers_model import TransformersModel

BOUND_16_BITS = 5e-2
"""The same bound for models of 16 bits, whose single steps round by a 250th."""


@dataclass(frozen=True)
class Way:
    """What one way of running a model did; None where it does not tell.

    `size` and `pictures` are those of what it sees, `ids` the tokens before the answer, `boxes_N4` what the answer
    reads as in pixels of the image, `scores_apart` the largest difference from transformers' scores of the compared
    answer, as a share of the largest score.
    """

    name: str
    size: tuple[int, int] | None = None
    pictures: int | None = None
    ids: tuple[int, ...] | None = None
    answer: str | None = None
    boxes_N4: tuple[tuple[float, ...], ...] | None = None
    scores_apart: float | None = None
    differs: tuple[str, ...] = ()
    """What is other than in transformers' own way."""

    def first_other_id(self, other: Way) -> int | None:
        """The first place at which two ways read different tokens."""
        if self.ids is None or other.ids is None or self.ids == other.ids:
            return None
        pairs = enumerate(zip(self.ids, other.ids, strict=False))
        return next((n for n, (a, b) in pairs if a != b), min(len(self.ids), len(other.ids)))


@dataclass(frozen=True)
class Parity:
    """All ways, transformers' own first, and the answer whose scores were compared."""

    ways: tuple[Way, ...]
    scored: str

    @property
    def agrees(self) -> bool:
        return not any(way.differs for way in self.ways)


def parity(
    model: Model,
    image_HW3: np.ndarray,
    prompt: str,
    answer: str | None = None,
    *,
    merged: Path | str | None = None,
    http: str | None = None,
    max_new_tokens: int = 256,
) -> Parity:
    """Runs one question about an image (uint8) through all ways.

    Scores are compared at the tokens of `answer`, by default of what the model says. InputError for a model that is
    not run by transformers here.
    """
    if not isinstance(model, TransformersModel):
        raise InputError(
            f"'{model.name}' is not run here by transformers; name its folder or hub id, a server by --http"
        )
    ask = Ask(image_HW3, prompt)
    own, own_scores, scored = _transformers(model, ask, answer, max_new_tokens)
    bound = BOUND if model.family.bare.dtype == torch.float32 else BOUND_16_BITS
    ours = model.generate([ask], max_new_tokens)[0]
    found = [
        _taught(model, ask, scored, own_scores, "training", scored if answer is not None else None),
        _said(model, ask, "our decoding", ours),
    ]
    if merged is not None:
        other = load_model(merged)
        if not isinstance(other, TransformersModel):
            raise InputError(f"{merged} is not run by transformers; name the folder of a merged model")
        text = other.generate([ask], max_new_tokens)[0]
        found.append(_taught(other, ask, scored, own_scores, "merged", text))
    if http is not None:
        served = load_model(http)
        found.append(_said(served, ask, "http", served.generate([ask], max_new_tokens)[0]))
    return Parity((own, *(_compared(way, own, bound) for way in found)), scored)


# --- the ways ---------------------------------------------------------------------------------------------------


def _transformers(
    model: TransformersModel, ask: Ask, answer: str | None, max_new_tokens: int
) -> tuple[Way, Tensor | None, str]:
    """The processor's inputs, `generate`, and the scores of a plain pass over the answer."""
    family, inputs = model.family, _inputs(model, ask)
    family.model.eval()
    reads = inputs["input_ids"].shape[1]
    begun, more = (2, 1) if family.is_encoder_decoder else (reads, 0)
    with torch.inference_mode():
        made = family.bare.generate(
            **inputs, do_sample=False, num_beams=1, max_new_tokens=max_new_tokens + more,
            forced_eos_token_id=None, eos_token_id=sorted(model.end_ids),
        )  # fmt: skip
    text = model.speech.answer(made[0, begun:].tolist())
    scored = text if answer is None else answer
    size, pictures = _seen(model, inputs)
    way = Way("transformers", size, pictures, tuple(inputs["input_ids"][0].tolist()), text, _boxes(model, ask, text))
    return way, _plain_scores(model, ask, inputs, scored), scored


def _inputs(model: TransformersModel, ask: Ask) -> dict[str, Tensor]:
    """What the checkpoint's processor makes of the chat template's text and the image."""
    family, speech = model.family, model.speech
    begin, begins = speech.tokenizer.bos_token, {}
    # without a chat template; Florence-2's processor puts the image before the question itself
    asked = ask.prompt if family.is_encoder_decoder else f"{family.processor.image_token}{ask.prompt}"
    if not model.prefix(_size(ask)).takes_question:
        messages = speech.messages(ask.prompt)
        asked = family.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        # a template that writes the beginning token itself does not get a second one
        begins = {"add_special_tokens": False} if begin and asked.startswith(begin) else {}
    made = dict(
        family.processor(
            text=[asked], images=family.nested([ask.image_HW3]), return_tensors="pt",
            input_data_format="channels_last", **begins,
        )
    )  # fmt: skip
    made.pop("labels", None)  # PaliGemma's, also where nothing is to be learned
    inputs = {name: torch.as_tensor(value).to(family.device) for name, value in made.items()}
    if not any("pixel" in name for name in inputs):  # a processor of text alone
        inputs |= family.pixels([ask.image_HW3])
    return inputs


def _plain_scores(model: TransformersModel, ask: Ask, inputs: Mapping[str, Tensor], answer: str) -> Tensor | None:
    """Scores (M, V) of the answer's tokens; None for families that are asked and answer in rows of their own kind."""
    group = _group(model, ask, answer)
    if model.prefix(_size(ask)).takes_question:
        return None
    segment = group.segments[0]
    said = [token for token, learn in zip(segment.ids, segment.learn, strict=True) if learn]
    asked = inputs["input_ids"]
    behind = asked.new_tensor([said])
    whole = {**inputs, "input_ids": torch.cat([asked, behind], dim=1)}
    for name, value in inputs.items():
        if name != "input_ids" and value.shape == asked.shape:  # masks and types of tokens
            fill = torch.ones_like(behind) if name == "attention_mask" else torch.zeros_like(behind)
            whole[name] = torch.cat([value, fill.to(value.dtype)], dim=1)
    with torch.inference_mode():
        scores_TV: Tensor = model.family.bare(**whole).logits[0]
    return scores_TV[asked.shape[1] - 1 : -1].float().cpu()


def _taught(
    model: TransformersModel, ask: Ask, scored: str, own_scores: Tensor | None, name: str, answer: str | None
) -> Way:
    """The way of training; where `answer` is None it only learns the answer of transformers."""
    group = _group(model, ask, scored)
    segment = group.segments[0]
    asked = [token for token, learn in zip(segment.ids, segment.learn, strict=True) if not learn]
    size, pictures = _seen(model, model.pixels([ask.image_HW3]))
    difference = None
    if own_scores is not None:
        difference = apart(own_scores, taught_scores(model, ask.image_HW3, ask.prompt, scored))
    way = Way(name, size, pictures, (*group.prefix.ids, *asked), scores_apart=difference)
    if name == "training":
        learned = [token for token, learn in zip(segment.ids, segment.learn, strict=True) if learn]
        text = model.speech.answer(learned)
        lost = ("taught",) if answer is not None and text != answer else ()
        return replace(way, answer=text, boxes_N4=_boxes(model, ask, text), differs=lost)
    return replace(way, answer=answer, boxes_N4=_boxes(model, ask, answer or ""))


def _said(model: Model, ask: Ask, name: str, text: str) -> Way:
    """A way of which only the frame and the answer are seen, and the ids where it is ours."""
    way = Way(name, model.frame_for(_size(ask)).size, None, None, text, _boxes(model, ask, text))
    if not isinstance(model, TransformersModel):
        return way
    group = _group(model, ask, "")
    asked = [token for token, learn in zip(group.segments[0].ids, group.segments[0].learn, strict=True) if not learn]
    size, pictures = _seen(model, model.pixels([ask.image_HW3]))
    return replace(way, size=size, pictures=pictures, ids=(*group.prefix.ids, *asked))


def _compared(way: Way, own: Way, bound: float) -> Way:
    """The way with what is other in it than in transformers' own."""
    differs = list(way.differs)
    if way.pictures is not None and (way.size, way.pictures) != (own.size, own.pictures):
        differs.append("image size")
    if way.ids is not None and way.ids != own.ids:
        differs.append("ids")
    if way.name != "training":  # which is told an answer and says none
        differs += ["answer"] * (way.answer != own.answer) + ["boxes"] * (way.boxes_N4 != own.boxes_N4)
    if way.scores_apart is not None and way.scores_apart > bound:
        differs.append("scores")
    return replace(way, differs=tuple(differs))


def _group(model: TransformersModel, ask: Ask, answer: str) -> Any:
    return model.group(_size(ask), [(ask.prompt, answer)], 0)


def _size(ask: Ask) -> tuple[int, int]:
    return ask.image_HW3.shape[1], ask.image_HW3.shape[0]


def _seen(model: TransformersModel, inputs: Mapping[str, Tensor]) -> tuple[tuple[int, int], int]:
    """(width, height) of the pictures that go into the tower, and how many they are."""
    if "image_grid_thw" in inputs:
        _, rows, columns = inputs["image_grid_thw"][0].tolist()
        side = int(model.family.seeing.patch_size)
        return (columns * side, rows * side), len(inputs["image_grid_thw"])
    pixels = inputs["pixel_values"]
    height, width = pixels.shape[-2:]
    return (width, height), pixels.numel() // (3 * height * width)


def _boxes(model: Model | TransformersModel, ask: Ask, text: str) -> tuple[tuple[float, ...], ...]:
    found = model.dialect.read(text, model.frame_for(_size(ask))).objects.hbb_N4
    return tuple(tuple(round(float(v), 2) for v in box) for box in found)


# --- showing ----------------------------------------------------------------------------------------------------


def as_table(found: Parity) -> str:
    """A line for every way, what differs at its end; below, what each said."""
    own = found.ways[0]
    head = ("", "image seen", "ids", "first other", "scores apart", "differs")
    rows = [head, *(_row(way, own) for way in found.ways)]
    widths = [max(len(row[n]) for row in rows) for n in range(len(head))]
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    for title, said in (("answer", lambda way: _short(way.answer)), ("boxes", lambda way: _short(_text(way.boxes_N4)))):
        lines += ["", title, *(f"  {way.name:<{widths[0]}}  {said(way)}" for way in found.ways)]
    return "\n".join([*lines, "", f"scores are compared at the answer {_short(found.scored)}"])


def _row(way: Way, own: Way) -> tuple[str, ...]:
    apart_by = None if way.scores_apart is None else f"{way.scores_apart:.1e}"
    count = None if way.ids is None else str(len(way.ids))
    cells = (_picture(way), count, _text(way.first_other_id(own)), apart_by, ", ".join(way.differs))
    return (way.name, *(cell or "-" for cell in cells))


def as_plain(found: Parity) -> dict[str, Any]:
    """The same as JSON values."""
    own = found.ways[0]
    ways = [{**vars(way), "first_other_id": way.first_other_id(own)} for way in found.ways]
    return {"agrees": found.agrees, "scored": found.scored, "ways": ways}


def _picture(way: Way) -> str | None:
    if way.size is None:
        return None
    count = "" if way.pictures in (None, 1) else f", {way.pictures} pictures"
    return f"{way.size[0]} x {way.size[1]}{count}"


def _short(text: str | None) -> str:
    return "-" if text is None else repr(text if len(text) <= 160 else f"{text[:160]}…")


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
