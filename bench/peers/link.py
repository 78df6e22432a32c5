"""A link between readers and a server: what comes through it is counted.

A port on loopback that leads to another one. What passes is moved by the kernel (``splice``) and not looked at.
"""

import contextlib
import fcntl
import os
import socket
import threading

PIECE = 1 << 20  # bytes
SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ of Linux


class Link:
    """Leads to ``port``; ``nbytes`` have come from there."""

    def __init__(self, port: int) -> None:
        self.nbytes, self._to, self._turn = 0, port, threading.Lock()
        self._listens = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._listens.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listens.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listens.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            for source, dest, counted in [(client, server, False), (server, client, True)]:
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._move, args=(source, dest, counted), daemon=True).start()

    def _move(self, source: socket.socket, dest: socket.socket, counted: bool) -> None:
        ends = os.pipe()
        fcntl.fcntl(ends[1], SET_PIPE_SIZE, PIECE)
        try:
            while some := os.splice(source.fileno(), ends[1], PIECE):
                with self._turn:
                    self.nbytes += some * counted
                while some:
                    some -= os.splice(ends[0], dest.fileno(), some)
        except OSError:
            pass  # either side has gone
        for end in ends:
            os.close(end)
        for one in (source, dest):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
