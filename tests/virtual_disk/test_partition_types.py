"""Types of partitions."""

from __future__ import annotations

import uuid

import pytest

from bangerbuild.virtual_disk.partition_types import NAMES, ROOTS, own_architecture


def test_every_type_is_written_as_partx_says_it() -> None:
    for one in (*NAMES, *ROOTS):
        assert one.startswith("0x") or str(uuid.UUID(one)) == one


@pytest.mark.parametrize(
    ("machine", "expected"), [("x86_64", "x86-64"), ("aarch64", "arm64"), ("s390x", "s390x")]
)
def test_the_hosts_architecture_has_the_name_of_the_types(
    monkeypatch: pytest.MonkeyPatch, machine: str, expected: str
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert own_architecture() == expected
    assert expected in ROOTS.values()
