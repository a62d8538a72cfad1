"""What the doctor looks for, and how it says so."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from bangerbuild.commands import doctor
from bangerbuild.commands.doctor import Finding
from bangerbuild.disk import libext2fs
from bangerbuild.errors import LibraryError, ToolError
from bangerbuild.host import process
from bangerbuild.planning import host
from bangerbuild.running import kvm
from tests.need import need
from tests.unprivileged import as_nobody

if TYPE_CHECKING:
    from pathlib import Path

FOUND = Finding("e2fsprogs", "1.47.0", needed=True, purpose="makes and checks ext4")
LACKING = Finding(
    "e2fsprogs", None, needed=True, purpose="makes and checks ext4", hint="apt install e2fsprogs"
)
OF_USE = Finding("dmsetup", None, needed=False, purpose="attaches a root overlay", hint="apt install dmsetup")


def named(name: str) -> Finding:
    return next(finding for finding in doctor.examine() if finding.name == name)


def test_findings_stand_in_columns() -> None:
    qemu = Finding("qemu-system-x86_64", "/usr/bin/qemu", needed=False, purpose="boots")
    assert list(doctor.lines([FOUND, qemu])) == [
        "ok      e2fsprogs           1.47.0         makes and checks ext4",
        "ok      qemu-system-x86_64  /usr/bin/qemu  boots",
    ]


def test_what_is_needed_and_missing_stands_out_with_the_command_that_installs_it() -> None:
    assert list(doctor.lines([LACKING])) == [
        "MISSING e2fsprogs    makes and checks ext4",
        "        apt install e2fsprogs",
    ]


def test_what_is_only_of_use_is_merely_absent() -> None:
    assert list(doctor.lines([OF_USE])) == [
        "absent  dmsetup    attaches a root overlay",
        "        apt install dmsetup",
    ]


def test_everything_without_which_nothing_works_is_looked_for() -> None:
    needed = [finding.name for finding in doctor.examine() if finding.needed]
    assert needed == ["Python", "libext2fs", "e2fsprogs"]


def test_the_versions_are_those_that_count_in_a_recipe() -> None:
    assert named("e2fsprogs").found == host.e2fsprogs_version()
    assert named("libext2fs").found == libext2fs.version()


def test_a_program_that_is_not_there_is_no_error_but_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(program: str) -> str:
        raise ToolError(f"'{program}' is not installed", hint=f"apt install {program}")

    monkeypatch.setattr(process, "find", missing)
    found = named("mmdebstrap")
    assert (found.found, found.needed, found.hint) == (None, False, "apt install mmdebstrap")


def test_a_library_too_old_is_told_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_old() -> str:
        raise LibraryError("libext2fs is 1.42, and 1.45 is needed", hint="apt install libext2fs2")

    monkeypatch.setattr(libext2fs, "version", too_old)
    found = named("libext2fs")
    assert (found.found, found.needed) == (None, True)
    assert (found.purpose, found.hint) == ("libext2fs is 1.42, and 1.45 is needed", "apt install libext2fs2")


JOIN = "add yourself to the group kvm: usermod -aG kvm USER"


@pytest.mark.parametrize("said", ["", "it runs no guest"])
def test_kvm_is_of_use_where_a_guest_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str) -> None:
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(kvm, "DEVICE", str(device))
    monkeypatch.setattr(kvm, "probe", lambda _: said)
    found = named("KVM")
    assert (found.found, found.needed, found.hint) == (None if said else str(device), False, None)
    assert found.purpose.endswith(said)


def test_a_kvm_that_is_another_users_comes_with_the_way_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(kvm, "DEVICE", str(tmp_path / "kvm"))
    assert (named("KVM").found, named("KVM").hint) == (None, None)
    (tmp_path / "kvm").touch()
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    assert (named("KVM").found, named("KVM").hint) == (None, JOIN)


def test_the_users_cache_is_shown_with_what_it_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    blob = tmp_path / "bangerbuild/blobs/sha256" / ("0" * 64)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"x" * (1 << 20))
    assert named("cache").found == f"1 MiB in {tmp_path}/bangerbuild"


def test_no_cache_is_an_empty_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert named("cache").found == f"0 bytes in {tmp_path}/bangerbuild"


def test_a_cache_that_can_not_be_read_is_told_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "bangerbuild").write_text("in the way")
    found = named("cache")
    assert (found.found, found.needed) == (None, False)
    assert "can't be read: not a directory" in found.purpose


def test_a_cache_that_can_not_be_made_is_told_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "dangling/cache"))
    found = named("cache")
    assert found.found is None
    assert "can't be made" in found.purpose
    assert "XDG_CACHE_HOME" in str(found.hint)


def tried(name: str) -> Finding:
    """What is found of one program, without the others."""
    return doctor._tried(next(program for program in doctor._of_kinds() if program.name == name))


@pytest.mark.root
def test_a_user_without_namespaces_is_not_told_that_mmdebstrap_works_for_him() -> None:
    need("mmdebstrap")
    if shutil.which("fakechroot") or os.geteuid() != 0:
        pytest.skip("it works here for everybody, or nobody can be asked")
    assert tried("mmdebstrap").purpose == "makes Debian root filesystems (mode root)"
    found = as_nobody(lambda: tried("mmdebstrap"))
    assert found.found is None
    assert "mmdebstrap can't work for this user" in found.purpose
    assert "/etc/subuid" in str(found.hint)


def test_docker_is_found_where_its_daemon_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "docker"
    monkeypatch.setattr(process, "SEARCH_PATH", str(tmp_path))
    for script, found in (
        ("exit 0", str(program)),
        ("echo Cannot connect to the Docker daemon; false", None),
    ):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        assert tried("docker").found == found
    assert tried("docker").purpose.endswith("it can't be used: Cannot connect to the Docker daemon")
    assert "systemctl start docker" in str(tried("docker").hint)


def test_what_brings_images_is_looked_for() -> None:
    assert {"skopeo", "mmdebstrap"} <= {finding.name for finding in doctor.examine()}
