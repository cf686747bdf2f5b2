"""Questions that wait together are answered together, and one at fault fails alone."""

import threading
from concurrent.futures import CancelledError

import numpy as np
import pytest

from georefer.errors import InputError
from georefer.models import Ask
from georefer.serving.worker import Job, Worker

IMAGE_HW3 = np.zeros((2, 2, 3), np.uint8)


class Listening:
    """Answers a prompt with itself; `seen` gets every call, which waits until it may go on."""

    def __init__(self):
        self.seen = []
        self.called, self.go_on = threading.Event(), threading.Event()

    def generate(self, asks, max_new_tokens=256):
        self.seen.append(([ask.prompt for ask in asks], max_new_tokens))
        self.called.set()
        assert self.go_on.wait(60)
        if any(ask.prompt == "bad" for ask in asks):
            raise InputError("it is bad")
        return [ask.prompt for ask in asks]


def jobs(*prompts, max_tokens=5):
    return [Job(Ask(IMAGE_HW3, prompt), max_tokens) for prompt in prompts]


@pytest.fixture
def busy():
    """A worker of batches of 3 whose model is at its first question, and that model."""
    model = Listening()
    worker = Worker(model, 3)
    worker.start()
    (first,) = jobs("first")
    worker.put(first)
    assert model.called.wait(60)
    yield worker, model
    model.go_on.set()
    if worker.is_alive:
        worker.close()


def test_what_came_meanwhile_is_answered_in_batches(busy):
    worker, model = busy
    waiting = jobs("a", "b", "c", "d")
    for job in waiting:
        worker.put(job)
    model.go_on.set()
    assert [job.answer.result(60).told.text for job in waiting] == ["a", "b", "c", "d"]
    assert model.seen == [(["first"], 5), (["a", "b", "c"], 5), (["d"], 5)]


def test_answers_of_other_lengths_are_asked_apart(busy):
    worker, model = busy
    waiting = [*jobs("a"), *jobs("b", max_tokens=2), *jobs("c")]
    for job in waiting:
        worker.put(job)
    model.go_on.set()
    assert [job.answer.result(60).told.text for job in waiting] == ["a", "b", "c"]
    assert model.seen[1:] == [(["b"], 2), (["a", "c"], 5)]


def test_only_the_question_at_fault_fails(busy):
    worker, model = busy
    waiting = jobs("a", "bad", "c")
    for job in waiting:
        worker.put(job)
    model.go_on.set()
    assert (waiting[0].answer.result(60).told.text, waiting[2].answer.result(60).told.text) == ("a", "c")
    with pytest.raises(InputError, match="it is bad"):
        waiting[1].answer.result(60)
    assert worker.is_alive


def test_a_cancelled_question_is_not_asked(busy):
    worker, model = busy
    waiting = jobs("a", "b")
    for job in waiting:
        worker.put(job)
    assert waiting[0].answer.cancel()
    model.go_on.set()
    assert waiting[1].answer.result(60).told.text == "b"
    assert model.seen[1:] == [(["b"], 5)]


def test_what_waits_at_the_end_is_cancelled(busy):
    worker, model = busy
    closing = threading.Thread(target=worker.close)
    closing.start()
    (late,) = jobs("late")
    while worker._jobs.empty():  # close has not said so yet
        closing.join(0.01)
    worker.put(late)
    model.go_on.set()
    closing.join(60)
    assert not worker.is_alive
    with pytest.raises(CancelledError):
        late.answer.result(60)
