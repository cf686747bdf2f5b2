"""Any vision-language model of transformers behind georefer's Model contract, for answering and for training."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor
from transformers.utils import logging

from georefer.dialects import Dialect
from georefer.geometry import Frame
from georefer.models import adapter
from georefer.models.answer import Answer, answer_of
from georefer.models.base import Ask
from georefer.models.decoding import Question, Said, greedy_answers
from georefer.models.drafting import TextDraft, TokenDraft, mask_rows
from georefer.models.families.base import Family
from georefer.models.grammar import GrammarMaker
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
    image_side: int = 0
    """Where its images are shown larger than the checkpoint it began with was made for (`seeing`)."""

    def frame_for(self, size: tuple[int, int]) -> Frame:
        return self.family.frame_for(size)

    def generate(self, asks: Sequence[Ask], max_new_tokens: int = 256) -> list[str]:
        """Greedy answers in the order asked; asks that share an image object share its encoding."""
        return [answer.text for answer in self.answers(asks, max_new_tokens)]

    def answers(
        self,
        asks: Sequence[Ask],
        max_new_tokens: int = 256,
        *,
        grammar: str | Sequence[str | None] | None = None,
        draft: TextDraft | None = None,
    ) -> list[Answer]:
        """The answers of `generate` with their tokens and how sure the model was of each.

        With a `grammar` (Lark; `dialect.grammar()`, or one for each ask) nothing else can be said; an answer that
        would have followed it anyway stays the same. `draft` guesses what comes next; by default it knows the
        dialect's masks. No guess changes an answer.
        """
        self.family.model.eval()
        grammars = [grammar] * len(asks) if grammar is None or isinstance(grammar, str) else list(grammar)
        draft = draft or mask_rows(self.dialect)
        pieces: dict[tuple[int, int], str] = {}
        questions = [
            Question(
                self.speech.question_ids(ask.prompt),
                id(ask.image_HW3),
                self.grammars.begin(one) if one is not None else None,
                TokenDraft(self.speech, draft, pieces) if draft else None,
            )
            for ask, one in zip(asks, grammars, strict=True)
        ]
        said: dict[int, Said] = {}
        for rows in self._together(asks):
            made = self._said([asks[n].image_HW3 for n in rows], [questions[n] for n in rows], max_new_tokens)
            said |= dict(zip(rows, made, strict=True))
        return [answer_of(self.speech, said[n]) for n in range(len(asks))]

    def _together(self, asks: Sequence[Ask]) -> list[list[int]]:
        """Indices of asks that are answered from one cache: all of an image, and other images while there is room."""
        by_image: dict[int, list[int]] = {}
        for n, ask in enumerate(asks):
            by_image.setdefault(id(ask.image_HW3), []).append(n)
        groups: list[list[int]] = []
        # images of like length with like numbers of questions stand together, so that little is padded
        for rows in sorted(by_image.values(), key=lambda rows: (self._length(asks[rows[0]].image_HW3), len(rows))):
            rows.sort(key=lambda n: len(asks[n].prompt))
            if groups and len(groups[-1]) + len(rows) <= self.batch_rows:
                groups[-1] += rows
            else:
                groups.append(rows)
        return groups

    def _length(self, image_HW3: np.ndarray) -> int:
        return len(self.speech.prefix_ids(_size(image_HW3)))

    def _said(self, images: Sequence[np.ndarray], questions: Sequence[Question], max_new_tokens: int) -> list[Said]:
        """What is said to questions whose `image` is the identity of theirs."""
        distinct = {id(image): image for image in images}
        row_of = {key: row for row, key in enumerate(distinct)}
        return greedy_answers(
            self.family,
            list(distinct.values()),
            [self.prefix(_size(image)) for image in distinct.values()],
            [replace(question, image=row_of[question.image]) for question in questions],
            end_ids=self.end_ids,
            max_new_tokens=max_new_tokens,
            rows_at_once=self.batch_rows,
        )

    @cached_property
    def grammars(self) -> GrammarMaker:
        """Makes the constraints of this checkpoint's answers."""
        return GrammarMaker(self.speech, self.end_ids, self.family.bare.get_output_embeddings().weight.shape[0])

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer: those of the checkpoint's generation settings and of its chat template."""
        set_ids = self.family.bare.generation_config.eos_token_id
        more = set_ids if isinstance(set_ids, list) else [set_ids]
        return self.speech.end_ids | {i for i in more if i is not None}

    def seeing(self, side: int) -> TransformersModel:
        """The same weights with their images shown as squares of another side, where the family can interpolate."""
        self.family.interpolate_positions(side)
        # an image is more tokens now
        return replace(self, speech=self.family.speech(self.system), image_side=side)

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
        """Write the checkpoint in its family's own format, or of an adapted one what is added to its base.

        `load_model` reads both back.
        """
        settings = {"dialect": self.dialect.name, "system": self.system}
        with quiet():
            if adapter.is_adapted(self.family):
                record = adapter.save_adapter(self.family, folder)
                settings |= {"base": record.base, "base_digest": record.digest, "quantise": record.quantise}
                settings |= {"image_side": str(self.image_side)} if self.image_side else {}
            else:
                self.family.bare.save_pretrained(folder)
                self.family.processor.save_pretrained(folder)
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
