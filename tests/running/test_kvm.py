"""No test asks this host's KVM for more than an answer: what a probe finds is given to it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from bangerbuild.running import kvm
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("code", "trouble"), [(0, ""), (1, "it can't be used"), (2, "it runs no guest"), (77, "it runs no guest")]
)
def test_what_the_child_ends_with_is_what_is_wrong(code: int, trouble: str) -> None:
    assert kvm.probe(lambda: code) == trouble


def test_a_probe_that_hangs_is_ended() -> None:
    def hang() -> int:
        time.sleep(3600)
        return 0

    assert kvm.probe(hang, seconds=0.1) == "a guest of a few instructions does not end"


def test_a_probe_that_dies_found_no_kvm() -> None:
    def die() -> int:
        os.kill(os.getpid(), 9)
        return 0

    assert kvm.probe(die) == "it runs no guest"


def test_a_device_that_is_not_there_is_not_opened(tmp_path: Path) -> None:
    device, cache = tmp_path / "kvm", tmp_path / "cache" / "kvm"
    assert kvm.trouble(str(device), str(cache)) == f"there is no {device}"
    assert not cache.exists()


def test_a_file_that_takes_no_requests_is_no_kvm(tmp_path: Path) -> None:
    """It opens, and refuses."""
    device = tmp_path / "kvm"
    device.touch()
    assert kvm.trouble(str(device)) == f"{device} can be opened, but it can't be used"


def test_what_was_found_is_kept_until_the_device_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, cache = tmp_path / "kvm", tmp_path / "cache" / "kvm"
    device.touch()
    found = iter(("does not run", "", "must not be asked for"))
    monkeypatch.setattr(kvm, "probe", lambda _: next(found))
    for _ in range(2):
        assert kvm.trouble(str(device), str(cache)) == f"{device} can be opened, but does not run"
    device.chmod(0o600)
    device.chmod(0o666)
    for _ in range(2):
        assert kvm.trouble(str(device), str(cache)) == ""


def test_another_start_of_the_host_asks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device, cache, boot_id = tmp_path / "kvm", tmp_path / "kept", tmp_path / "boot_id"
    device.touch()
    boot_id.write_text("first\n")
    monkeypatch.setattr(kvm, "BOOT_ID", str(boot_id))
    found = iter(("", "hangs"))
    monkeypatch.setattr(kvm, "probe", lambda _: next(found))
    assert kvm.trouble(str(device), str(cache)) == ""
    boot_id.write_text("second\n")
    assert kvm.trouble(str(device), str(cache)).endswith("hangs")


@pytest.mark.parametrize("kept", ["", "another key\n\n", "\n", "x" * 9000])
def test_a_damaged_file_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str) -> None:
    device, cache = tmp_path / "kvm", tmp_path / "kept"
    device.touch()
    cache.write_text(kept)
    monkeypatch.setattr(kvm, "probe", lambda _: "")
    assert kvm.trouble(str(device), str(cache)) == ""


def test_a_cache_that_can_not_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, file = tmp_path / "kvm", tmp_path / "file"
    device.touch()
    file.touch()
    monkeypatch.setattr(kvm, "probe", lambda _: "")
    assert kvm.trouble(str(device), str(file / "kept")) == ""


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert kvm.cache_path() == "/home/me/.cache/bangerbuild/kvm"
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert kvm.cache_path() == "/elsewhere/bangerbuild/kvm"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "")
    assert kvm.cache_path() is None


def test_this_hosts_kvm_has_an_answer_in_time() -> None:
    """Whichever: the probe itself must not fail or hang."""
    assert isinstance(kvm.trouble(), str)


def test_a_guest_that_takes_the_processor_for_long_runs_no_faster_than_an_emulated_one() -> None:
    def run() -> int:
        while time.process_time() < 2 * kvm.MOST_CPU_SECONDS:  # from 0 in the child
            pass
        return 0

    assert "as long as an emulated one" in kvm.probe(run, seconds=PATIENCE_SECONDS)
