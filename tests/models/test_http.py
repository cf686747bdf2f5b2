"""Served models: the same answers as here, from servers of several makes, and from one that misbehaves."""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from georefer.dialects import DIALECTS
from georefer.errors import ConfigError, GeoreferError, InputError
from georefer.geometry import Frame
from georefer.imagery.encode import decode_image
from georefer.inference.said import said_to
from georefer.models import Ask, FakeModel, load_model
from georefer.serving import ServeSettings, running

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 255, (height, width, 3), dtype=np.uint8) for height, width in ((40, 60), (60, 60), (70, 50))]
ASKS = [Ask(image, f"where is number {n}?") for image in IMAGES for n in range(4)]
SIZES = [(1, 1), (50, 40), (640, 480), (8000, 6000), (9000, 60)]


def completion(text, **more):
    return 200, json.dumps({"choices": [{"message": {"content": text}}], **more}).encode()


@contextmanager
def server(reply):
    """A server whose `reply(number, body)` gives (status, bytes[, headers]); yields its URL and the bodies seen."""
    seen, lock = [], threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                seen.append((self.path, self.headers.get("Authorization"), body))
                number = len(seen)
            self.answer(*reply(number, body))

        def do_GET(self):
            self.answer(*reply(0, None))

        def answer(self, status, content, headers=()):
            with suppress(OSError):  # the other side may have heard enough
                self.send_response(status)
                for name, value in dict(headers).items():
                    self.send_header(name, value)
                if "Content-Length" not in dict(headers):
                    self.send_header("Content-Length", str(len(content)))
                if status != 200 or len(content) > 1000 or headers:
                    self.send_header("Connection", "close")  # which closes it after this answer
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}/v1", seen
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def prompt_of(body):
    return body["messages"][-1]["content"][-1]["text"]


def echo(number, body):
    return completion(f"said {prompt_of(body)}", usage={"total_tokens": 10})


def served(url, **settings):
    """A model of that server whose waits take no time; `waits` gets them."""
    model = load_model(f"{url}#some/model", **{"dialect": "georefer", "concurrency": 1, **settings})
    model.waits = []
    model.endpoint.wait = model.waits.append
    return model


# --- the same as here ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llava", "qwen2_5_vl"])
def test_a_checkpoint_answers_alike_here_and_served(loaded, kind):
    local = loaded(kind)
    with running(local) as url:
        far = load_model(url, concurrency=4)
        assert (far.name, far.dialect) == (local.name, local.dialect)
        assert far.generate(ASKS, 12) == local.generate(ASKS, 12)
        assert all(far.frame_for(size) == local.frame_for(size) for size in SIZES[1:4])


def test_the_server_s_own_frames_and_their_errors_are_believed():
    fake = FakeModel(lambda ask: ask.prompt, name="fake-1", numbers=77)
    with running(fake, alias="friendly") as url:
        for name in (url, f"{url}#fake-1", f"{url}#friendly", f"{url}/#fake-1,concurrency=2"):
            model = load_model(name)
            assert model.frame_for((30, 20)) == fake.frame_for((30, 20))
            assert model.generate(ASKS) == [ask.prompt for ask in ASKS]
        with pytest.raises(InputError, match="from 1 to 1,000,000 pixels"):
            model.frame_for((9_000_000, 9))
        with pytest.raises(InputError, match=r"status 404 .*'other' is not served here; name fake-1"):
            load_model(f"{url}#other").generate(ASKS)


