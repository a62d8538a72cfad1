"""An HTTP server on loopback that misbehaves as real ones do, and remembers what it was asked for."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from email.message import Message
    from pathlib import Path
    from typing import TypeAlias

    Answer: TypeAlias = "Callable[[Handler], None]"


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    headers: Message

    @property
    def range(self) -> str | None:
        return self.headers.get("Range")


@dataclass
class Server:
    """What it answers is said for each path: one answer after the other, the last one from then on."""

    port: int
    scheme: str = "http"
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def url(self, path: str) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def says(self, *answers: Answer, path: str = "/file") -> str:
        """Sets what it answers; the address."""
        self.answers[path] = list(answers)
        return self.url(path)

    def next_answer(self, asked: Asked) -> Answer:
        with self.lock:
            self.asked.append(asked)
            left = self.answers.get(asked.path, [status(404)])
            return left.pop(0) if len(left) > 1 else left[0]

    @property
    def ranges(self) -> list[str | None]:
        return [asked.range for asked in self.asked]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    serving: Server

    def do_GET(self) -> None:
        with contextlib.suppress(ConnectionError):  # a client that went away is what is tested
            self.serving.next_answer(Asked(self.path, self.headers))(self)

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""

    def begin(self, code: int, headers: Mapping[str, str]) -> None:
        self.send_response_only(code)
        for name, value in {"Date": self.date_time_string(), **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def hang_up(self) -> None:
        """Ends the connection as a crashed server does."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True


def file(
    data: bytes,
    headers: Mapping[str, str] | None = None,
    *,
    cut: int | None = None,
    ranges: bool = True,
    length: int | None = None,
) -> Answer:
    """A file, of which it sends at most `cut` bytes before it hangs up, and says that it has `length`.

    With an ETag among the headers it minds conditions.
    """
    named = headers or {}

    def answer(handler: Handler) -> None:
        if named.get("ETag") and handler.headers.get("If-None-Match") == named["ETag"]:
            handler.begin(304, named)
            return
        start = _start(handler, named) if ranges else 0
        if start and start >= len(data):
            handler.begin(416, {"Content-Range": f"bytes */{len(data)}", "Content-Length": "0"})
            return
        total = len(data) if length is None else length
        told = {"Content-Length": str(total - start), **named}
        if start:
            told["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        handler.begin(206 if start else 200, told)
        handler.wfile.write(data[start:] if cut is None else data[start : start + cut])
        if cut is not None or length is not None:
            handler.hang_up()

    return answer


def _start(handler: Handler, named: Mapping[str, str]) -> int:
    condition = handler.headers.get("If-Range")
    if condition and condition not in (named.get("ETag"), named.get("Last-Modified")):
        return 0
    found = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    return int(found[1]) if found else 0


def part(data: bytes, start: int, total: int | str, named: Mapping[str, str] | None = None) -> Answer:
    """A part that it chose by itself."""
    headers = {"Content-Range": f"bytes {start}-{start + len(data) - 1}/{total}", **(named or {})}

    def answer(handler: Handler) -> None:
        handler.begin(206, {"Content-Length": str(len(data)), **headers})
        handler.wfile.write(data)

    return answer


def chunked(*pieces: bytes, whole: bool = True) -> Answer:
    """A body in chunks, without a length; not `whole`: it hangs up before the last."""

    def answer(handler: Handler) -> None:
        handler.begin(200, {"Transfer-Encoding": "chunked"})
        for piece in pieces:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if whole:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.hang_up()

    return answer


def endless(data: bytes) -> Answer:
    """A body whose end is the end of the connection, as HTTP/1.0 has it."""

    def answer(handler: Handler) -> None:
        handler.begin(200, {"Connection": "close"})
        handler.wfile.write(data)
        handler.hang_up()

    return answer


def status(code: int, headers: Mapping[str, str] | None = None) -> Answer:
    """Nothing but a status."""

    def answer(handler: Handler) -> None:
        handler.begin(code, {"Content-Length": "0", **(headers or {})})

    return answer


def redirect(target: str, code: int = 302) -> Answer:
    return status(code, {"Location": target})


def silence(until: threading.Event) -> Answer:
    """A server that accepts, and says nothing."""

    def answer(handler: Handler) -> None:
        until.wait(PATIENCE_SECONDS)
        handler.hang_up()

    return answer


def dripping(head: bytes, drop: bytes, until: threading.Event) -> Answer:
    """A server that goes on for ever after it has sent `head`, a few bytes at a time."""

    def answer(handler: Handler) -> None:
        handler.wfile.write(head)
        while not until.wait(0.001):
            handler.wfile.write(drop)

    return answer


def after(event: threading.Event, answer: Answer, *, reached: threading.Event) -> Answer:
    """An answer that waits for something."""

    def waiting(handler: Handler) -> None:
        reached.set()
        event.wait(PATIENCE_SECONDS)
        answer(handler)

    return waiting


@contextlib.contextmanager
def running(certificate: Path | None = None) -> Iterator[Server]:
    """A server that runs in the context; with a certificate (and its key, in one file) it speaks TLS."""
    server = Server(0, "https" if certificate else "http")
    listener = ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"serving": server}))
    listener.daemon_threads = True
    listener.handle_error = lambda *_arguments: None  # type: ignore[method-assign]  # clients that break off
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
    server.port = listener.server_port
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
