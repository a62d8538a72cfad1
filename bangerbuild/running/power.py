"""Asking a guest to power down through the socket of its VMM: QMP for QEMU, HTTP for the others."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SECONDS = 3.0
"""How long a VMM may take to answer."""
MOST_BYTES = 1 << 20


class NoAnswerError(Exception):
    """The VMM does not take the request; the text says why."""


def power_down(vmm: str, place: str) -> None:
    """Press the power button, or what comes near it; what the guest makes of it is its own affair.

    Args:
        vmm: the VMM's name.
        place: the path of its socket, short enough for one.

    Raises:
        NoAnswerError: nothing was pressed.
    """
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(SECONDS)
            one.connect(place)
            REQUESTS[vmm](one)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise NoAnswerError((getattr(err, "strerror", None) or str(err) or "no answer").lower()) from err


def _qmp(one: socket.socket) -> None:
    """Events may come between the answers (docs/interop/qmp-spec.rst)."""
    with one.makefile("rwb") as stream:
        lines = _lines(stream.readline)
        next(line for line in lines if "QMP" in line)
        for command in ("qmp_capabilities", "system_powerdown"):
            stream.write(json.dumps({"execute": command}).encode() + b"\n")
            stream.flush()
            answer = next(line for line in lines if "return" in line or "error" in line)
            if "error" in answer:
                raise ValueError(f"{command}: {answer['error'].get('desc', 'refused')}")


def _lines(read: Callable[[int], bytes]) -> Iterator[Mapping[str, Mapping[str, str]]]:
    while line := read(MOST_BYTES):
        yield json.loads(line)
    raise ValueError("it closed the connection")


def _button(one: socket.socket) -> None:
    """cloud-hypervisor (vmm/src/api/openapi/cloud-hypervisor.yaml)."""
    _put(one, "/api/v1/vm.power-button", None)


def _keys(one: socket.socket) -> None:
    """Firecracker, which ends when its guest restarts (docs/api_requests/actions.md)."""
    _put(one, "/actions", {"action_type": "SendCtrlAltDel"})


def _put(one: socket.socket, path: str, body: Mapping[str, str] | None) -> None:
    content = json.dumps(body) if body else ""
    head = f"PUT {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
    kind = "Content-Type: application/json\r\n" if body else ""
    one.sendall(f"{head}{kind}Content-Length: {len(content)}\r\n\r\n{content}".encode())
    answer = b""
    with contextlib.suppress(TimeoutError):
        while b"\r\n" not in answer and (piece := one.recv(4096)):
            answer += piece
    status = answer.split(b"\r\n")[0].split(b" ")
    if len(status) < 2 or not status[1].startswith(b"2"):
        raise ValueError(f"PUT {path}: {answer.decode('utf-8', 'replace').strip() or 'no answer'}")


REQUESTS: dict[str, Callable[[socket.socket], None]] = {
    "qemu": _qmp,
    "cloud-hypervisor": _button,
    "firecracker": _keys,
}
"""By the VMM's name."""
