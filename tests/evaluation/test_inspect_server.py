"""The page and nothing but the page."""

import http.client
import threading

import pytest

from georefer.errors import InputError
from georefer.evaluation.inspect_server import HOST, page_server

PAGE = "<p>Straße</p>".encode()


@pytest.fixture(scope="module")
def port():
    with page_server(PAGE) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def ask(port, path, method="GET", host=None):
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    connection.request(method, path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@pytest.mark.parametrize("path", ["/", "/?", "/?x=1", "/#top"])
def test_the_page(port, path):
    answer, body = ask(port, path)
    assert answer.status == 200 and body == PAGE
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Python" not in answer.headers["Server"]


def test_its_head(port):
    answer, body = ask(port, "/", "HEAD")
    assert answer.status == 200 and body == b"" and answer.headers["Content-Length"] == str(len(PAGE))


@pytest.mark.parametrize(
    "path", ["/index.html", "/etc/passwd", "/../../etc/passwd", "//x", "/%2e%2e/", "/manifest.json", "/.", "*"]
)
def test_nothing_else(port, path):
    answer, body = ask(port, path)
    assert answer.status == 404 and PAGE not in body


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("localhost:1", 200), ("127.0.0.1:80", 200), ("evil.example", 404), ("evil.example:80", 404)],
)
def test_only_by_this_machines_names(port, host, status):
    """A web site whose name leads to this machine must not read the page."""
    assert ask(port, "/", host=host)[0].status == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_only_reading(port, method):
    assert ask(port, "/", method)[0].status == 501


def test_a_taken_port_is_said(port):
    for wrong in (port, 70_000):
        with pytest.raises(InputError, match=f"port {wrong}"):
            page_server(PAGE, wrong)
