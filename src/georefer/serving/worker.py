"""One thread that owns the model: whatever waits is answered together, so that requests share batches and images."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field

from georefer.models.base import Ask, Model
from georefer.models.spans import Told

GATHER_S = 0.01
"""Waited for company after a first question: little beside an answer, enough for requests sent together."""


@dataclass(frozen=True)
class Answer:
    """What was said; `is_cut` where the tokens ran out before its end."""

    told: Told
    is_cut: bool = False


@dataclass(frozen=True, eq=False)
class Job:
    """A question on its way; a cancelled `answer` is not worked on."""

    ask: Ask
    max_tokens: int
    answer: Future[Answer] = field(default_factory=Future)


class Worker:
    """Answers jobs in batches of at most `batch`, in a thread of its own, from `start` to `close`.

    Questions of a batch that share an image object share whatever the model shares for it. Where a batch fails, its
    questions are asked one by one, so that only the one at fault gets the exception.
    """

    def __init__(self, model: Model, batch: int):
        self._model = model
        self._batch = batch
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="georefer-model", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends after the batch at work; what still waits is cancelled."""
        self._jobs.put(None)
        self._thread.join()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def put(self, job: Job) -> None:
        self._jobs.put(job)

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            jobs, is_last = self._gathered(first)
            for max_tokens in sorted({job.max_tokens for job in jobs}):
                self._answer([job for job in jobs if job.max_tokens == max_tokens])
            if is_last:
                break
        while not self._jobs.empty():
            if (job := self._jobs.get()) is not None:
                job.answer.cancel()

    def _gathered(self, first: Job) -> tuple[list[Job], bool]:
        """All that waits, up to a batch, and whether this is to be the last."""
        jobs = [first]
        while len(jobs) < self._batch:
            try:
                job = self._jobs.get(timeout=GATHER_S)
            except queue.Empty:
                break
            if job is None:
                return jobs, True
            jobs.append(job)
        return jobs, False

    def _answer(self, jobs: list[Job]) -> None:
        jobs = [job for job in jobs if job.answer.running() or job.answer.set_running_or_notify_cancel()]
        if not jobs:
            return
        try:
            answers = answers_of(self._model, [job.ask for job in jobs], jobs[0].max_tokens)
            if len(answers) != len(jobs):
                raise RuntimeError(f"the model gave {len(answers)} answers to {len(jobs)} questions")
        except Exception as error:  # noqa: BLE001  (handed to the request; the server goes on)
            if len(jobs) > 1:
                for job in jobs:
                    self._answer([job])
                return
            jobs[0].answer.set_exception(error)
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.answer.set_result(answer)


def tells_tokens(model: Model) -> bool:
    """Whether a model says of its answers which tokens they are made of, and how sure it was of each."""
    return hasattr(model, "answers")


def answers_of(model: Model, asks: list[Ask], max_tokens: int) -> list[Answer]:
    """Greedy answers in the order asked; those of a model that tells no tokens have none, and seem to have ended."""
    if tells_tokens(model):
        return [
            Answer(Told(said.text, tuple(end for _, end in said.spans), said.logprobs), said.stopped == "length")
            for said in model.answers(asks, max_tokens)  # type: ignore[attr-defined]
        ]
    return [Answer(Told(text)) for text in model.generate(asks, max_tokens)]
