"""A web server on loopback that remembers what it was asked for."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class Web:
    """One that runs."""

    address: str
    requests: list[str] = field(default_factory=list)
    """The paths it was asked for, in order."""

    def url(self, name: str) -> str:
        return f"http://{self.address}/{name}"


@contextmanager
def serving(directory: Path) -> Iterator[Web]:
    """Serves the files of a directory as long as the context lasts."""
    web = Web("")

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:  # noqa: ARG002  # the base's
            web.requests.append(self.path)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's
            """Nothing, on a screen that is the test's."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(directory))) as server:
        web.address = f"127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield web
        finally:
            server.shutdown()
