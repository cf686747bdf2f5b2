"""Serve a model to any OpenAI client; questions that come together are answered together.

georefer serve tiny-synthetic                        on http://127.0.0.1:8000/v1 until Ctrl-C
georefer serve runs/mine/model --port 9000
georefer ask http://127.0.0.1:8000/v1 image.tif --find building

One question with one image (a data URL) a request, greedy answers, no streaming."""

from __future__ import annotations

import argparse

from georefer.cli.options import add_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1: this machine)")
    parser.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes a free one")
    parser.add_argument("--key-variable", default="", metavar="NAME",
                        help="environment variable with the key that requests must bear")  # fmt: skip
    parser.add_argument("--batch", type=int, default=32, metavar="N", help="questions answered at once (default 32)")


def run(options: argparse.Namespace) -> int:
    from georefer.errors import InputError
    from georefer.models import load_model
    from georefer.runlog import say
    from georefer.serving import ServeSettings, is_loopback, serve

    try:
        settings = ServeSettings(options.host, options.port, options.key_variable, options.batch)
    except ValueError as error:
        raise InputError(str(error)) from error
    if not options.key_variable and not is_loopback(options.host):
        say(f"note: anyone who reaches {options.host} may ask; --key-variable NAME asks for a key")
    model = load_model(options.model)

    def ready(address: str) -> None:
        print(f"{model.name} at {address}  (Ctrl-C ends)", flush=True)

    try:
        serve(model, settings, options.model, ready)
    except KeyboardInterrupt:
        return 0
    return 0
