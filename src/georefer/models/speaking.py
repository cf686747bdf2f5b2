"""Questions and answers as token ids, by the checkpoint's own chat template and tokenizer, split behind the image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jinja2 import TemplateError

from georefer.errors import CheckpointError
from georefer.models.packed import Segment

_QUESTION, _ANSWER = "georefer question", "georefer answer"


class Speech:
    """How one checkpoint is spoken to.

    A conversation is cut behind the last special token before the question: what stands before is the same for all
    questions of an image, and no tokenizer merges anything across a special token, so that prefix and segment
    together are exactly the ids of the whole. A text that holds the template's own marks has them spelled with a
    gap.

    `image_tokens` is how many placeholders any image becomes, for a processor that writes marks of its own around
    the text and so cannot be asked; else None.
    """

    def __init__(self, processor: Any, system: str = "", *, image_tokens: int | None = None):
        self.processor = processor
        self._image_tokens = image_tokens
        self.tokenizer = processor.tokenizer
        self._system = system
        added, image = self.tokenizer.added_tokens_decoder, processor.image_token
        # not all that is added: Gemma adds line breaks and tags of HTML, which do merge with what is beside them
        self._special = {i: str(token) for i, token in added.items() if token.special or str(token) == image}
        asked, told = self._render(False), self._render(True)
        self._trims = f" {_QUESTION} " not in self._render(False, f" {_QUESTION} ")
        """Whether the template drops spaces around the question, as Gemma's does."""
        head, tail = _halves(asked, _QUESTION)
        # a template that tells otherwise than it asks cannot be followed in both: what is asked decides
        glue, _, ending = told.removeprefix(asked).partition(_ANSWER) if told.startswith(asked) else ("", "", "")
        self._glue = glue
        """Between the generation prompt and the answer: a space for LLaVA."""
        self._end = self._ending(ending)
        cut = self._behind_image(head)
        self._prefix_text, self._tail = head[:cut], tail
        shown, after = self._cut(self._expanded((64, 64)))
        self._anchor, self._after = self.tokenizer.convert_ids_to_tokens(shown[-1]), after
        # what a processor writes behind its image tokens is tokenized together with the question
        self._bridge = self._behind(after) + head[cut:]
        self._marks = self._structure(shown)
        # sizes repeat: a dataset's chips have one or a few
        self.prefix_ids = lru_cache(maxsize=4096)(self._prefix_ids)

    # --- ids --------------------------------------------------------------------------------------------------

    def _prefix_ids(self, size: tuple[int, int]) -> tuple[int, ...]:
        """All ids before the question for an image of (width, height), placeholders expanded.

        The processor itself is asked, with a black image, so that whatever it writes around its tiles is there.
        """
        shown, after = self._cut(self._expanded(size))
        if after != self._after:
            raise CheckpointError(
                f"the processor was found to write other text behind an image of {size[0]} x {size[1]} than behind "
                "others, where the same is expected; this family needs its own rule"
            )
        return shown

    def _expanded(self, size: tuple[int, int]) -> tuple[int, ...]:
        if self._image_tokens is not None:
            mark = self.processor.image_token
            return tuple(self._ids(self._prefix_text.replace(mark, mark * self._image_tokens)))
        width, height = size
        black_HW3 = np.zeros((height, width, 3), np.uint8)
        made = self.processor(
            text=[self._prefix_text],
            images=[black_HW3],
            input_data_format="channels_last",
            **self._begins(self._prefix_text),
        )
        return tuple(int(i) for i in made["input_ids"][0])

    def _cut(self, ids: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids up to the last special token, and those behind it."""
        last = max((n for n, token in enumerate(ids) if token in self._special), default=-1)
        return ids[: last + 1], ids[last + 1 :]

    def _behind(self, ids: tuple[int, ...]) -> str:
        """The text of ids that stand behind the anchor."""
        return self._decoded([*self._ids(self._anchor), *ids]).removeprefix(self._anchor)

    def _decoded(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def question_ids(self, prompt: str) -> list[int]:
        """The question behind its image, up to where the answer begins."""
        return self._behind_anchor(self._asked(prompt))

    def _asked(self, prompt: str) -> str:
        return self._bridge + self.plain(prompt.strip() if self._trims else prompt) + self._tail

    def segment(self, prompt: str, answer: str) -> Segment:
        """The question as it is asked, then the answer and the end of turn, which alone are learned."""
        asked = self.question_ids(prompt)
        said = self._glue + self.plain(answer) + self._end
        whole = self._behind_anchor(self._asked(prompt) + said)
        if whole[: len(asked)] != asked:
            # a token would straddle the border, which generation cannot reproduce: the answer is tokenised apart
            whole = asked + self._behind_anchor(said)
        return Segment(whole, [i >= len(asked) for i in range(len(whole))])

    def answer(self, ids: Sequence[int]) -> str:
        """The text of generated ids, up to the end of the turn; special tokens stay, as dialects speak some."""
        ends = self.end_ids
        kept = next((list(ids[:n]) for n, token in enumerate(ids) if token in ends), list(ids))
        # behind the anchor, as some tokenizers drop a space at the very beginning
        return self._behind(tuple(kept)).removeprefix(self._glue)

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        return frozenset({self.tokenizer.eos_token_id, self._ids(self._end)[-1]})

    @property
    def pad_id(self) -> int:
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id)
        return next((i for i in known if i is not None), 0)

    # --- the template ------------------------------------------------------------------------------------------

    def messages(self, prompt: str, answer: str | None = None) -> list[dict[str, Any]]:
        """The conversation as transformers' chat templates take it."""

        def said(role: str, *content: dict[str, str]) -> dict[str, Any]:
            return {"role": role, "content": list(content)}

        made = [said("system", {"type": "text", "text": self._system})] if self._system else []
        made.append(said("user", {"type": "image"}, {"type": "text", "text": prompt}))
        if answer is not None:
            made.append(said("assistant", {"type": "text", "text": answer}))
        return made

    def _render(self, told: bool, question: str = _QUESTION) -> str:
        """The conversation of two stand-ins as text."""
        messages = self.messages(question, _ANSWER if told else None)
        try:
            text: str = self.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=not told)
        except (ValueError, TypeError, TemplateError) as error:
            raise CheckpointError(
                f"the checkpoint's chat template does not render ({error}); give it a chat_template.jinja"
            ) from error
        return text

    def _ending(self, written: str) -> str:
        """What ends an answer: the template's own end of turn, or the end token where it writes none."""
        ends = [t for t in self._special.values() if t in written]
        if not ends:
            return str(self.tokenizer.eos_token)
        first = min(ends, key=written.index)
        return written[: written.index(first) + len(first)]

    def _behind_image(self, text: str) -> int:
        """Where the last special token in what stands before the question ends."""
        if self.processor.image_token not in text:
            raise CheckpointError(
                f"the image's {self.processor.image_token} was not found in '{text}', which the chat template puts "
                "before the question; give the checkpoint a template that shows the image first"
            )
        return max(text.rfind(token) + len(token) for token in self._special.values() if token in text)

    def _structure(self, shown: tuple[int, ...]) -> list[str]:
        """Special tokens that build the conversation and must not come in by a question or an answer."""
        built = self._prefix_text + self._bridge + self._tail + self._end
        kept = {self._special[i] for i in shown if i in self._special}
        kept |= {token for token in self._special.values() if token in built}
        kept |= {str(t) for t in (self.tokenizer.eos_token, self.tokenizer.bos_token, self.processor.image_token) if t}
        return sorted(kept, key=len, reverse=True)

    def plain(self, text: str) -> str:
        """The text with such tokens spelled with a gap, so that they are words."""
        for mark in self._marks:
            if mark in text:
                text = text.replace(mark, f"{mark[0]} {mark[1:]}")
        return text

    def _behind_anchor(self, text: str) -> list[int]:
        """Ids of a text in its place behind the special token; tokenizers treat the very beginning otherwise."""
        return self._ids(self._anchor + text)[1:]

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _begins(self, text: str) -> dict[str, bool]:
        """Templates that write the beginning token themselves do not get a second one."""
        begin = self.tokenizer.bos_token
        return {"add_special_tokens": False} if begin and text.startswith(begin) else {}


def _halves(text: str, at: str) -> tuple[str, str]:
    before, found, after = text.partition(at)
    if not found:
        raise CheckpointError(f"the chat template was found to leave the question out of '{text}'; give it another one")
    return before, after
