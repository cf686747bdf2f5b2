"""Answers drawn by a vLLM server, which gets the adapter whenever it was learned further and gives tokens back.

**Nothing is assumed of the server.** Its tokens are taken as they were drawn, never made again from text; the prompt
that it read must be ours token for token, with as many tokens of the image; whatever its own defaults would change of
the distribution (top_p, penalties) is asked for as off; and its log-probabilities must be near ours, which other
weights, or scores before the temperature (vLLM's default), would not give.

**Off policy.** Its kernels round otherwise, so its answers are drawn from probabilities q that are a little other
than the trainer's p, or much, where it got the adapter some batches ago. So the trainer scores the tokens again, which
gives the old log-probabilities of the steps that learn from them, and an answer counts min(p / q, 3) times: the
correction of TRL and ms-swift for whole answers, of which only the truncation biases the gradient. A weight for each
token would vary less over long answers, but be biased throughout.

**An adapter's name is the digest of its weights.** vLLM finds what it has cached of a prompt by the adapter's name
(its issues 30931 and 42125), so that other weights under an old name would be answered for with old keys and values.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from georefer.errors import ConfigError, InputError
from georefer.models import adapter
from georefer.models.endpoint import Garbled, NotFound, Refused
from georefer.models.http import HttpSettings, Pictures, chat, connect
from georefer.models.sampling import Drawn
from georefer.models.transformers_model import TransformersModel
from georefer.runlog import say, swap_folder
from georefer.training.grpo_settings import GrpoSettings
from georefer.training.loop import Progress
from georefer.training.prompts import Prompts
from georefer.training.rollout_store import saved_step
from georefer.training.rollouts import Rollout, refuse_encoder

_MOST_WEIGHT = 3.0
"""Of an answer that the trainer finds likelier than the server did."""

_FAR = 0.3
"""Mean distance of a token's log-probabilities here and there; kernels in bfloat16 differ by some hundredths."""

_TOKEN_BYTES, _REPLY_BYTES = 400, 2_000_000
"""Of a token with its log-probability in JSON, generously, and of the rest of a reply."""

_NOT_HERE = ("dialect", "system", "min_pixels", "max_pixels", "image", "cache", "skip_refused", "logprobs")
_START = "VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 vllm serve BASE --enable-lora --max-lora-rank RANK"


@dataclass(frozen=True, eq=False)
class Wanted:
    """A question of a scene, by its number, and the seed of its answers."""

    scene: Prompts
    question: int
    seed: int


