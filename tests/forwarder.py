"""What stands between a client and a real server in tests: it hands on each request, unless it is told of a fault.

A request is handed on as it came, so that its signature holds; answers are handed back whole, and counted.
"""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Forwarder", "between"]

Fault = Callable[[str, str], str]  # of the path and the range of a request: "", "busy", "short" or "held"


class Forwarder(ThreadingHTTPServer):
    """Listens on a port of its own; ``fault`` says what is done to a request, and ``asked`` is how many there were."""

    daemon_threads = True

    def __init__(self, real: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.real, self.fault, self.asked = urlsplit(real).netloc, lambda path, part: "", 0
        self.holds, self.let_go = threading.Event(), threading.Event()  # an answer is held back, until it is let go
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that was killed reads no answer."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Forwarder

    def _forward(self) -> None:
        self.server.asked += 1
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.fault(urlsplit(self.path).path, self.headers.get("Range", ""))
        if fault == "busy":
            return self._answer(503, [("Retry-After", "0")], b"SlowDown")
        if fault == "held":
            self.server.holds.set()
            self.server.let_go.wait(60)
        real = http.client.HTTPConnection(self.server.real, timeout=60)
        try:
            real.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                real.putheader(name, value)
            real.endheaders(body)
            got = real.getresponse()
            data, headers = got.read(), [(k, v) for k, v in got.getheaders() if k.lower() not in _OWN]
            self._answer(got.status, headers, data, len(data) // 2 if fault == "short" else None)
        finally:
            real.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], data: bytes, cut: int | None = None) -> None:
        self.send_response_only(status)
        if "content-length" not in (name.lower() for name, _ in headers):
            headers = [*headers, ("Content-Length", str(len(data)))]
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[:cut])
        self.close_connection = self.close_connection or cut is not None

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


_OWN = {"transfer-encoding", "connection", "keep-alive"}  # of one connection, not of an answer


@contextmanager
def between(real: str) -> Iterator[Forwarder]:
    """A forwarder to the server at ``real``, for as long as the block runs."""
    with Forwarder(real) as forwarder:
        thread = threading.Thread(target=forwarder.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield forwarder
        finally:
            forwarder.let_go.set()
            forwarder.shutdown()
            thread.join()
