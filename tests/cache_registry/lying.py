"""A registry on loopback that says what a test puts into it, and fails as a test wants it to."""

from __future__ import annotations

import contextlib
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from bangerbuild.cache_registry.artifact import sha256
from bangerbuild.formats.oci.mediatypes import OCI_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from bangerbuild.cache_registry.artifact import Manifest

TAKES_NOTHING, IS_FULL = 405, 507


@dataclass
class LyingRegistry:
    """What it holds, and how it fails."""

    address: str = ""
    manifests: dict[str, bytes] = field(default_factory=dict)
    """By tag and by digest, in whichever repository."""
    blobs: dict[str, bytes] = field(default_factory=dict)
    """By digest."""
    breaks_off: bool = False
    """Whether the connection breaks in the middle of each blob of some size."""
    hangs: threading.Event | None = None
    """Until it is set, nothing is answered."""
    refuses_with: int = TAKES_NOTHING
    """What it says to each push."""
    asked: list[str] = field(default_factory=list)

    def holds(self, tag: str, manifest: Manifest | bytes, blobs: dict[str, bytes]) -> None:
        """Put an artifact under a tag."""
        data = manifest if isinstance(manifest, bytes) else manifest.document()
        self.manifests |= {tag: data, f"sha256:{sha256(data)}": data}
        self.blobs |= blobs


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    registry: LyingRegistry

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_POST(self) -> None:
        self._send(self.registry.refuses_with, b"", has_body=True)

    do_PUT = do_PATCH = do_POST  # noqa: N815  # the base's names

    def log_message(self, *_arguments: object) -> None:
        """Says nothing."""

    def _answer(self, *, has_body: bool) -> None:
        registry = self.registry
        registry.asked.append(self.path)
        if registry.hangs:
            registry.hangs.wait()
        what, _, name = self.path.rpartition("/")
        if self.path == "/v2/":
            self._send(200, b"{}", has_body=has_body)
        elif what.endswith("/manifests") and name in registry.manifests:
            self._send(200, registry.manifests[name], has_body=has_body, kind=OCI_MANIFEST)
        elif what.endswith("/blobs") and (digest := name.removeprefix("sha256:")) in registry.blobs:
            self._send(200, registry.blobs[digest], has_body=has_body)
        else:
            said = b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
            self._send(404, said, has_body=has_body, kind="application/json")

    def _send(
        self, code: int, body: bytes, *, has_body: bool, kind: str = "application/octet-stream"
    ) -> None:
        with contextlib.suppress(ConnectionError):
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if (
                has_body
                and self.registry.breaks_off
                and kind == "application/octet-stream"
                and len(body) > 1000
            ):
                self.wfile.write(body[: len(body) // 2])
                self.close_connection = True
            elif has_body:
                self.wfile.write(body)


@contextmanager
def lying_registry(place: Path, patch: pytest.MonkeyPatch) -> Iterator[LyingRegistry]:
    """One that runs; a user's skopeo finds its way to it, and the user's cache is empty."""
    registry = LyingRegistry()

    class Handler(_Handler):
        pass

    Handler.registry = registry
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        registry.address = f"127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        configuration = place / "registries.conf"
        configuration.write_text(f'[[registry]]\nlocation = "{registry.address}"\ninsecure = true\n')
        patch.setenv("CONTAINERS_REGISTRIES_CONF", str(configuration))
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        try:
            yield registry
        finally:
            if registry.hangs:
                registry.hangs.set()
            server.shutdown()
