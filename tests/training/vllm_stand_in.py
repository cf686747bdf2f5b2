"""A stand-in for vLLM's server, of a model of ours: it takes adapters at run time and answers with tokens.

What it says and refuses follows vLLM's source (entrypoints/openai/models/serving.py and chat_completion/protocol.py):
words instead of JSON for adapters, 404 for an unknown model, 400 for an adapter that is there already.
"""

import json
import threading
import time
from base64 import b64decode
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import torch

from georefer.imagery.encode import decode_image
from georefer.models import adapter, load_model
from georefer.training.examples import Example
from georefer.training.prompts import Asked, Prompts
from georefer.training.rollouts import Place, Seen, draw, uniforms

NOT_TO_BE_LEFT_OUT = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
)  # fmt: skip
"""For which vLLM takes the checkpoint's generation settings where a request does not say."""


class StandIn:
    """One server; `spoil(number, reply)` changes the reply to chat request number 1, 2, ... and may return a status."""

    def __init__(self, base: Path, most_rank: int = 16, is_updating: bool = True):
        self.base, self.most_rank, self.is_updating = base, most_rank, is_updating
        self.adapters, self.loaded, self.bodies = {}, [], []
        self.spoil = lambda number, reply: None
        self.lock = threading.Lock()

    def reply(self, path, body):
        with self.lock:
            if path == "/v1/chat/completions":
                return self.chat(body)
            if path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter") and self.is_updating:
                return (self.load if "/load" in path else self.unload)(body["lora_name"], body.get("lora_path"))
            return said(404, "Not Found")

    def load(self, name, path):
        if name in self.adapters:
            return said(400, f"The lora adapter '{name}' has already been loaded.")
        if not Path(path).is_dir():
            return said(404, f"No adapter found for '{path}'")
        rank = json.loads((Path(path) / adapter.CONFIG_FILE).read_text())["r"]
        if rank > self.most_rank:
            return said(500, f"LoRA rank {rank} is greater than max_lora_rank {self.most_rank}.")
        model = load_model(str(self.base))
        adapter.load_adapter(model.family, Path(path), adapter.Record(str(self.base)))
        model.family.model.eval()
        self.adapters[name] = model
        self.loaded.append((name, path))
        return 200, f"Success: LoRA adapter '{name}' added successfully.".encode()

    def unload(self, name, _):
        if self.adapters.pop(name, None) is None:
            return said(404, f"The lora adapter '{name}' cannot be found.")
        return 200, f"Success: LoRA adapter '{name}' removed successfully.".encode()

    def chat(self, body):
        self.bodies.append(body)
        if body["model"] not in self.adapters:
            return said(404, f"The model `{body['model']}` does not exist.")
        if missing := [name for name in NOT_TO_BE_LEFT_OUT if name not in body]:
            return said(400, f"{missing} would be as the checkpoint has it")
        reply = completion(self.adapters[body["model"]], body)
        status = self.spoil(len(self.bodies), reply)
        return said(status, "spoilt") if status else (200, json.dumps(reply).encode())


def said(status, words):
    return status, json.dumps({"error": {"message": words, "type": "Error", "code": status}}).encode()


def completion(model, body):
    """What vLLM replies to a request with `n`, `seed`, `logprobs` and `return_token_ids`."""
    image_HW3, prompt = asked_of(body)
    ids = tuple(model.speech.question_ids(prompt))
    size = image_HW3.shape[1::-1]
    example = Example("s", [image_HW3], 0, size, (), np.zeros(0), np.zeros(0), None)
    scene = Prompts(example, (Asked("q", "rec", prompt, ids, None),))
    _, features = Seen.of(model.family, [scene])
    noise = uniforms(body["seed"], body["n"], body["max_tokens"])
    with torch.no_grad():
        (answers,) = draw(model, [scene], features, [Place(0, 0)], [noise], body["temperature"])
    choices = [
        {
            "index": n,
            "message": {"role": "assistant", "content": model.speech.answer(drawn.ids)},
            "logprobs": {"content": [{"token": "", "logprob": p, "top_logprobs": []} for p in drawn.logprobs]},
            "finish_reason": "length" if drawn.is_cut else "stop",
            "token_ids": list(drawn.ids),
        }
        for n, drawn in enumerate(answers)
    ]
    before = [*model.prefix(size).ids, *ids]
    total = len(before) + sum(len(drawn.ids) for drawn in answers)
    # choices may come in any order
    return {"choices": choices[::-1], "prompt_token_ids": before, "usage": {"total_tokens": total}}


def asked_of(body):
    picture, text = body["messages"][-1]["content"]
    head, _, data = picture["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    return decode_image(b64decode(data)), text["text"]


@contextmanager
def serving(stand_in, slow_s=0.0, slow=()):
    """Its address; requests whose number is in `slow` are answered `slow_s` later."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            torch.set_num_threads(1)
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, content = stand_in.reply(self.path, body)
            if self.path.endswith("completions") and len(stand_in.bodies) in slow:
                time.sleep(slow_s)
            with suppress(OSError):  # the other side may have given up
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}/v1"
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
