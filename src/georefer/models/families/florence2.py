"""Florence-2: the image stretched to a square, an encoder reads it with the question, a decoder answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import LogitsProcessor, LogitsProcessorList
from transformers.modeling_outputs import BaseModelOutput

from georefer.errors import InputError
from georefer.geometry import Frame
from georefer.models.decoding import Constraint, Said
from georefer.models.families.base import Family, ImageFeatures, clip_frame
from georefer.models.packed import NOT_LEARNED, PackedBatch, Prefix
from georefer.models.speaking import Speech

READ_THEN_SAID = (
    "<image>{{ bos_token }}{% for m in messages %}{% for c in m.content %}{% if c.type == 'text' %}"
    "{{ '' if m.role != 'assistant' else bos_token }}{{ c.text }}{{ ' ' if m.role == 'system' else eos_token }}"
    "{% endif %}{% endfor %}{% endfor %}"
)
"""What the encoder reads, then what the decoder says, each between its own marks."""


class FlorenceSpeech(Speech):
    """A question may begin with a task such as `<OPEN_VOCABULARY_DETECTION>`, which stands for a sentence."""

    def _asked(self, prompt: str) -> str:
        try:
            (worded,) = self.processor._construct_prompts(prompt)
        except ValueError as error:
            raise InputError(f"the question {prompt!r} was found where a task stands alone: {error}") from error
        return super()._asked(worded)


class Florence2(Family):
    """Florence2ForConditionalGeneration of transformers (the checkpoints of `florence-community`).

    An encoder has no prefix that questions could share: an image is encoded once, then read again with every
    question. The released models answer the sentences that tasks stand for, such as `Locate ship in the image.`
    """

    dialect = "florence-2"
    template = READ_THEN_SAID
    is_encoder_decoder = True

    def speech(self, system: str = "") -> Speech:
        return FlorenceSpeech(self.processor, system, image_tokens=self.processor.num_image_tokens)

    def views(self, size: tuple[int, int]) -> tuple[Frame, ...]:
        return (clip_frame(self.seeing, size),)

    def prefix(self, ids: Sequence[int], size: tuple[int, int]) -> Prefix:
        return replace(super().prefix(ids, size), takes_question=True)

    def learned_hidden(self, batch: PackedBatch, shown: ImageFeatures) -> Tensor:
        """The groups of a packed batch, taken apart into what is read and what is said."""
        embedded_BTD = self.embed(batch.ids_BT, shown)["inputs_embeds"]
        text, layout, start = self.decoder, batch.layout, self.decoder.config.decoder_start_token_id
        groups = [(row, group) for row, of_T in enumerate(layout.group_BT) for group in range(int(of_T.max()) + 1)]
        read, said, learned = [], [], []
        for row, group in groups:
            is_read_T = (layout.group_BT[row] == group) & (layout.segment_BT[row] == 0)
            is_said_T = (layout.group_BT[row] == group) & (layout.segment_BT[row] == 1)
            # the decoder begins where what is read ends
            targets = [batch.targets_BT[row][is_read_T][-1:], batch.targets_BT[row][is_said_T]]
            read.append(embedded_BTD[row][is_read_T])
            said.append(torch.cat([batch.ids_BT.new_tensor([start]), batch.ids_BT[row][is_said_T]]))
            learned.append(torch.cat(targets) != NOT_LEARNED)
        memory, seen_GR = self._read(read)
        hidden_GSD = text.decoder(
            input_ids=pad_sequence(said, batch_first=True, padding_value=text.config.pad_token_id),
            encoder_hidden_states=memory.last_hidden_state,
            encoder_attention_mask=seen_GR,
            use_cache=False,
        ).last_hidden_state
        # padding stands behind, where a decoder does not look
        hidden: Tensor = hidden_GSD[pad_sequence(learned, batch_first=True)]
        return hidden

    def said(
        self,
        shown: ImageFeatures,
        asked: Sequence[Prefix],
        constraints: Sequence[Constraint | None],
        end_ids: frozenset[int],
        max_new_tokens: int,
    ) -> list[Said]:
        """What the model's own `generate` says to each question, greedily.

        The checkpoint's other settings hold: released ones say no three tokens twice, but where a grammar is given.
        """
        if max_new_tokens <= 0:
            return [Said((), (), "length")] * len(asked)
        ids = [torch.tensor(prefix.ids, device=self.device) for prefix in asked]
        read = [
            self.embed(ids_P[None], ImageFeatures([tokens]))["inputs_embeds"][0]
            for ids_P, tokens in zip(ids, shown.tokens, strict=True)
        ]
        memory, seen_RP = self._read(read)
        begins = [self.decoder.config.decoder_start_token_id, self.processor.tokenizer.bos_token_id]
        held = _Held(constraints, end_ids, len(begins))
        made_RT = self.bare.generate(
            input_ids=pad_sequence(ids, batch_first=True, padding_value=self.decoder.config.pad_token_id),
            attention_mask=seen_RP,
            encoder_outputs=memory,
            decoder_input_ids=seen_RP.new_tensor([begins] * len(asked)),
            logits_processor=LogitsProcessorList([held]),
            max_new_tokens=max_new_tokens,
            num_beams=1,
            do_sample=False,
            eos_token_id=sorted(end_ids),
            forced_eos_token_id=None,
            **({"no_repeat_ngram_size": 0} if any(constraints) else {}),
        )
        hidden_RTD = self.decoder.decoder(
            input_ids=made_RT[:, :-1],
            encoder_hidden_states=memory.last_hidden_state,
            encoder_attention_mask=seen_RP,
            use_cache=False,
        ).last_hidden_state[:, len(begins) - 1 :]
        return [
            _ended(ids_T.tolist(), self._logprobs(hidden_TD, ids_T), end_ids, stuck)
            for ids_T, hidden_TD, stuck in zip(made_RT[:, len(begins) :], hidden_RTD, held.stuck, strict=True)
        ]

    def _logprobs(self, hidden_TD: Tensor, ids_T: Tensor) -> list[float]:
        """Read row by row behind the answer: scores of all steps of all rows would be gigabytes."""
        logprobs_TV = self.logits(hidden_TD).float().log_softmax(-1)
        found: list[float] = logprobs_TV.gather(1, ids_T[:, None])[:, 0].tolist()
        return found

    def _read(self, embedded: Sequence[Tensor]) -> tuple[BaseModelOutput, Tensor]:
        """What the encoder makes of rows (P, D), and which of its tokens are real (R, P)."""
        rows_RPD = pad_sequence(list(embedded), batch_first=True)
        real_RP = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in embedded], batch_first=True)
        seen_RP = real_RP.to(rows_RPD.device)
        return self.decoder.encoder(inputs_embeds=rows_RPD, attention_mask=seen_RP), seen_RP


class _Held(LogitsProcessor):  # type: ignore[misc]
    """Constraints on the rows of a `generate` that began with so many tokens; `stuck` are rows that could not go on."""

    def __init__(self, constraints: Sequence[Constraint | None], end_ids: frozenset[int], begun: int):
        self.constraints = constraints
        self.end_ids = sorted(end_ids)
        self.begun = begun
        self.stuck = [False] * len(constraints)
        self._ended = [False] * len(constraints)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        for row, constraint in enumerate(self.constraints):
            if constraint is not None and not self._ended[row]:
                scores[row] = self._held(row, constraint, input_ids[row], scores[row])
        return scores

    def _held(self, row: int, constraint: Constraint, said_T: Tensor, scores_V: Tensor) -> Tensor:
        if len(said_T) > self.begun:
            constraint.takes(int(said_T[-1]))
        allowed_V = torch.zeros(len(scores_V), dtype=torch.bool)
        if not constraint.must_end:
            allowed_V = constraint.allowed_V(len(scores_V))
        self.stuck[row] = not (allowed_V.any() or constraint.may_end or constraint.must_end)
        if not allowed_V.any() or constraint.may_end:
            allowed_V[self.end_ids] = True
        held_V = scores_V.masked_fill(~allowed_V.to(scores_V.device), -torch.inf)
        self._ended[row] = int(held_V.argmax()) in self.end_ids
        return held_V


def _ended(ids: Sequence[int], logprobs: Sequence[float], end_ids: frozenset[int], stuck: bool) -> Said:
    """Generated ids up to the first that ends the answer."""
    kept = next((n for n, token in enumerate(ids) if token in end_ids), None)
    stopped: Literal["end", "length"] = "length" if kept is None or stuck else "end"
    return Said(tuple(ids[:kept]), tuple(logprobs[:kept]), stopped)
