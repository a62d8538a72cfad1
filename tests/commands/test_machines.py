from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.commands import machines
from bangerbuild.errors import StoreError, UsageError
from bangerbuild.manifest.outline import Outline
from bangerbuild.running.run_directory import Running
from bangerbuild.running.stopping import Stopping

if TYPE_CHECKING:
    from pathlib import Path

WEB = Running({"vm": "web", "vmm": "qemu", "pid": "42", "since": "1700000000123", "ssh": "127.0.0.1:40022"})


def test_json_has_these_keys_and_no_other() -> None:
    assert machines.to_json([WEB]) == {
        "vms": [
            {
                "vm": "web",
                "vmm": "qemu",
                "pid": 42,
                "since": "2023-11-14T22:13:20+00:00",
                "ssh": "127.0.0.1:40022",
            }
        ]
    }
    assert machines.to_json([]) == {"vms": []}


def test_the_table_has_a_line_for_each() -> None:
    head, line = machines.lines([WEB])
    assert head.split() == ["VM", "VMM", "PID", "SINCE", "SSH"]
    assert line.split()[:3] == ["web", "qemu", "42"]
    assert line.split()[-1] == "127.0.0.1:40022"


def test_a_name_is_near_another_or_those_there_are_are_listed() -> None:
    machines.check_declared("web", {"web"})
    for name, hint in (("webb", "did you mean 'web'?"), ("zzz", "known: db, web")):
        with pytest.raises(UsageError) as caught:
            machines.check_declared(name, {"web", "db"})
        assert caught.value.hint == hint
    with pytest.raises(UsageError) as caught:
        machines.check_declared("web", ())
    assert caught.value.hint == "no VM is declared: --manifest FILE names a manifest elsewhere"


@pytest.mark.parametrize(
    ("tried", "said"),
    [
        (["power-down"], "web: powered down"),
        (["power-down", "SIGTERM"], "web: ended by SIGTERM, as it did not power down"),
        (["SIGTERM"], "web: ended by SIGTERM"),
        (
            ["power-down", "SIGTERM", "SIGKILL"],
            "web: killed by SIGKILL, as it did not power down nor end by SIGTERM",
        ),
    ],
)
def test_what_it_took_to_stop_a_vm_is_said(tmp_path: Path, tried: list[str], said: str) -> None:
    assert machines.stopped_line(Stopping(str(tmp_path), WEB, tried)) == said


def test_why_a_vmm_took_no_request_is_said_too(tmp_path: Path) -> None:
    one = Stopping(str(tmp_path), WEB, ["SIGTERM"], ["its VMM takes no power-down: \x1b[2J"])
    assert machines.stopped_line(one).endswith("; its VMM takes no power-down: \\x1b[2J")


def test_a_vm_that_was_never_started_has_no_log(tmp_path: Path) -> None:
    found = Outline(tmp_path, {"web": ()})
    for follow in (False, True):
        with pytest.raises(StoreError, match="'web' has printed nothing: it was not started yet"):
            machines.log(found, "web", lambda _: True, follow=follow)


def test_a_log_ends_where_nobody_reads_it(tmp_path: Path) -> None:
    run = tmp_path / "vms" / "web" / "run"
    run.mkdir(parents=True)
    (run / "console.log").write_bytes(b"x" * (3 << 20))
    pieces: list[bytes] = []

    def write(piece: bytes) -> bool:
        pieces.append(piece)
        return False

    machines.log(Outline(tmp_path), "web", write, follow=False)
    assert len(pieces) == 1


def test_a_vm_that_no_manifest_declares_any_more_is_known_by_the_store(tmp_path: Path) -> None:
    (tmp_path / "vms" / "old").mkdir(parents=True)
    assert machines.known(Outline(tmp_path), "old") is None
    with pytest.raises(UsageError):
        machines.known(Outline(tmp_path), "new")