class RolloutServer:
    """The server of a run; `sync`, then `drawn`. Every process asks for its own questions, the first hands over."""

    def __init__(self, settings: GrpoSettings, model: TransformersModel, folder: Path) -> None:
        self._how, self._updates, self._model = settings.draw, settings.updates, model
        self._folder = folder / "served"
        refuse_encoder(model)
        _check_adapters_alone(model)
        name, asked, self.endpoint = connect(settings.draw.server, timeout_s=600.0, concurrency=32)
        usual = HttpSettings()
        if odd := [*["a model's name"] * bool(name), *(k for k in _NOT_HERE if getattr(asked, k) != getattr(usual, k))]:
            raise ConfigError(
                f"draw.server sets {', '.join(odd)}, which the run decides; leave it out (an address alone, or with "
                "settings as in http://host:8000/v1#,concurrency=64)"
            )
        self._at_once = asked.concurrency
        self.endpoint.most_bytes = _REPLY_BYTES + self._how.answers * self._how.max_new_tokens * _TOKEN_BYTES
        self._version, self._name, self._is_new = -1, "", False

    # --- the adapter ------------------------------------------------------------------------------------------

    def sync(self, number: int, at: Progress) -> None:
        """Hands over the adapter that batch `number` is drawn with, where the server does not have it.

        It lies beside the run, and stays there while a saved state may go on between two syncs, which then draws with
        the adapter that it drew with before.
        """
        version = number - number % self._how.sync_every
        self._is_new = version == number
        if version == self._version:
            return
        path = self._folder / f"{version:08}"
        if at.rank == 0:
            if version == number or not path.is_dir():
                self._write(path)
            self._hand_over(path)
            self._forget(version)
        PartialState().wait_for_everyone()
        self._version, self._name = version, _name_of(path)

    def _write(self, path: Path) -> None:
        partial_path = path.with_name(f"{path.name}.partial")
        shutil.rmtree(partial_path, ignore_errors=True)
        adapter.save_adapter(self._model.family, partial_path)
        swap_folder(partial_path, path)

    def _hand_over(self, path: Path) -> None:
        name, place = _name_of(path), self.endpoint.place
        # the old one first: it may have room for one; a run that was killed may have left the new one there
        for old in {self._name, name} - {""}:
            with suppress(NotFound, Refused):
                self.endpoint.tell("/unload_lora_adapter", {"lora_name": old})
        try:
            self.endpoint.tell("/load_lora_adapter", {"lora_name": name, "lora_path": str(path.resolve())})
        except (NotFound, Refused) as error:
            raise InputError(
                f"the server at {place} did not take the adapter in {path}{error.said}; start it with  {_START}  where "
                "that folder is seen under the same path"
            ) from error

    def _forget(self, version: int) -> None:
        """Removes all versions but this and the one that a run would go on with that was killed now."""
        saved = saved_step(self._folder.parent) // self._updates
        kept = {version, saved - saved % self._how.sync_every}
        for path in self._folder.iterdir():
            if path.name.isdigit() and int(path.name) not in kept:
                shutil.rmtree(path)

    # --- answers ----------------------------------------------------------------------------------------------

    def drawn(self, wanted: Sequence[Wanted]) -> list[tuple[Drawn, ...]]:
        """G answers to each question, in their order, with log-probabilities as the server says them.

        InputError where the server cannot be learned from, GeoreferError where it fails again and again.
        """
        pictures, images = Pictures("png"), {id(one.scene): one.scene.example.image() for one in wanted}
        jobs = [partial(self._ask, one, pictures, images[id(one.scene)]) for one in wanted]
        return self.endpoint.all(jobs, self._at_once)

    def _ask(self, wanted: Wanted, pictures: Pictures, image_HW3: np.ndarray) -> tuple[Drawn, ...]:
        how, prompt = self._how, wanted.scene.asked[wanted.question].prompt
        answers, tokens = self.endpoint.ask(
            "/chat/completions",
            partial(self._read, wanted),
            {
                "model": self._name,
                "messages": chat(self._model.system, pictures.data_url(image_HW3), self._model.speech.plain(prompt)),
                "n": how.answers, "seed": wanted.seed, "max_tokens": how.max_new_tokens,
                "temperature": how.temperature,
                # a server follows its checkpoint's generation settings in what is not said
                "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
                "presence_penalty": 0.0, "frequency_penalty": 0.0,
                "logit_bias": self._unsayable(), "stop_token_ids": sorted(self._model.end_ids),
                "logprobs": True, "return_token_ids": True,
            },
        )  # fmt: skip
        self.endpoint.spend(tokens)
        return answers

    def _unsayable(self) -> dict[str, int]:
        """The placeholder of images, which is never drawn here either."""
        family = self._model.family
        is_scored = family.image_token_id < family.bare.get_output_embeddings().weight.shape[0]
        return {str(family.image_token_id): -100} if is_scored else {}

    def _read(self, wanted: Wanted, said: Any) -> tuple[tuple[Drawn, ...], int | None]:
        """The answers of a reply and the tokens that it took; Garbled where asking again may help."""
        try:
            choices = sorted(said["choices"], key=lambda choice: choice["index"])
            prompt, ids = said.get("prompt_token_ids"), [choice.get("token_ids") for choice in choices]
            scores = [choice.get("logprobs") for choice in choices]
            usage = said.get("usage")
        except (TypeError, KeyError, AttributeError):
            raise Garbled("something that is no chat completion") from None
        if prompt is None or any(one is None for one in ids):
            raise InputError(
                f"the server at {self.endpoint.place} gave answers without the ids of their tokens and of the prompt, "
                "which alone can be learned; serve with vLLM 0.10.2 or newer, which gives them for return_token_ids"
            )
        self._check_prompt(wanted, prompt)
        if any(one is None for one in scores):
            raise InputError(
                f"the server at {self.endpoint.place} gave answers without log-probabilities, where one for each "
                "token is expected; serve with vLLM, without --max-logprobs 0"
            )
        if len(choices) != self._how.answers:
            raise Garbled(f"{len(choices)} answers where {self._how.answers} were asked for")
        tokens = usage.get("total_tokens") if isinstance(usage, dict) else None
        answers = tuple(self._answer(*one) for one in zip(ids, scores, strict=True))
        return answers, tokens if isinstance(tokens, int) else None

    def _check_prompt(self, wanted: Wanted, theirs: Any) -> None:
        asked = wanted.scene.asked[wanted.question]
        ours = [*self._model.prefix(wanted.scene.example.size).ids, *asked.ids]
        if theirs == ours:
            return
        if not _is_ids(theirs):
            raise Garbled("a prompt that is no list of tokens")
        mark = self._model.family.image_token_id
        first = next((n for n, pair in enumerate(zip(theirs, ours, strict=False)) if pair[0] != pair[1]), len(theirs))
        raise InputError(
            f"the server at {self.endpoint.place} read question {asked.id} as {len(theirs):,} tokens, "
            f"{theirs.count(mark):,} of them the image, where {len(ours):,} with {ours.count(mark):,} are expected "
            f"(they part at number {min(first, len(ours))}); serve the run's base with its own chat template and its "
            "own image settings (no --chat-template, no --mm-processor-kwargs)"
        )

    def _answer(self, ids: Any, scores: Any) -> Drawn:
        family, ends, most = self._model.family, self._model.end_ids, self._how.max_new_tokens
        try:
            logprobs = tuple(float(token["logprob"]) for token in scores["content"])
        except (TypeError, KeyError, ValueError):
            raise Garbled("answers with log-probabilities that are no numbers") from None
        if not _is_ids(ids) or not 0 < len(ids) <= most or len(ids) != len(logprobs) or not all(map(_is_log, logprobs)):
            raise Garbled(f"an answer that is not 1 to {most} tokens with a log-probability each")
        vocabulary = family.bare.get_input_embeddings().weight.shape[0]
        if max(ids) >= vocabulary or family.image_token_id in ids:
            raise Garbled("an answer with a token that cannot be said")
        is_cut = ids[-1] not in ends
        if ends.intersection(ids[:-1]) or (is_cut and len(ids) < most):
            raise Garbled("an answer that ends before or behind its end")
        return Drawn(tuple(ids), logprobs, is_cut)

    # --- off policy -------------------------------------------------------------------------------------------

    def check(self, pairs: Iterable[tuple[Drawn, Drawn]]) -> None:
        """Answers as the server and as the trainer scored them; InputError where it has not the trainer's weights.

        Only answers to the newest adapter are compared: an older one may be as far as it likes.
        """
        both = [(t, o) for theirs, ours in pairs for t, o in zip(theirs.logprobs, ours.logprobs, strict=True)]
        if not both or not self._is_new:
            return
        distance = float(np.abs(np.subtract(*np.array(both).T)).mean())
        if self._version == 0:
            say(f"drawing   at {self.endpoint.place}; log-probabilities differ by {distance:.3f} from those here")
        if not distance <= _FAR:
            raise InputError(
                f"the log-probabilities of the server at {self.endpoint.place} were found {distance:.2f} from the "
                f"trainer's a token, where at most {_FAR} is expected of the same weights; serve the run's base in its "
                "own precision, with --logprobs-mode processed_logprobs where draw.temperature is not 1"
            )


