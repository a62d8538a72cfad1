from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk.inode import Inode
from bangerbuild.tree import EntryType

SECOND = 1_000_000_000


def new_inode(inode_bytes: int = 256) -> Inode:
    return Inode.new(inode_bytes, EntryType.FILE, 1_700_000_000)


@given(st.integers(-(1 << 31) * SECOND, ((1 << 34) - (1 << 31)) * SECOND - 1))
def test_every_time_from_1901_to_2446_is_kept_to_the_nanosecond(time_ns: int) -> None:
    inode = new_inode()
    inode.mtime_ns = time_ns
    assert inode.mtime_ns == time_ns


@pytest.mark.parametrize(("inode_bytes", "last"), [(256, (1 << 34) - (1 << 31) - 1), (128, (1 << 31) - 1)])
def test_a_time_no_inode_can_hold_becomes_the_nearest_second(inode_bytes: int, last: int) -> None:
    inode = new_inode(inode_bytes)
    inode.mtime_ns = (1 << 40) * SECOND
    assert inode.mtime_ns == last * SECOND
    inode.mtime_ns = -(1 << 40) * SECOND
    assert inode.mtime_ns == -(1 << 31) * SECOND


@given(st.integers(0, (1 << 12) - 1), st.integers(0, (1 << 20) - 1))
def test_every_device_number_is_kept(major: int, minor: int) -> None:
    inode = new_inode()
    inode.device = (major, minor)
    assert inode.device == (major, minor)


@given(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1), st.integers(0, 0o7777))
def test_owners_above_65535_and_modes_do_not_disturb_each_other(uid: int, gid: int, mode: int) -> None:
    inode = new_inode()
    inode.uid, inode.gid, inode.mode = uid, gid, mode
    assert (inode.uid, inode.gid, inode.mode, inode.type) == (uid, gid, mode, EntryType.FILE)
