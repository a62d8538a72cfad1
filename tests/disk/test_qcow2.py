from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk import qcow2
from bangerbuild.disk.qcow2_header import base_of, parse_header
from bangerbuild.errors import OverlayError

BASE = "../../images/debian/abc/rootfs.ext4"


@given(
    st.integers(1, 1 << 46),
    st.sampled_from(qcow2.CLUSTER_BITS),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=80),
)
def test_what_is_made_says_what_it_was_made_of(size_bytes: int, cluster_bits: int, base: str) -> None:
    try:
        made = qcow2.empty(size_bytes, base, cluster_bits=cluster_bits)
    except OverlayError:  # 32 MiB of L1 table are the most
        assert size_bytes > 1 << 2 * cluster_bits + 19
        return
    header = parse_header(made[: qcow2.HEAD_BYTES], "root.qcow2")
    assert (header.size_bytes, header.cluster_bits, header.base) == (size_bytes, cluster_bits, base)
    assert header.l1_entries * header.entries_per_table * header.cluster_bytes >= size_bytes
    assert len(made) == header.l1_offset + (header.l1_clusters << cluster_bits)
    assert base_of(made[: qcow2.HEAD_BYTES]) == base


def test_a_disk_of_another_size_has_room_for_its_tables() -> None:
    header = parse_header(qcow2.empty(1 << 20, BASE)[: qcow2.HEAD_BYTES], "root.qcow2")
    assert header.l1_entries == 1
    assert header.resized(1 << 40).l1_entries == 1 << 19
    assert header.resized(1 << 10).l1_entries == 1
    moved = header.at(l1_offset=1 << 20, refcount_offset=2 << 20, refcount_clusters=2)
    assert parse_header(moved.packed(), "root.qcow2") == moved


@pytest.mark.parametrize("size_bytes", [1 << 30, 4 << 30, 64 << 30, (1 << 42) + 4096])
def test_the_refcount_table_has_the_size_that_cloud_hypervisor_reads_and_writes(size_bytes: int) -> None:
    """As `max_refcount_clusters` there has it: for all clusters of the disk, and for what counts those."""
    header = parse_header(qcow2.empty(size_bytes, BASE)[: qcow2.HEAD_BYTES], "root.qcow2")
    data = size_bytes // 4096
    tables = -(-data // 512)
    clusters = data + tables + -(-tables // 512) + 1
    blocks = -(-clusters * 16 // (4096 * 8))
    blocks += -(-blocks * 16 // (4096 * 8))
    assert blocks * 8 <= header.refcount_clusters * 4096 < blocks * 8 + 4096
    assert header.l1_offset > header.refcount_offset + header.refcount_clusters * 4096


def test_a_disk_that_is_too_large_is_refused() -> None:
    assert qcow2.empty(1 << 43, BASE)
    with pytest.raises(OverlayError, match="is too large for a qcow2 file"):
        qcow2.empty((1 << 43) + 1, BASE)


def test_a_disk_that_would_grow_too_large_is_refused() -> None:
    header = parse_header(qcow2.empty(1 << 30, BASE)[: qcow2.HEAD_BYTES], "root.qcow2")
    with pytest.raises(OverlayError, match="a disk of 16 TiB is too large for a qcow2 file"):
        header.resized(1 << 44)


def test_a_path_that_is_too_long_is_refused() -> None:
    with pytest.raises(OverlayError, match="is too long for a qcow2 file"):
        qcow2.empty(1 << 20, "x" * 1024)