def test_a_server_with_a_key(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sesame")
    with running(FakeModel(lambda ask: "yes"), ServeSettings(port=0, key_variable="SOME_KEY")) as url:
        assert load_model(f"{url}#,key_variable=SOME_KEY").generate(ASKS[:2]) == ["yes", "yes"]
        with pytest.raises(InputError, match=r"status 401 .* as key_variable"):
            load_model(url)


# --- what is sent -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_the_request_holds_prompt_and_image_as_given(kind, monkeypatch):
    monkeypatch.setenv("SOME_KEY", " sesame\n")
    with server(echo) as (url, seen):
        model = served(url, image=kind, system="Be brief.", key_variable="SOME_KEY", logprobs=True)
        assert model.generate(ASKS[:1], 33) == ["said where is number 0?"]
    ((path, key, body),) = seen
    assert (path, key) == ("/v1/chat/completions", "Bearer sesame")
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("some/model", 0, 33)
    assert body["logprobs"] is True
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    picture = body["messages"][1]["content"][0]["image_url"]["url"]
    assert picture.startswith(f"data:image/{kind};base64,")
    shown = decode_image(base64.b64decode(picture.partition(",")[2]))
    if kind == "png":
        assert np.array_equal(shown, IMAGES[0])
    else:
        assert shown.shape == IMAGES[0].shape and not np.array_equal(shown, IMAGES[0])
    assert "sesame" not in repr(model)


def test_answers_come_in_the_order_asked_and_equal_questions_are_sent_once():
    def late_first(number, body):
        if "number 0" in prompt_of(body):
            time.sleep(0.05)  # overtaken by the others
        return echo(number, body)

    with server(late_first) as (url, seen):
        asks = [*ASKS, *(Ask(ask.image_HW3.copy(), ask.prompt) for ask in ASKS)]
        assert served(url, concurrency=6).generate(asks) == [f"said {ask.prompt}" for ask in asks]
        assert len(seen) == len(ASKS)
        assert served(url).generate([]) == []


def test_frames_are_the_dialect_s_or_within_qwen_s_limits_that_are_named():
    address = "http://localhost:9/v1#m"
    for name in ("qwen2-vl", "qwen2.5-vl", "qwen3-vl"):
        usual = load_model(f"{address},dialect={name}")
        # a limit that no picture of these meets leaves the dialect's other limit, and its factor, as they are
        named = load_model(f"{address},dialect={name},min_pixels={65_536 if name == 'qwen3-vl' else 3136}")
        for size in SIZES:
            assert usual.frame_for(size) == named.frame_for(size) == DIALECTS[name].frame_for(size)
    small = load_model(f"{address},dialect=qwen2.5-vl,max_pixels=50176")
    assert small.frame_for((2000, 1000)) == Frame.qwen((2000, 1000), max_pixels=50176)
    assert small.frame_for((2000, 1000)) != DIALECTS["qwen2.5-vl"].frame_for((2000, 1000))
    with pytest.raises(InputError, match="aspect limit"):
        small.frame_for((2000, 1))
    with pytest.raises(ConfigError, match="resize by another rule"):
        load_model(f"{address},dialect=internvl,max_pixels=9999")


# --- a server that misbehaves ---------------------------------------------------------------------------------

TRANSIENT = {
    "busy": (429, b"{}"),
    "too busy, and says for how long": (429, b"", {"Retry-After": "3"}),
    "broken": (500, b"<html>"),
    "no JSON": (200, b"<html>"),
    "not UTF-8": (200, b"\xff\xfe"),
    "deeply nested": (200, b"[" * 200_000),
    "no completion": (200, b'{"choices": []}'),
    "a list": (200, b"[]"),
    "no text": completion(["x"]),
    "too long": (200, b" " * 8_100_000),
    "cut off": (200, b'{"choices"', {"Content-Length": "500"}),
}


@pytest.mark.parametrize("case", TRANSIENT)
def test_what_may_pass_is_asked_again(case):
    with server(lambda number, body: TRANSIENT[case] if number <= 2 else echo(number, body)) as (url, seen):
        model = served(url)
        assert model.generate(ASKS[:1]) == ["said where is number 0?"]
        assert len(seen) == 3 and len(model.waits) == 2
        assert sum(count for what, count in model.endpoint.counts.items() if what.startswith("again: ")) == 2


@pytest.mark.parametrize("case", TRANSIENT)
def test_what_does_not_pass_is_one_sentence(case):
    with server(lambda number, body: TRANSIENT[case]) as (url, seen):
        with pytest.raises(GeoreferError, match="at the last of 3 tries") as error:
            served(url, retries=2).generate(ASKS[:1])
        assert len(seen) == 3 and "\n" not in str(error.value) and "html" not in str(error.value)


def test_a_failing_server_s_own_words_are_shown_without_the_key(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "s3cret")
    failing = 500, json.dumps({"error": {"message": "rank 64 is too large for s3cret"}}).encode()
    with server(lambda number, body: failing) as (url, _), pytest.raises(GeoreferError) as error:
        served(url, retries=0, key_variable="SOME_KEY").generate(ASKS[:1])
    assert "gave status 500 (rank 64 is too large for ***) at the last of 1 tries" in str(error.value)


def test_words_are_enough_of_an_answer_where_nothing_is_asked():
    with server(lambda number, body: (200, b"Success: done.")) as (url, seen):
        served(url).endpoint.tell("/load", {"name": "one"})
    assert [(path, body) for path, _, body in seen] == [("/v1/load", {"name": "one"})]


def test_a_silent_server_is_given_up():
    done = threading.Event()
    with server(lambda number, body: (done.wait(30), echo(number, body))[1]) as (url, seen):
        with pytest.raises(GeoreferError, match=r"no answer within 0\.2 s at the last of 2 tries"):
            served(url, retries=1, timeout_s=0.2).generate(ASKS[:1])
        done.set()
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("wish", "least", "most"),
    [
        ("50", 20, 50),
        ("100000", 20, 60),  # bounded
        ("Fri, 01 Jan 2999 00:00:00 GMT", 20, 60),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None, None),  # already over: no wait at all
        ("-5", None, None),
        ("nan", 0, 1),  # nonsense: as if it had said nothing
        ("soon", 0, 1),
    ],
)
def test_the_server_s_wish_to_wait_is_honoured_within_bounds(wish, least, most):
    busy = (429, b"", {"Retry-After": wish})
    with server(lambda number, body: busy if number == 1 else echo(number, body)) as (url, _):
        model = served(url)
        assert model.generate(ASKS[:1]) == ["said where is number 0?"]
        assert all(least < wait <= most for wait in model.waits) if least is not None else not model.waits


