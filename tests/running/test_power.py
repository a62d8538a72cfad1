"""Against VMMs that are only sockets, which answer as the real ones are documented to."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bangerbuild.running import power

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

GREETING = {"QMP": {"version": {"qemu": {"major": 7}}, "capabilities": []}}
EVENT = {"event": "RTC_CHANGE", "data": {"offset": 0}}


@contextmanager
def vmm(
    tmp_path: Path, answer: Callable[[socket.socket, list[bytes]], None]
) -> Iterator[tuple[str, list[bytes]]]:
    """A socket at which somebody answers one caller, and what was asked of it."""
    asked: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "api.sock"))
        listening.listen(1)

        def serve() -> None:
            with listening.accept()[0] as one:
                answer(one, asked)

        thread = threading.Thread(target=serve)
        thread.start()
        yield str(tmp_path / "api.sock"), asked
        thread.join()


def line(document: object) -> bytes:
    return json.dumps(document).encode() + b"\r\n"


def qmp(one: socket.socket, asked: list[bytes], *, last: object) -> None:
    one.sendall(line(GREETING))
    with one.makefile("rb") as lines:
        asked.append(lines.readline())
        one.sendall(line(EVENT) + line({"return": {}}))
        asked.append(lines.readline())
        one.sendall(line(EVENT) + line(last))


def test_qemus_power_button_is_pressed_by_qmp(tmp_path: Path) -> None:
    with vmm(tmp_path, lambda one, asked: qmp(one, asked, last={"return": {}})) as (place, asked):
        power.power_down("qemu", place)
    commands = [json.loads(command)["execute"] for command in asked]
    assert commands == ["qmp_capabilities", "system_powerdown"]


def test_a_refusal_is_told_in_qemus_words(tmp_path: Path) -> None:
    refusal = {"error": {"class": "GenericError", "desc": "not now"}}
    with (
        vmm(tmp_path, lambda one, asked: qmp(one, asked, last=refusal)) as (place, _),
        pytest.raises(power.NoAnswerError, match="not now"),
    ):
        power.power_down("qemu", place)


def http(one: socket.socket, asked: list[bytes], answer: bytes) -> None:
    asked.append(one.recv(4096))
    one.sendall(answer)


OK = b"HTTP/1.1 204 \r\nServer: API\r\n\r\n"


def test_cloud_hypervisors_button_is_pressed_by_http(tmp_path: Path) -> None:
    with vmm(tmp_path, lambda one, asked: http(one, asked, OK)) as (place, asked):
        power.power_down("cloud-hypervisor", place)
    assert asked[0].startswith(b"PUT /api/v1/vm.power-button HTTP/1.1\r\nHost: localhost\r\n")
    assert asked[0].endswith(b"Content-Length: 0\r\n\r\n")


def test_firecracker_is_sent_the_keys_that_restart_a_guest(tmp_path: Path) -> None:
    with vmm(tmp_path, lambda one, asked: http(one, asked, OK)) as (place, asked):
        power.power_down("firecracker", place)
    head, _, body = asked[0].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /actions HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert json.loads(body) == {"action_type": "SendCtrlAltDel"}


@pytest.mark.parametrize("answer", [b"HTTP/1.1 405 \r\n\r\n", b"nonsense\r\n", b""])
@pytest.mark.parametrize("name", ["cloud-hypervisor", "firecracker"])
def test_any_other_answer_is_none(tmp_path: Path, name: str, answer: bytes) -> None:
    with (
        vmm(tmp_path, lambda one, asked: http(one, asked, answer)) as (place, _),
        pytest.raises(power.NoAnswerError),
    ):
        power.power_down(name, place)


@pytest.mark.parametrize("name", ["qemu", "cloud-hypervisor", "firecracker", "another"])
def test_no_socket_is_no_answer(tmp_path: Path, name: str) -> None:
    with pytest.raises(power.NoAnswerError):
        power.power_down(name, str(tmp_path / "api.sock"))


def test_a_vmm_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "SECONDS", 0.1)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "api.sock"))
        listening.listen(1)
        with pytest.raises(power.NoAnswerError, match="timed out"):
            power.power_down("qemu", str(tmp_path / "api.sock"))


def test_a_closed_connection_is_no_answer(tmp_path: Path) -> None:
    with (
        vmm(tmp_path, lambda one, _: one.sendall(line(GREETING))) as (place, _),
        pytest.raises(power.NoAnswerError),
    ):
        power.power_down("qemu", place)


@pytest.mark.parametrize("said", [b"[" * 100_000, b"[1]", b"5", b'{"QMP": 1}\n{"error": 5}', b"9" * 5000])
def test_nonsense_is_no_answer(tmp_path: Path, said: bytes) -> None:
    with (
        vmm(tmp_path, lambda one, _: one.sendall(said + b"\n")) as (place, _),
        pytest.raises(power.NoAnswerError),
    ):
        power.power_down("qemu", place)
