from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from bangerbuild.running import readiness
from bangerbuild.running.readiness import ConsoleWatch

if TYPE_CHECKING:
    from pathlib import Path

KERNEL = b"[    0.000000] Linux version 6.1.0\r\n[    1.000000] EXT4-fs (vda): mounted filesystem\r\n"
INITRD = (
    KERNEL
    + b"[    1.1] Run /init as init process\r\nLoading, please wait...\r\nBegin: Running /scripts/local\r\n"
)
INIT = KERNEL + b"[    1.200000] Run /sbin/init as init process\r\n"


@pytest.mark.parametrize(
    "log",
    [
        INITRD + b"\r\nWelcome to \x1b[1mDebian GNU/Linux 12 (bookworm)\x1b[0m!\r\n",
        b"\r\nDebian GNU/Linux 12 web ttyS0\r\n\r\nweb login: ",
        INIT + b"[    1.3] random: crng init done\r\nhello from rcS\r\n",
        b"Run /bin/sh as init process\n/ # ",
        INITRD + b"\r\n   OpenRC 0.48 is starting up Linux 6.1 (x86_64)\r\n",
        INITRD + b"Please press Enter to activate this console.",
    ],
)
def test_a_prompt_or_what_the_init_prints_first_shows_that_it_is_up(tmp_path: Path, log: bytes) -> None:
    (tmp_path / "log").write_bytes(log)
    assert ConsoleWatch(str(tmp_path / "log")).is_up()


@pytest.mark.parametrize(
    "log",
    [
        b"",
        KERNEL,
        INIT,
        INITRD,
        INIT + b"[    1.300000] random: crng init done\r\n",
        INITRD + b"ALERT!  LABEL=root does not exist.  Dropping to a shell!\r\n(initramfs) ",
        b"this login: is in the middle of a line\r\n",
    ],
)
def test_kernel_and_initrd_are_not_what_is_waited_for(tmp_path: Path, log: bytes) -> None:
    (tmp_path / "log").write_bytes(log)
    assert not ConsoleWatch(str(tmp_path / "log")).is_up()


def test_a_log_may_come_byte_by_byte(tmp_path: Path) -> None:
    watch = ConsoleWatch(str(tmp_path / "log"))
    whole = INIT + b"hello from rcS\r\n"
    with (tmp_path / "log").open("wb", buffering=0) as log:
        for byte in whole[:-1]:
            log.write(bytes((byte,)))
            assert not watch.is_up()
        log.write(whole[-1:])
    assert watch.is_up()


def test_a_log_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    assert not ConsoleWatch(str(tmp_path / "log")).is_up()


@pytest.mark.parametrize(("banner", "answers"), [(b"SSH-2.0-x\r\n", True), (b"HTTP", False), (b"", False)])
def test_only_an_ssh_server_introduces_itself_like_that(banner: bytes, answers: bool) -> None:  # noqa: FBT001
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)

        def serve() -> None:
            with listening.accept()[0] as one:
                one.sendall(banner)

        thread = threading.Thread(target=serve)
        thread.start()
        assert readiness.answers("127.0.0.1", listening.getsockname()[1]) is answers
        thread.join()


def test_a_port_where_nobody_listens_has_no_server() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        assert not readiness.answers("127.0.0.1", one.getsockname()[1])


def test_what_is_waited_for_comes_or_the_vm_ends_or_the_time_is_over() -> None:
    ups = iter((False, False, True))
    assert readiness.wait(lambda: next(ups), lambda: False, 60, poll=0) is True
    assert readiness.wait(lambda: False, lambda: True, 60, poll=0) is False
    assert readiness.wait(lambda: False, lambda: False, 0, poll=0) is None