@pytest.mark.parametrize(
    ("status", "content", "headers", "said"),
    [
        (401, b"", {}, "status 401 where an answer is expected; give the key's environment variable"),
        (404, b'{"error": {"message": "no such\\n\\u001b[31m  model"}}', {}, r"404 \(no such \[31m model\)"),
        (404, b'{"error": ' * 20_000, {}, "status 404 where"),
        (302, b"", {"Location": "http://127.0.0.1:9/v1/chat/completions"}, "a redirect, which is not followed"),
        (
            400,
            b'{"error": "key sesame, ' + b"too long " * 1000 + b'"}',
            {},
            r"refused a question with status 400 \(key",
        ),
        (418, b'{"detail": [1]}', {}, "status 418 where"),
        (451, b'{"error": {"message": 7}}', {}, "status 451 where"),
    ],
)
def test_what_will_not_pass_is_said_at_once_without_the_key(status, content, headers, said, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sesame")
    with (
        server(lambda number, body: (status, content, headers)) as (url, seen),
        pytest.raises(InputError, match=said) as error,
    ):
        served(url, key_variable="SOME_KEY").generate(ASKS[:1])
    assert len(seen) == 1
    assert "sesame" not in str(error.value) and len(str(error.value)) < 500 and str(error.value).isprintable()


def test_a_redirect_takes_nothing_to_another_server(monkeypatch):
    monkeypatch.setenv("SOME_KEY", "sesame")
    with server(echo) as (other, seen):
        target = {"Location": f"{other}/chat/completions"}
        with (
            server(lambda number, body: (307, b"", target)) as (url, _),
            pytest.raises(InputError, match="a redirect"),
        ):
            served(url, key_variable="SOME_KEY").generate(ASKS[:1])
        assert not seen


def test_nobody_there_is_said_at_once():
    with pytest.raises(InputError, match=r"nothing answers at 127\.0\.0\.1:9 where a server is expected"):
        served("http://127.0.0.1:9/v1").generate(ASKS)


def test_refused_questions_may_be_skipped_and_are_asked_again_next_time(tmp_path):
    def filtered(number, body):
        return (400, b"{}") if "number 2" in prompt_of(body) else echo(number, body)

    with server(filtered) as (url, seen):
        for _ in range(2):
            model = served(url, skip_refused=True, cache=tmp_path / "c.jsonl")
            assert model.generate(ASKS[:3]) == ["said where is number 0?", "said where is number 1?", ""]
            assert model.endpoint.counts["refused"] == 1
        assert len(seen) == 4


def test_a_model_that_is_gone_is_no_refused_question(tmp_path):
    with server(lambda number, body: (404, b"{}")) as (url, _), pytest.raises(InputError, match="status 404"):
        served(url, skip_refused=True, cache=tmp_path / "c.jsonl").generate(ASKS[:1])


def test_odd_answers_are_text():
    answers = [completion(None), (200, b'{"choices": [{"message": {"content": "\\ud800x"}}]}')]
    with server(lambda number, body: answers[number - 1]) as (url, _):
        assert served(url).generate(ASKS[:2]) == ["", "\\ud800x"]


# --- budget and cache -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("budget", [{"max_requests": 5}, {"max_tokens": 50}])
def test_a_spent_budget_stops_and_loses_nothing(tmp_path, budget):
    cache = tmp_path / "deep" / "cache.jsonl"
    with server(echo) as (url, seen):
        with pytest.raises(GeoreferError, match=r"the budget of \d+ \w+ is spent; answers so far are kept in"):
            served(url, cache=cache, **budget).generate(ASKS)
        assert len(seen) == 5 and len(cache.read_text().splitlines()) == 5
        # the same again goes on, twice
        with pytest.raises(GeoreferError, match="budget"):
            served(url, cache=cache, **budget).generate(ASKS)
        assert len(seen) == 10
        model = served(url, cache=cache, **budget)
        assert model.generate(ASKS) == [f"said {ask.prompt}" for ask in ASKS]
        assert len(seen) == len(ASKS) == 12 and model.endpoint.counts["tokens"] == 20
        with pytest.raises(ConfigError, match="budget comes without a cache"):
            served(url, **budget)


def test_what_is_under_way_when_the_budget_ends_is_kept(tmp_path):
    cache = tmp_path / "cache.jsonl"
    with server(echo) as (url, seen):
        with pytest.raises(GeoreferError, match="budget"):
            served(url, cache=cache, concurrency=4, max_requests=6).generate(ASKS)
        assert len(seen) == 6 == len(cache.read_text().splitlines())


def test_a_budget_in_tokens_needs_a_server_that_counts(tmp_path):
    cache = tmp_path / "cache.jsonl"
    uncounted = completion("x", usage={"total_tokens": True})
    with (
        server(lambda number, body: uncounted) as (url, seen),
        pytest.raises(InputError, match="does not say how many tokens"),
    ):
        served(url, cache=cache, max_tokens=5).generate(ASKS)
    assert len(seen) == 1 == len(cache.read_text().splitlines())


@pytest.mark.parametrize(
    ("changed", "new"),
    [
        ({}, 0),
        ({"system": "Be brief."}, 1),
        ({"image": "jpeg"}, 1),
        ({"name": "other"}, 1),
        ({"prompt": "what?"}, 1),
        ({"pixels": IMAGES[1]}, 1),
        ({"pixels": IMAGES[0].reshape(60, 40, 3)}, 1),  # the same bytes in another shape
        ({"tokens": 9}, 1),
        ({"concurrency": 3, "retries": 1}, 0),
    ],
)
def test_the_cache_knows_what_an_answer_depends_on(tmp_path, changed, new):
    cache = tmp_path / "cache.jsonl"
    with server(echo) as (url, seen):
        served(url, cache=cache).generate(ASKS[:1], 8)
        name, tokens = changed.pop("name", "some/model"), changed.pop("tokens", 8)
        ask = Ask(changed.pop("pixels", IMAGES[0]), changed.pop("prompt", ASKS[0].prompt))
        model = load_model(f"{url}#{name}", dialect="georefer", cache=cache, **changed)
        assert model.generate([ask], tokens) == [f"said {ask.prompt}"]
        assert len(seen) == 1 + new


def test_token_probabilities_are_kept(tmp_path):
    scores = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1}]}
    reply = 200, json.dumps({"choices": [{"message": {"content": "ab"}, "logprobs": scores}]}).encode()
    with server(lambda number, body: reply) as (url, _):
        served(url, cache=tmp_path / "c.jsonl", logprobs=True).generate(ASKS[:1])
    row = json.loads((tmp_path / "c.jsonl").read_text())
    assert (row["text"], row["prompt"], row["logprobs"]) == ("ab", ASKS[0].prompt, [-0.5, -1.0])


