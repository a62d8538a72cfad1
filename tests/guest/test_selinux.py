"""Whether a guest has SELinux, told from its files."""

from __future__ import annotations

import pytest

from bangerbuild.guest import selinux
from bangerbuild.tree import EntryType
from tests.guest.view import guest

POLICY = "/etc/selinux/targeted/contexts/files/file_contexts"
CONFIG = "# SELINUX=disabled\nSELINUX=enforcing\n SELINUXTYPE = targeted \n"
LINE = "/.* system_u:object_r:default_t:s0\n"


def label(files: dict[str, bytes | str], path: str = "/a") -> str | None:
    found = selinux.file_contexts(guest(files))
    return found.label(path, EntryType.FILE) if found else None


def test_the_policy_that_the_guest_has_says_the_labels() -> None:
    assert label({selinux.CONFIG: CONFIG, POLICY: LINE}) == "system_u:object_r:default_t:s0"


def test_its_further_files_count() -> None:
    files: dict[str, bytes | str] = {selinux.CONFIG: CONFIG, POLICY: LINE}
    assert label(files | {f"{POLICY}.local": "/a u:r:local:s0\n"}) == "u:r:local:s0"
    assert label(files | {f"{POLICY}.homedirs": "/[a] u:r:home:s0\n"}) == "u:r:home:s0"
    more: dict[str, bytes | str] = {f"{POLICY}.subs": "/a /b\n", f"{POLICY}.local": "/b u:r:b:s0\n"}
    assert label(files | more) == "u:r:b:s0"


@pytest.mark.parametrize(
    "files",
    [
        {},
        {selinux.CONFIG: CONFIG},
        {POLICY: LINE},
        {selinux.CONFIG: CONFIG.replace("=enforcing", "=Disabled"), POLICY: LINE},
        {selinux.CONFIG: "SELINUXTYPE=../x\n", "/etc/selinux/../x/contexts/files/file_contexts": LINE},
    ],
)
def test_a_guest_without_policy_or_with_selinux_off_has_no_labels(files: dict[str, bytes | str]) -> None:
    assert selinux.file_contexts(guest(files)) is None


def test_a_label_ends_with_a_zero_byte_as_setfilecon_writes_it() -> None:
    assert selinux.value("u:r:t:s0") == b"u:r:t:s0\0"
