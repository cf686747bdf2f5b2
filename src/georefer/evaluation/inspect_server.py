"""One page on this machine's own address, and nothing else of it."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from georefer.errors import InputError

HOST = "127.0.0.1"


def page_server(page: bytes, port: int = 0) -> ThreadingHTTPServer:
    """A server that answers "/" with the page and everything else with 404; port 0 takes a free one.

    Only requests addressed to this machine by name are answered, so that no web site can read the page through a
    name of its own that leads here. Call `serve_forever`, and close it.
    """

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "georefer", ""

        def do_GET(self) -> None:
            self._answer(with_page=True)

        def do_HEAD(self) -> None:
            self._answer(with_page=False)

        def _answer(self, *, with_page: bool) -> None:
            asked = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
            if urlsplit(self.path).path != "/" or asked not in (HOST, "localhost"):
                self.send_error(404)
                return
            self.send_response(200)
            for name, value in (
                ("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(page))),
                ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"),
            ):  # fmt: skip
                self.send_header(name, value)
            self.end_headers()
            if with_page:
                self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody waits for these."""

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise InputError(f"port {port} of {HOST} cannot be served on ({error}); give another or none") from error