def test_a_served_answer_has_confidences_like_one_of_a_checkpoint(tmp_path):
    """Also when it is found in the cache."""
    tokens = [("[", 0.0), ("1", -0.1), (", ", 0.0), ("2", -0.2), (", ", 0.0), ("30", -0.3), (", ", 0.0), ("40]", -0.7)]
    scores = {"content": [{"token": token, "bytes": list(token.encode()), "logprob": p} for token, p in tokens]}
    message = {"content": "".join(token for token, _ in tokens)}
    reply = 200, json.dumps({"choices": [{"message": message, "logprobs": scores}]}).encode()
    with server(lambda number, body: reply) as (url, seen):
        for _ in range(2):
            model = served(url, cache=tmp_path / "c.jsonl", logprobs=True, dialect="georefer")
            (said,) = said_to(model, ASKS[:1], 16)
            assert (said.text, said.scores) == ("[1, 2, 30, 40]", (round(np.exp(-0.7), 4),))
        assert len(seen) == 1


def test_a_line_that_was_cut_is_asked_again_and_a_strange_file_is_refused(tmp_path):
    cache = tmp_path / "cache.jsonl"
    with server(echo) as (url, seen):
        served(url, cache=cache).generate(ASKS[:3])
        cache.write_bytes(cache.read_bytes()[:-9])
        assert len(served(url, cache=cache).generate(ASKS[:3])) == 3 and len(seen) == 4
        cache.write_text('{"key": 1}\n')
        with pytest.raises(InputError, match=r"cache\.jsonl was found where the answers"):
            served(url, cache=cache)


