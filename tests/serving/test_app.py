"""The server as its clients meet it: the openai package, plain HTTP, and those who mean harm."""

import json
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from urllib.parse import urlsplit

import httpx
import numpy as np
import openai
import pytest
from tests.serving.test_questions import IMAGE_HW3, TEXT, data_url, picture, request

from georefer.errors import ConfigError, InputError
from georefer.geometry import Frame
from georefer.imagery.encode import encode_image
from georefer.models import Ask, FakeModel, load_model
from georefer.serving import ServeSettings, is_loopback, running, serve

FREE = ServeSettings(port=0)


def truth(ask):
    """An answer that tells prompt and image apart; some prompts go wrong."""
    if ask.prompt == "raise":
        raise RuntimeError("the key is sesame")
    if ask.prompt == "refuse":
        raise InputError("the image is too thin; crop it")
    return "\ud800" if ask.prompt == "half" else f"{ask.prompt} {ask.image_HW3.shape} {int(ask.image_HW3.sum())}"


MODEL = FakeModel(truth, name="fake-1", numbers=77)


@pytest.fixture(scope="module")
def url():
    with running(MODEL, alias="friendly") as address:
        yield address


def post(url, body, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    return httpx.post(f"{url}/chat/completions", content=content, headers=headers, timeout=60)


def get(url, headers=None):
    return httpx.get(url, headers=headers, timeout=60)


def said(answer):
    return answer.json()["choices"][0]["message"]["content"]


def ask(prompt="where?", **fields):
    return {**request({"type": "text", "text": prompt}, picture(data_url())), "model": "fake-1", **fields}


def test_the_openai_client_is_answered(url):
    client = openai.OpenAI(base_url=url, api_key="none")
    assert [model.id for model in client.models.list()] == ["fake-1"]
    answer = client.chat.completions.create(
        model="friendly", messages=request(picture(data_url()), TEXT)["messages"], temperature=0, max_tokens=50
    )
    assert answer.choices[0].message.content == f"where? (5, 7, 3) {int(IMAGE_HW3.sum())}"
    assert (answer.model, answer.choices[0].finish_reason) == ("fake-1", "stop")
    with pytest.raises(openai.BadRequestError, match="temperature is 1"):
        client.chat.completions.create(model="fake-1", messages=ask()["messages"], temperature=1)
    with pytest.raises(openai.NotFoundError, match="not served here"):
        client.chat.completions.create(model="gpt-4o", messages=ask()["messages"])


def test_a_model_that_tells_no_tokens_says_so(url):
    refused = post(url, ask(logprobs=True))
    assert refused.status_code == 400 and "tells no log probabilities" in refused.json()["error"]["message"]


def test_tokens_and_cut_answers_are_told():
    tiny = load_model("tiny-synthetic")
    with running(tiny) as url:
        client, messages = openai.OpenAI(base_url=url, api_key="none"), ask("Find every building.")["messages"]
        whole = client.chat.completions.create(model=tiny.name, messages=messages, logprobs=True).choices[0]
        cut = client.chat.completions.create(model=tiny.name, messages=messages, max_tokens=1).choices[0]
        served = load_model(f"{url}#{tiny.name},logprobs=true")
        (here,) = tiny.answers([Ask(IMAGE_HW3, "Find every building.")])
        (told,) = served.told([Ask(IMAGE_HW3, "Find every building.")])
    rows = whole.logprobs.content
    assert b"".join(bytes(row.bytes) for row in rows).decode() == whole.message.content == here.text == told.text
    assert np.allclose([row.logprob for row in rows], here.logprobs, atol=1e-5) and whole.finish_reason == "stop"
    assert told.spans == here.spans and np.allclose(told.logprobs, here.logprobs, atol=1e-5)
    assert cut.finish_reason == "length" and cut.logprobs is None


def test_dialect_and_frames_are_told(url):
    assert get(f"{url}/models").json()["data"][0]["georefer"] == {"dialect": "georefer"}
    frame = get(f"{url}/frame?width=40&height=30").json()
    assert Frame(**frame) == MODEL.frame_for((40, 30))
    assert get(f"{url.removesuffix('/v1')}/health").json() == {"status": "ok"}
    for query in ("", "?width=a&height=1", "?width=0&height=1", "?width=9999999&height=9999999"):
        assert get(f"{url}/frame{query}").status_code == 400


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"{", 400, "no JSON"),
        (b"[" * 100_000, 400, "no JSON"),  # nested beyond what a parser takes
        (b'{"max_tokens": ' + b"9" * 5000 + b"}", 400, "no JSON"),
        (b"\xff", 400, "no JSON"),
        (request(temperature=2), 404, "not served here"),
        (ask(temperature=2), 400, "temperature is 2"),
        (ask("refuse"), 400, "the image is too thin; crop it"),
        (ask("raise"), 500, "the model failed"),
    ],
)
def test_errors_have_openai_s_form_and_one_sentence(url, body, status, said):
    answer = post(url, body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert said in error["message"] and set(error) == {"message", "type", "param", "code"}
    assert "sesame" not in answer.text and "Traceback" not in answer.text
    assert "json" in answer.headers["content-type"]
    assert post(url, ask()).status_code == 200  # and it goes on


def test_an_answer_that_utf8_cannot_hold_arrives_as_its_escape(url):
    assert said(post(url, ask("half"))) == "\\ud800"


def test_other_sites_and_other_types_are_turned_away(url):
    assert get(f"{url}/models", headers={"Host": "evil.example"}).status_code == 400
    # what a web page may send to another site without asking it first
    assert post(url, ask(), **{"Content-Type": "text/plain"}).status_code == 415
    assert "access-control-allow-origin" not in post(url, ask(), Origin="https://evil.example").headers
    for path in ("", "/completions", "/../docs", "/chat/completions"):
        assert get(f"{url}{path}").status_code in (404, 405)


def test_a_large_request_is_not_read_to_its_end():
    with running(MODEL, replace(FREE, most_bytes=20_000, most_pixels=100)) as url:
        answer = post(url, b" " * 1_000_000)
        assert answer.status_code == 413 and "more than 20,000 bytes" in answer.text
        wide = encode_image(np.zeros((3, 60, 3), np.uint8))
        answer = post(url, {**request(TEXT, picture(data_url(wide))), "model": "fake-1"})
        assert answer.status_code == 413 and "60 x 3 pixels" in answer.text
        assert post(url, ask()).status_code == 200


def test_a_key_is_asked_for_where_one_is_set(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sesame")
    with running(MODEL, replace(FREE, key_variable="SOME_KEY")) as url:
        for headers in ({}, {"Authorization": "Bearer other"}, {"Authorization": "sesame"}):
            for answer in (post(url, ask(), **headers), get(f"{url}/models", headers=headers)):
                assert answer.status_code == 401 and "sesame" not in answer.text
        assert post(url, ask(), Authorization="Bearer sesame").status_code == 200
    monkeypatch.delenv("SOME_KEY")
    with (
        pytest.raises(ConfigError, match="SOME_KEY holds no key"),
        running(MODEL, replace(FREE, key_variable="SOME_KEY")),
    ):
        pass


class Slow:
    """Holds its first batch back until told; `batches` gets the images and prompts of each."""

    name, dialect, frame_for = "slow", MODEL.dialect, MODEL.frame_for

    def __init__(self):
        self.batches = []
        self.called, self.go_on = threading.Event(), threading.Event()

    def generate(self, asks, max_new_tokens=256):
        self.batches.append([(id(ask.image_HW3), ask.prompt) for ask in asks])
        self.called.set()
        assert self.go_on.wait(60)
        return [ask.prompt for ask in asks]


def until(condition):
    """Waits for what another thread will do."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def waiting_for(model):
    """Questions in the queue of the worker of this model."""
    workers = [thread._target.__self__ for thread in threading.enumerate() if thread.name == "georefer-model"]
    return sum(worker._jobs.qsize() for worker in workers if worker._model is model)


def test_requests_that_come_together_share_a_batch_and_their_image():
    model, answers = Slow(), {}

    def send(prompt):
        answers[prompt] = said(post(url, {**ask(prompt), "model": "slow"}))

    with running(model) as url:
        threads = [threading.Thread(target=send, args=(prompt,)) for prompt in ("first", "a", "b", "c")]
        threads[0].start()
        assert model.called.wait(60)
        for thread in threads[1:]:
            thread.start()
        until(lambda: waiting_for(model) == 3)
        model.go_on.set()
        for thread in threads:
            thread.join(60)
    assert answers == {prompt: prompt for prompt in ("first", "a", "b", "c")}
    assert sorted(prompt for _, prompt in model.batches[1]) == ["a", "b", "c"]
    assert len({image for image, _ in model.batches[1]}) == 1


def test_too_many_are_told_to_come_again_and_those_who_leave_are_not_worked_for():
    model = Slow()
    with running(model, replace(FREE, waiting=2)) as url:
        parts = urlsplit(url)
        first = threading.Thread(target=post, args=(url, {**ask("first"), "model": "slow"}))
        first.start()
        assert model.called.wait(60)
        # a second waits, and then leaves
        body = json.dumps({**ask("leaver"), "model": "slow"}).encode()
        with socket.create_connection((parts.hostname, parts.port)) as leaver:
            head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
            leaver.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            until(lambda: waiting_for(model) == 1)
            answer = post(url, ask())
            assert answer.status_code == 429 and answer.headers["retry-after"] == "1" and "come again" in answer.text
        until(lambda: post(url, {**ask(), "model": "none"}).status_code == 404)  # there is room again
        model.go_on.set()
        first.join(60)
        assert said(post(url, {**ask("last"), "model": "slow"})) == "last"
    assert [prompt for batch in model.batches for _, prompt in batch] == ["first", "last"]


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="cannot be served on"):
        serve(MODEL, ServeSettings(port=taken.getsockname()[1]))
    with pytest.raises(InputError, match="cannot be served on"):
        serve(MODEL, ServeSettings(port=70_000))


@pytest.mark.parametrize(
    ("host", "is_near"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("10.0.0.1", False), ("me", False)],
)
def test_hosts_that_only_this_machine_reaches(host, is_near):
    assert is_loopback(host) is is_near


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="must be above 0"):
        ServeSettings(batch=0)


def test_serving_without_its_packages_names_the_extra():
    code = "import sys; sys.modules['uvicorn'] = None; import georefer.serving"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra" in done.stderr and "come with the extra 'serve'" in done.stderr
