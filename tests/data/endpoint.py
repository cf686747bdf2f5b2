"""An OpenAI-compatible server in this process, which says what a test wants it to say."""

import json
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(content):
    return 200, json.dumps({"choices": [{"message": {"content": content}}]}).encode()


@contextmanager
def server(reply):
    """A server whose `reply(number, phrases)` gives (status, body[, headers]); yields (url, requests as seen)."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            phrases = json.loads(body["messages"][1]["content"])
            seen.append((self.path, self.headers.get("Authorization"), phrases))
            status, content, *headers = reply(len(seen), phrases)
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(OSError):  # the other side may have heard enough
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}/v1", seen
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()
