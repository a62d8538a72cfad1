"""Whole archives, made by GNU tar: what was packed is what comes out."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import socket
import struct
import subprocess
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.errors import SourceError
from bangerbuild.formats.archive import open_archive
from bangerbuild.tree import EntryType
from tests.formats.tarmaking import (
    END,
    entries_of,
    gnu_tar,
    header,
    measure_archive,
    member,
    read_all,
    set_xattr,
)
from tests.need import lacking, need

if TYPE_CHECKING:
    import io
    from collections.abc import Callable

FORMATS = ("ustar", "gnu", "pax")
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "bin").mkdir(parents=True)
    (top / "bin/tool").write_bytes(b"tool" * 1000)
    (top / "bin/tool").chmod(0o4755)
    (top / "bin/same").hardlink_to(top / "bin/tool")
    (top / "bin/link").symlink_to("../.././no//such/./file")
    (top / "empty").touch()
    os.mkfifo(top / "fifo")
    (top / "fifo").chmod(0o620)
    (top / "tmp").mkdir()
    (top / "tmp").chmod(0o1777)
    return top


@pytest.mark.parametrize("format_", [*FORMATS, "v7"])
def test_files_modes_links_and_fifos_come_out_as_they_went_in(
    tree: Path, tmp_path: Path, format_: str
) -> None:
    if format_ == "v7":
        (tree / "fifo").unlink()  # which that format has no word for
    packed = read_all(gnu_tar(tree, tmp_path / "a", f"--format={format_}"))
    found = {entry.path: (entry, data) for entry, data in packed}

    first, further = "bin/same", "bin/tool"
    assert list(found)[:2] == ["", "bin"]
    assert found[first][1] == b"tool" * 1000
    assert found[first][0].mode == 0o4755
    assert (found[further][0].type, found[further][0].target) == (EntryType.HARD_LINK, first)
    assert found["bin/link"][0].type is EntryType.SYMLINK
    assert found["bin/link"][0].target == "../.././no//such/./file"
    assert (found["empty"][0].size_bytes, found["empty"][1]) == (0, b"")
    assert (found["tmp"][0].type, found["tmp"][0].mode) == (EntryType.DIRECTORY, 0o1777)
    if format_ != "v7":
        assert (found["fifo"][0].type, found["fifo"][0].mode) == (EntryType.FIFO, 0o620)


@pytest.mark.parametrize("format_", ["gnu", "posix"])
def test_a_label_is_skipped(tree: Path, tmp_path: Path, format_: str) -> None:
    labelled = gnu_tar(tree, tmp_path / "a", f"--format={format_}", "--label=backup")
    assert read_all(labelled) == read_all(gnu_tar(tree, tmp_path / "b", f"--format={format_}"))


@pytest.mark.parametrize("kind", [b"0", b"5", b"2", b"6"])
def test_device_numbers_count_for_devices_only(tmp_path: Path, kind: bytes) -> None:
    """Packers for other systems write words there."""

    def with_words(type_: bytes) -> Path:
        block = bytearray(header(b"x", kind=type_, link=b"y" if type_ == b"2" else b""))
        block[329:345] = b"dos\0    dos\0    "
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        path = tmp_path / type_.decode()
        path.write_bytes(bytes(block) + END)
        return path

    assert list(entries_of(with_words(kind))) == ["x"]
    with pytest.raises(SourceError, match="has a damaged header"):
        entries_of(with_words(b"3"))


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (1000, 50), (2097151, 2097151)])
def test_owners_are_the_archives_numbers(
    tree: Path, tmp_path: Path, format_: str, uid: int, gid: int
) -> None:
    archive = gnu_tar(tree, tmp_path / "a", f"--format={format_}", f"--owner=x:{uid}", f"--group=y:{gid}")

    assert {(entry.uid, entry.gid) for entry, _ in read_all(archive)} == {(uid, gid)}


@pytest.mark.parametrize("format_", ["gnu", "pax"])
def test_owners_beyond_the_octal_field_are_read(tree: Path, tmp_path: Path, format_: str) -> None:
    archive = gnu_tar(
        tree, tmp_path / "a", f"--format={format_}", "--owner=x:4294967294", "--group=y:3000000000"
    )

    assert {(entry.uid, entry.gid) for entry, _ in read_all(archive)} == {(4294967294, 3000000000)}


@pytest.mark.parametrize(
    "mtime_ns", [1_700_000_000_123_456_789, -1_500_000_000, 1, 9_999_999_999_999_999_999]
)
def test_times_of_a_pax_archive_are_exact_to_the_nanosecond(tmp_path: Path, mtime_ns: int) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    os.utime(top, ns=(mtime_ns, mtime_ns))
    kept_ns = top.stat().st_mtime_ns  # what the host's filesystem holds of it

    assert entries_of(gnu_tar(top, tmp_path / "a", "--format=pax"))[""].mtime_ns == kept_ns


def test_times_before_1970_are_read_from_a_gnu_archive(tmp_path: Path) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    os.utime(top, (-86400, -86400))

    assert entries_of(gnu_tar(top, tmp_path / "a", "--format=gnu"))[""].mtime_ns == -86400 * 10**9


@pytest.mark.parametrize("format_", ["gnu", "pax"])
def test_long_and_non_utf8_names_and_targets_are_read(tmp_path: Path, format_: str) -> None:
    top = tmp_path / "tree"
    deep = top / ("d" * 255) / ("e" * 200)
    deep.mkdir(parents=True)
    (deep / "caf\udce9").symlink_to("t" * 300 + "\udcff")
    (deep / "umlaut-ü").hardlink_to(deep / "caf\udce9")

    found = entries_of(gnu_tar(top, tmp_path / "a", f"--format={format_}"))

    prefix = f"{'d' * 255}/{'e' * 200}"
    assert found[f"{prefix}/caf\udce9"].target == "t" * 300 + "\udcff"
    assert found[f"{prefix}/umlaut-ü"].target == f"{prefix}/caf\udce9"


def test_names_of_a_ustar_archive_are_joined_from_prefix_and_name(tmp_path: Path) -> None:
    deep = tmp_path / "tree" / ("d" * 90) / ("e" * 60)
    deep.mkdir(parents=True)

    assert f"{'d' * 90}/{'e' * 60}" in entries_of(
        gnu_tar(tmp_path / "tree", tmp_path / "a", "--format=ustar")
    )


@pytest.mark.root
@pytest.mark.parametrize("format_", FORMATS)
def test_devices_keep_their_numbers(tmp_path: Path, format_: str) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    make_node(top / "null", 0o20666, 1, 3)
    make_node(top / "disk", 0o60660, 259, 65537)

    found = entries_of(gnu_tar(top, tmp_path / "a", f"--format={format_}"))

    assert (found["null"].type, found["null"].device) == (EntryType.CHARACTER_DEVICE, (1, 3))
    assert (found["disk"].type, found["disk"].device) == (EntryType.BLOCK_DEVICE, (259, 65537))


def make_node(path: Path, mode: int, major: int, minor: int) -> None:
    try:
        os.mknod(path, mode, os.makedev(major, minor))
    except PermissionError:
        lacking("making device nodes needs root")
    path.chmod(mode & 0o7777)


def test_xattrs_and_capabilities_are_kept(tmp_path: Path) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    wanted = {"user.plain": b"text", "user.bin=%ary": bytes(range(256)), "user.empty": b""}
    capability = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
    if os.geteuid() == 0:
        wanted["security.capability"] = capability
    for name, value in wanted.items():
        set_xattr(top, name, value)

    archive = gnu_tar(top, tmp_path / "a", "--format=pax", "--xattrs", "--xattrs-include=*")

    assert entries_of(archive)[""].xattrs == wanted


def test_acls_come_out_in_the_form_the_kernel_gave(tmp_path: Path) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    (top / "plain").touch()
    acls = "user::rwx,user:1234:rw-,group::r-x,group:99:r--,mask::rwx,other::---"
    subprocess.run([need("setfacl", "acl"), "--set", acls, str(top)], check=True)
    subprocess.run([need("setfacl", "acl"), "-d", "--set", acls, str(top)], check=True)

    found = entries_of(gnu_tar(top, tmp_path / "a", "--format=pax", "--acls", "--numeric-owner"))

    names = ("system.posix_acl_access", "system.posix_acl_default")
    assert found[""].xattrs == {name: os.getxattr(top, name) for name in names}
    assert found["plain"].xattrs == {}


@pytest.mark.parametrize(
    "options",
    [
        ("--format=gnu",),
        ("--format=pax", "--sparse-version=0.0"),
        ("--format=pax", "--sparse-version=0.1"),
        ("--format=pax", "--sparse-version=1.0"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("runs", [0, 1, 3, 100], ids=lambda runs: f"{runs} runs")
def test_sparse_files_yield_their_data_and_say_where_it_lies(
    tmp_path: Path, options: tuple[str, ...], runs: int
) -> None:
    top = tmp_path / "tree"
    top.mkdir()
    size = 16 << 20
    with (top / "sparse").open("wb") as file:
        for run in range(runs):
            os.pwrite(file.fileno(), bytes([run + 1]) * 4096, run * 65536 + 8192)
        file.truncate(size)
    (top / "zz-after").write_text("still in step")

    found = {
        entry.path: (entry, data)
        for entry, data in read_all(gnu_tar(top, tmp_path / "a", "--sparse", *options))
    }

    entry, data = found["sparse"]
    assert entry.size_bytes == size
    assert entry.data_extents == tuple((run * 65536 + 8192, 4096) for run in range(runs))
    assert data == b"".join(bytes([run + 1]) * 4096 for run in range(runs))
    assert found["zz-after"][1] == b"still in step"


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_every_compression_is_told_by_content(tree: Path, tmp_path: Path, compression: str) -> None:
    plain = gnu_tar(tree, tmp_path / "plain")
    packed = tmp_path / "misleading.tar.lz4"
    packed.write_bytes(COMPRESSORS[compression](plain.read_bytes()))

    assert read_all(packed) == read_all(plain)


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_streams_in_several_parts_are_read_as_one(tree: Path, tmp_path: Path, compression: str) -> None:
    plain = gnu_tar(tree, tmp_path / "plain")
    compress = COMPRESSORS[compression]
    content = plain.read_bytes()
    packed = tmp_path / "packed"
    packed.write_bytes(b"".join(compress(content[at : at + 3000]) for at in range(0, len(content), 3000)))

    assert read_all(packed) == read_all(plain)


def test_zstd_frames_to_be_skipped_are(tree: Path, tmp_path: Path) -> None:
    plain = gnu_tar(tree, tmp_path / "plain")
    skipped = b"\x50\x2a\x4d\x18" + struct.pack("<I", 5) + b"hello"
    packed = tmp_path / "packed"
    packed.write_bytes(skipped + COMPRESSORS["zstd"](plain.read_bytes()) + skipped)

    assert read_all(packed) == read_all(plain)


def test_a_huge_run_of_zeros_is_never_held_whole(tmp_path: Path) -> None:
    size = 64 << 20
    compressor = zstandard.ZstdCompressor()
    packed = tmp_path / "packed"
    packed.write_bytes(compressor.compress(member(b"zeros", bytes(size)) + END))

    tracemalloc.start()
    try:
        with open_archive(packed) as entries:
            content = next(entries).content
            assert content is not None
            assert sum(map(len, iter(lambda: content.read(1 << 20), b""))) == size
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 << 20


def test_content_reads_in_any_pieces_and_what_is_left_is_passed_over(tree: Path, tmp_path: Path) -> None:
    with open_archive(gnu_tar(tree, tmp_path / "a")) as entries:
        by_path = {}
        for entry in entries:
            if entry.path == "bin/same":
                assert entry.content is not None
                assert entry.content.read(3) == b"too"
                assert entry.content.read(4) == b"ltoo"
                piece = bytearray(5)
                assert cast("io.RawIOBase", entry.content).readinto(piece) == 5
                assert piece == b"ltool"
            by_path[entry.path] = entry

    assert "tmp" in by_path


def test_content_of_an_entry_gone_by_is_refused(tree: Path, tmp_path: Path) -> None:
    with open_archive(gnu_tar(tree, tmp_path / "a")) as entries:
        content = next(entry.content for entry in entries if entry.path == "bin/same")
        next(entries)
        assert content is not None
        with pytest.raises(ValueError, match="next entry"):
            content.read(1)


def test_a_measured_archive_counts_inodes_and_whole_blocks(tree: Path, tmp_path: Path) -> None:
    totals = measure_archive(gnu_tar(tree, tmp_path / "a"))

    assert (totals.inodes, totals.directories) == (7, 3)
    assert totals.data_bytes == 4096
    assert totals.directory_bytes == 3 * 4096


def test_sockets_are_left_out_by_tar_itself(tree: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
        assert "socket" not in entries_of(gnu_tar(tree, tmp_path / "a"))


NAMES = st.binary(min_size=1, max_size=20).filter(
    lambda name: not {0, 47} & set(name) and name not in {b".", b".."}
)
TREES = st.recursive(
    st.binary(max_size=2000)
    | st.tuples(st.binary(min_size=1, max_size=200).filter(lambda text: 0 not in text)),
    lambda children: st.dictionaries(NAMES, children, max_size=5),
    max_leaves=12,
)
"""Files as bytes, symlinks as a tuple of their text, directories as mappings."""


def build(tree: object, path: bytes) -> None:
    if isinstance(tree, bytes):
        Path(os.fsdecode(path)).write_bytes(tree)
    elif isinstance(tree, tuple):
        Path(os.fsdecode(path)).symlink_to(os.fsdecode(tree[0]))
    elif isinstance(tree, dict):
        Path(os.fsdecode(path)).mkdir()
        for name, child in tree.items():
            build(child, path + b"/" + name)


def flattened(tree: object, path: str = "") -> dict[str, object]:
    if not isinstance(tree, dict):
        return {path: tree}
    found: dict[str, object] = {path: None}
    for name, child in tree.items():
        found |= flattened(child, f"{path}/{os.fsdecode(name)}".lstrip("/"))
    return found


@settings(max_examples=30)
@given(tree=st.dictionaries(NAMES, TREES, max_size=5), format_=st.sampled_from(["gnu", "pax"]))
def test_any_tree_that_tar_packs_comes_out_again(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, object], format_: str
) -> None:
    place = tmp_path_factory.mktemp("any")
    build(tree, os.fsencode(place / "tree"))

    found = {
        entry.path: {EntryType.DIRECTORY: None, EntryType.SYMLINK: (os.fsencode(entry.target),)}.get(
            entry.type, data
        )
        for entry, data in read_all(gnu_tar(place / "tree", place / "a", f"--format={format_}"))
    }

    assert found == flattened(tree)
    shutil.rmtree(place)
