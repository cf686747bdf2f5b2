"""Any vision-language model of transformers behind georefer's Model contract, for answering and for training."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor
from transformers.utils import logging

from georefer.dialects import Dialect
from georefer.geometry import Frame
from georefer.models.base import Ask
from georefer.models.families.base import Family
from georefer.models.greedy import greedy_answers
from georefer.models.packed import Group, Prefix, Segment
from georefer.models.speaking import Speech

SETTINGS_FILE = "georefer.json"
"""Beside the checkpoint's own files: the dialect and the system sentence that it was trained with."""


@dataclass(frozen=True, eq=False)
class TransformersModel:
    """A checkpoint with its way to see (`family`), its way to be asked (`speech`) and its dialect.

    `name` tells weights apart, so kept answers never mix two models. At most `batch_rows` questions are answered at
    once: each row holds the keys and values of its image.
    """

    name: str
    family: Family
    speech: Speech
    dialect: Dialect
    system: str = ""
    batch_rows: int = 16

    def frame_for(self, size: tuple[int, int]) -> Frame:
        return self.family.frame_for(size)

    def generate(self, asks: Sequence[Ask], max_new_tokens: int = 256) -> list[str]:
        """Greedy answers in the order asked; asks that share an image object share its encoding."""
        self.family.model.eval()
        answers = [""] * len(asks)
        for rows in self._together(asks):
            for row, text in zip(rows, self._answer([asks[n] for n in rows], max_new_tokens), strict=True):
                answers[row] = text
        return answers

    def _together(self, asks: Sequence[Ask]) -> list[list[int]]:
        """Indices of asks that are answered from one cache: all of an image, and other images while there is room."""
        by_image: dict[int, list[int]] = {}
        for n, ask in enumerate(asks):
            by_image.setdefault(id(ask.image_HW3), []).append(n)
        groups: list[list[int]] = []
        for rows in by_image.values():
            # like lengths stand together, so that little is padded
            rows.sort(key=lambda n: len(asks[n].prompt))
            if groups and len(groups[-1]) + len(rows) <= self.batch_rows:
                groups[-1] += rows
            else:
                groups.append(rows)
        return groups

    def _answer(self, asks: Sequence[Ask], max_new_tokens: int) -> list[str]:
        index_of = {key: n for n, key in enumerate(dict.fromkeys(id(ask.image_HW3) for ask in asks))}
        images = list({id(ask.image_HW3): ask.image_HW3 for ask in asks}.values())
        said = greedy_answers(
            self.family,
            images,
            [self.prefix(_size(image)) for image in images],
            [self.speech.question_ids(ask.prompt) for ask in asks],
            [index_of[id(ask.image_HW3)] for ask in asks],
            end_ids=self.end_ids,
            max_new_tokens=max_new_tokens,
            rows_at_once=self.batch_rows,
        )
        return [self.speech.answer(ids) for ids in said]

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer: those of the checkpoint's generation settings and of its chat template."""
        set_ids = self.family.bare.generation_config.eos_token_id
        more = set_ids if isinstance(set_ids, list) else [set_ids]
        return self.speech.end_ids | {i for i in more if i is not None}

    # --- for training -----------------------------------------------------------------------------------------

    def pixels(self, images: Sequence[np.ndarray]) -> dict[str, Tensor]:
        """What the checkpoint's own image processor makes of uint8 images (H, W, 3)."""
        return self.family.pixels(images)

    def prefix(self, size: tuple[int, int]) -> Prefix:
        """All tokens before a question about an image of (width, height), with their positions."""
        return self.family.prefix(self.speech.prefix_ids(size), size)

    def segment(self, prompt: str, answer: str) -> Segment:
        """A question with its answer, behind the prefix; the answer and the end of turn are learned."""
        return self.speech.segment(prompt, answer)

    def group(self, size: tuple[int, int], turns: Sequence[tuple[str, str]], image: int) -> Group:
        """Questions and answers about image number `image` of a batch, ready for `packed.pack`."""
        return Group(self.prefix(size), [self.segment(*turn) for turn in turns], image)

    def save(self, folder: Path) -> None:
        """Write the checkpoint in its family's own format; `load_model` reads it back."""
        with quiet():
            self.family.bare.save_pretrained(folder)
            self.family.processor.save_pretrained(folder)
        settings: Mapping[str, str] = {"dialect": self.dialect.name, "system": self.system}
        (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2) + "\n")


def _size(image_HW3: np.ndarray) -> tuple[int, int]:
    return image_HW3.shape[1], image_HW3.shape[0]


@contextmanager
def quiet() -> Iterator[None]:
    """Without progress bars and without transformers' remarks on image processors that need torchvision."""
    was_enabled, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(level)
        if was_enabled:
            logging.enable_progress_bar()