CHILD = """
import sys, numpy as np
from georefer.models import Ask, load_model
model = load_model(sys.argv[1] + "#m", dialect="georefer", concurrency=1, cache=sys.argv[2])
image = np.zeros((4, 4, 3), np.uint8)
print(model.generate([Ask(image, f"number {n}") for n in range(8)])[-1])
"""


def test_a_killed_run_goes_on(tmp_path):
    stuck, done = threading.Event(), threading.Event()

    def reply(number, body):
        if number == 6 and not done.is_set():
            stuck.set()
            done.wait(60)
        return echo(number, body)

    cache = tmp_path / "cache.jsonl"
    with server(reply) as (url, seen):
        command = [sys.executable, "-c", CHILD, url, str(cache)]
        child = subprocess.Popen(command)
        assert stuck.wait(60)
        os.kill(child.pid, signal.SIGKILL)
        child.wait(60)
        done.set()
        assert len(cache.read_text().splitlines()) == 5
        again = subprocess.run(command, capture_output=True, text=True, check=True)
        assert again.stdout.strip() == "said number 7"
        assert [prompt_of(body) for _, _, body in seen[6:]] == ["number 5", "number 6", "number 7"]


def test_what_the_address_says_comes_first(tmp_path):
    settings = {"dialect": "georefer", "cache": tmp_path / "a.jsonl", "retries": 1}
    model = load_model(f"http://localhost:9/v1#m,retries=2,max_requests=5,cache={tmp_path}/b.jsonl", **settings)
    assert model.settings.retries == model.endpoint.retries == 2
    assert (model.settings.cache, model.endpoint.max_requests) == (tmp_path / "b.jsonl", 5)
    assert load_model("http://localhost:9/v1#m,max_requests=5", **settings).settings.cache == tmp_path / "a.jsonl"


