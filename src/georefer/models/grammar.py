"""Answers that follow a grammar, token by token, by llguidance: nothing malformed can be said.

A grammar is Lark's, as dialects give it. llguidance reads its terminals greedily, so one may not end within another
that can go on: a label that is followed by a space has the space in its own terminal.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from georefer.errors import InputError, MissingExtra
from georefer.models.speaking import Speech

_PIECE = re.compile(r'"(?:\\.|[^"\\])*"|/(?:\\.|[^/\\])*/|\w+|\s+|.')


def without(grammar: str, *rules: str) -> str:
    """The grammar without what cannot be said but by these rules; InputError where nothing is left.

    So `without(georefer.grammar(), "obb", "polygon", "mask")` leaves boxes alone.
    """
    dropped, kept = set(rules), re.findall(r"^(\w+):((?:.*\n(?=\s))*.*)$", grammar, re.MULTILINE)
    while True:
        told = {name: _alternatives(_PIECE.findall(body)[::-1], dropped) for name, body in kept if name not in dropped}
        empty = {name for name, body in told.items() if not body}
        if "start" in empty | dropped:
            raise InputError(
                f"nothing can be said without {', '.join(rules)}; leave some of these rules in the grammar"
            )
        if not empty:
            return "".join(f"{name}: {body}\n" for name, body in told.items())
        dropped |= empty


def _alternatives(pieces: list[str], dropped: set[str]) -> str:
    """What is left of alternatives up to the end of their group, read from the end of the list."""
    made: list[str] = []
    one, lost = "", False
    while pieces:
        piece = pieces.pop()
        if piece in (")", "|"):
            made, one, lost = made if lost else [*made, one.strip()], "", False
            if piece == ")":
                return " | ".join(made)
        elif piece == "(":
            inner, optional = _alternatives(pieces, dropped), bool(pieces) and pieces[-1] in "?*"
            one += f"({inner})" if inner else ""
            lost |= not inner and not optional
            if not inner and optional:
                pieces.pop()
        elif piece in dropped:
            if pieces and pieces[-1] in ("?", "*"):
                pieces.pop()
            else:
                lost = True
        else:
            one += piece
    return " | ".join(made if lost else [*made, one.strip()])


class GrammarMaker:
    """Makes the constraints of one checkpoint's answers; `size` is the number of scores that its model gives."""

    def __init__(self, speech: Speech, end_ids: frozenset[int], size: int):
        if find_spec("llguidance") is None:
            raise MissingExtra("constraining answers by a grammar", "grammar")
        self._end_ids = end_ids
        self._glue = _glue(speech)
        self._tokenizer = _tokenizer(speech, end_ids, max(size, len(speech.tokenizer)))
        # a benchmark has few grammars; each is compiled once
        self._matcher = lru_cache(maxsize=64)(self._compiled)

    def begin(self, grammar: str) -> GrammarState:
        """The constraint of one answer; InputError where llguidance does not take the grammar."""
        return GrammarState(self._matcher(grammar).deep_copy(), self._end_ids)

    def _compiled(self, grammar: str) -> Any:
        from llguidance import LLMatcher

        whole = grammar
        if self._glue:
            whole = f"start: {json.dumps(self._glue)}? answer\n" + re.sub(r"\bstart\b", "answer", grammar)
        matcher = LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(whole), log_level=0)
        if matcher.is_error():
            raise InputError(f"the grammar cannot be followed ({matcher.get_error()}); mend it")
        return matcher


class GrammarState:
    """How far one answer has come in its grammar: a `decoding.Constraint`."""

    def __init__(self, matcher: Any, end_ids: frozenset[int]):
        self._matcher, self._ends = matcher, sorted(end_ids)

    @property
    def may_end(self) -> bool:
        return bool(self._matcher.is_accepting())

    @property
    def must_end(self) -> bool:
        if self._matcher.is_error():
            raise RuntimeError(f"llguidance cannot follow the answer: {self._matcher.get_error()}")
        return bool(self._matcher.is_stopped())

    def takes(self, token: int) -> bool:
        return bool(self._matcher.try_consume_tokens([token]) == 1)

    def allowed_V(self, size: int) -> Tensor:
        bits = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), np.uint8), bitorder="little")
        allowed_V = torch.from_numpy(bits[:size].astype(bool))
        allowed_V[self._ends] = False
        return allowed_V

    def forced(self) -> list[int]:
        return list(self._matcher.compute_ff_tokens())


def _tokenizer(speech: Speech, end_ids: frozenset[int], size: int) -> Any:
    """The checkpoint's tokenizer for llguidance, in which special tokens that answers may hold are plain text.

    It would else spell the marks of a dialect, as `<|box_start|>`, letter by letter.
    """
    from llguidance import LLTokenizer, TokenizerWrapper

    backend = json.loads(speech.tokenizer.backend_tokenizer.to_str())
    written = json.dumps({**backend, "padding": None, "truncation": None})
    plain = LLTokenizer(written, n_vocab=size, eos_token=sorted(end_ids))
    special = [token for token in speech.tokenizer.added_tokens_decoder if plain.is_special_token(token)]
    segment = speech.segment("", "".join(map(str, speech.tokenizer.convert_ids_to_tokens(special))))
    said = {token for token, learned in zip(segment.ids, segment.learn, strict=True) if learned} - end_ids
    if not said & set(special):
        return plain
    return LLTokenizer(TokenizerWrapper(_Words(plain, said)), eos_token=sorted(end_ids))


class _Words:
    """What llguidance asks of a tokenizer that is not its own."""

    def __init__(self, plain: Any, said: set[int]):
        every = range(plain.vocab_size)
        self.tokens = [plain.decode_bytes([token]) for token in every]
        self.special_token_ids = [token for token in every if plain.is_special_token(token) and token not in said]
        self.eos_token_id, self.bos_token_id = plain.eos_token, None
        self._plain = plain

    def __call__(self, text: bytes) -> list[int]:
        return list(self._plain.tokenize_bytes(text))


def _glue(speech: Speech) -> str:
    """What stands between the question and an answer: a space for LLaVA."""

    def text(ids: list[int]) -> str:
        return str(speech.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    whole = text(list(speech.segment("q", "answer").ids))
    return whole.removeprefix(text(speech.question_ids("q"))).partition("answer")[0]