def corrected(rollout: Rollout, own: Sequence[Sequence[float]]) -> Rollout:
    """Answers with the trainer's log-probabilities in place of the server's, and the advantages weighted for it."""
    above_G = np.array([sum(p) - sum(drawn.logprobs) for p, drawn in zip(own, rollout.answers, strict=True)])
    answers = tuple(replace(drawn, logprobs=tuple(p)) for p, drawn in zip(own, rollout.answers, strict=True))
    weight_G = np.exp(np.minimum(above_G, math.log(_MOST_WEIGHT)))
    return replace(rollout, answers=answers, advantage_G=rollout.advantage_G * weight_G)


def _check_adapters_alone(model: TransformersModel) -> None:
    """ConfigError where something else is trained than adapters of the language part."""
    family = model.family
    trained = [name for name, p in family.bare.named_parameters() if p.requires_grad]
    odd = sorted({
        f"{family.part_of(name)} ({'adapters' if adapter.is_factor(name) else 'in full'})"
        for name in trained
        if not adapter.is_factor(name) or family.part_of(name) != "language"
    })  # fmt: skip
    if odd or not adapter.is_adapted(family):
        raise ConfigError(
            f"draw.server was given where {', '.join(odd) or 'nothing'} is trained, and a server can only get adapters "
            'of the language part; set tune.language = "lora", tune.vision and tune.projector = "frozen", or draw in '
            "process"
        )


def _name_of(path: Path) -> str:
    digest = hashlib.sha256((path / adapter.CONFIG_FILE).read_bytes())
    digest.update((path / adapter.WEIGHTS_FILE).read_bytes())
    return f"georefer-{digest.hexdigest()[:16]}"


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(token) is int and token >= 0 for token in value)


def _is_log(value: float) -> bool:
    """Whether it is the logarithm of a probability, rounded."""
    return math.isfinite(value) and value <= 1e-3