# --- addresses and settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("http://", {}, "no address of a server"),
        ("http://host:port/v1#m", {"dialect": "georefer"}, "no address of a server"),
        ("http://host/v1?key=sesame#m", {"dialect": "georefer"}, "no address of a server"),
        ("http://me:sesame@host/v1#m", {"dialect": "georefer"}, "holds a user or password"),
        ("http://host/v1#m,dialect=klingon", {}, "there is no dialect 'klingon'"),
        ("http://host/v1#m", {"dialect": "klingon"}, "there is no dialect 'klingon'"),
        ("http://host/v1#m,dialct=x", {}, "unknown key 'dialct'; did you mean 'dialect'"),
        ("http://host/v1#m", {"dialct": "x"}, "dialct"),
        ("http://host/v1#m,concurrency=0", {}, "must be above 0"),
        ("http://host/v1#m,concurrency=many", {}, "expected int"),
        ("http://host/v1#m,georefer", {}, "is no override"),
    ],
)
def test_wrong_addresses_and_settings_are_one_sentence(name, settings, said):
    with pytest.raises(InputError, match=said) as error:
        load_model(name, **settings)
    assert "\n" not in str(error.value) and not ("@" in name and "sesame" in str(error.value))


@pytest.mark.parametrize(
    ("models", "name", "said"),
    [
        ([{"id": "a"}], "", "does not say which dialect 'a' speaks"),
        ([{"id": "a"}, {"id": "b"}], "", r"serves 2 models \(a, b\); name one"),
        ([], "", r"serves 0 models \(none\)"),
        ([{"id": "a"}, {"id": "b"}], "b", "does not say which dialect 'b' speaks"),
        ([{"id": "a", "georefer": {"dialect": "klingon"}}], "a", "does not say which dialect 'a' speaks"),
        ("x", "a", "no list of models at the last"),
    ],
)
def test_what_a_server_lists(models, name, said):
    listed = json.dumps({"data": models}).encode()
    with server(lambda number, body: (200, listed)) as (url, _), pytest.raises(GeoreferError, match=said):
        load_model(f"{url}#{name},retries=0")


@pytest.mark.parametrize(
    "frame",
    [
        b"{}",
        b"[]",
        json.dumps({**Frame.resize((9, 9), (9, 9)).describe()}).encode(),  # of another size
        json.dumps({**Frame.resize((8, 8), (9, 9)).describe(), "extent_width": "8"}).encode(),
        json.dumps({**Frame.resize((8, 8), (9, 9)).describe(), "x": float("nan")}).encode(),
        json.dumps({**Frame.resize((8, 8), (9, 9)).describe(), "more": 1}).encode(),
    ],
)
def test_a_frame_that_is_none_is_not_believed(frame):
    listed = json.dumps({"data": [{"id": "a", "georefer": {"dialect": "georefer"}}]}).encode()
    answers = iter([(200, listed), (200, frame)])
    with server(lambda number, body: next(answers)) as (url, _):
        model = load_model(f"{url}#,retries=0")
        with pytest.raises(GeoreferError, match="frame"):
            model.frame_for((8, 8))


LIGHT = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None  # as where they are not installed
from georefer.models import load_model
print(load_model("http://localhost:9/v1#m,dialect=georefer").name)
sys.modules["httpx"] = None
from georefer.errors import MissingExtra
try:
    load_model("http://localhost:9/v1#m,dialect=georefer")
except MissingExtra as error:
    print(error)
"""


def test_a_served_model_needs_no_torch_and_httpx_only():
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "m"
    assert "come with the extra 'http'" in done.stdout.splitlines()[1]
