"""Archives that are damaged, malicious, or none at all: each is one plain error, or a defined reading."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bangerbuild.errors import SourceError
from bangerbuild.tree import EntryType
from tests.formats.tarmaking import (
    END,
    entries_of,
    header,
    measure_archive,
    member,
    padded,
    pax,
    read_all,
    with_checksum,
)
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
TWO = member(b"first", b"1" * 700) + member(b"second", os.urandom(5000))


def refusal(archive: Path, content: bytes) -> SourceError:
    """The one error that reading gives."""
    archive.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        read_all(archive)
    assert caught.value.brief.startswith(f"'{archive}'")
    assert "\n" not in caught.value.brief
    return caught.value


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "some.tar"


@pytest.mark.parametrize("kind", [b"x", b"g", b"L"])
def test_extended_headers_can_not_pile_up_without_end(archive: Path, kind: bytes) -> None:
    pieces = [pax([(b"key%d" % n, bytes(3 << 20))], kind=kind) for n in range(6)]

    assert "has extended headers of 18" in refusal(archive, b"".join(pieces) + TWO + END).brief
    if kind == b"x":  # of one member, and not of several
        archive.write_bytes(b"".join(piece + member(b"a") for piece in pieces) + END)
        assert len(read_all(archive)) == 6


@pytest.mark.parametrize(
    ("length", "where"),
    [
        (1, "is no tarball"),
        (300, "ends before its first entry"),
        (512, "ends in the middle of 'first'"),
        (1000, "ends in the middle of 'first'"),
        (512 + 700, "ends in the middle of 'first'"),
        (512 + 1024, "ends after 'first' and without its end mark"),
        (512 + 1024 + 100, "ends after 'first'"),
        (len(TWO) - 121, "ends in the middle of 'second'"),
        (len(TWO), "ends after 'second' and without its end mark"),
        (len(TWO) + 100, "ends after 'second'"),
    ],
)
def test_a_plain_archive_cut_short_says_where_it_ends(archive: Path, length: int, where: str) -> None:
    assert where in refusal(archive, (TWO + END)[:length]).brief


@pytest.mark.parametrize("zeros", [512, 1024, 10240])
def test_one_block_of_zeros_at_the_end_is_mark_enough(archive: Path, zeros: int) -> None:
    archive.write_bytes(TWO + bytes(zeros))

    assert list(entries_of(archive)) == ["first", "second"]


def test_measuring_notices_a_cut_too_though_it_reads_no_content(archive: Path) -> None:
    archive.write_bytes((TWO + END)[:1000])

    with pytest.raises(SourceError, match="ends in the middle of 'first'"):
        measure_archive(archive)


@settings(max_examples=150)
@given(data=st.data(), compression=st.sampled_from([None, *COMPRESSORS]))
def test_no_cut_archive_passes_for_a_whole_one(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, compression: str | None
) -> None:
    whole = TWO + END[:512] if compression is None else COMPRESSORS[compression](TWO + END)
    length = data.draw(st.integers(0, len(whole) - 512 if compression is None else len(whole) - 1))

    error = refusal(tmp_path_factory.mktemp("cut") / "some.tar", whole[:length])

    assert error.hint or "is empty" in error.brief or "is no tarball" in error.brief


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_a_compressed_archive_cut_short_names_the_entry_it_ends_in(archive: Path, compression: str) -> None:
    content = member(b"first", b"1" * 700) + member(b"second", os.urandom(2_000_000)) + END
    packed = COMPRESSORS[compression](content)

    error = refusal(archive, packed[: len(packed) // 2])

    assert "ends in the middle of 'second'" in error.brief
    assert f"{compression} stream cut short" in str(error.details)


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "zstd"])
def test_a_flipped_byte_in_a_compressed_archive_is_noticed(archive: Path, compression: str) -> None:
    packed = bytearray(COMPRESSORS[compression](member(b"first", os.urandom(2_500_000)) + END))
    packed[len(packed) // 2] ^= 0xFF

    error = refusal(archive, bytes(packed))

    assert re.search(
        "can't be read (in the middle of|after) 'first'", error.brief
    )  # gzip compares at the end
    assert f"is a {compression} stream that does not decompress" in str(error.details)


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_a_wrong_checksum_of_the_stream_is_noticed_behind_the_last_entry(
    archive: Path, compression: str
) -> None:
    packed = bytearray(COMPRESSORS[compression](TWO + END))
    packed[-20 if compression == "xz" else -6 if compression == "gzip" else -1] ^= 0xFF

    refusal(archive, bytes(packed))


DAMAGED = {
    "wrong checksum": with_checksum(header(b"x"), extra=1),
    "damaged number": header(b"x", size=b"12345678\xffab"),
    "goes on after a block of zeros": bytes(512) + header(b"x"),
    "damaged pax header": member(b"p", b"99 path=x\n", kind=b"x"),
    "extended headers of 99999999 bytes": header(b"p", kind=b"x", size=99999999),
    "extended header and no entry": pax([(b"path", b"x")]) + END,
}


@pytest.mark.parametrize("brief", DAMAGED)
def test_damage_behind_the_first_entry_is_never_taken_for_the_end(archive: Path, brief: str) -> None:
    error = refusal(archive, member(b"etc/passwd", b"root") + DAMAGED[brief] + END)

    assert "is damaged after 'etc/passwd'" in error.brief
    assert brief in error.brief


UNFIT = {
    "leads out of the tree": member(b"a/../../etc/passwd"),
    "'hard' leads out of the tree": header(b"hard", kind=b"1", link=b"../x"),
    "name longer than 255 bytes": pax([(b"path", b"d/" + b"n" * 256)]) + header(b"x"),
    "NUL byte": pax([(b"path", b"a\0b")]) + header(b"x"),
    "symlink whose text": header(b"x", kind=b"2"),
    "of the unknown type 'Z'": header(b"x", kind=b"Z"),
    "another volume": header(b"x", kind=b"M"),
    "an incremental backup": header(b"x", kind=b"D"),
    "part of a multi-volume archive": pax([(b"GNU.volume.filename", b"x")], kind=b"g") + header(b"x"),
    "top of the tree and a file": member(b"./", kind=b"S")[:386] + bytes(126),
    "damaged owner": header(b"x", uid=b"\xff" * 8),
    "owner that no filesystem holds": header(b"x", uid=b"\x80\0\0\0\xff\xff\xff\xff"),
    "damaged size": header(b"x", size=b"\xff" * 12),
    "damaged size: 99999999999999999999": pax([(b"size", b"9" * 20)]) + header(b"x"),
    "damaged time: 'yesterday'": pax([(b"mtime", b"yesterday")]) + header(b"x"),
    "without a number": pax([(b"SCHILY.acl.default", b"u::rwx,u:bob:rwx,g::r,o::r")]) + header(b"x"),
    "NFSv4": pax([(b"SCHILY.acl.ace", b"owner@:rwx")]) + header(b"x"),
    "damaged ACL": pax([(b"SCHILY.xattr.system.posix_acl_access", b"xx")]) + header(b"x"),
    "number that Linux does not hold: 4096, 1": pax([(b"SCHILY.devmajor", b"4096")])
    + header(b"x", kind=b"3"),
    "number that Linux does not hold: 5, 1048576": pax([(b"SCHILY.devminor", b"1048576")])
    + header(b"x", kind=b"4"),
    "number that Linux does not hold: 2097151, 1": with_checksum(
        header(b"x", kind=b"3")[:329] + b"7777777\0" + header(b"x", kind=b"3")[337:]
    ),
    "damaged value of 'user.x'": pax([(b"LIBARCHIVE.xattr.user.x", b"a")]) + header(b"x"),
    "sparse map that does not fit": pax([(b"GNU.sparse.map", b"0,4"), (b"GNU.sparse.size", b"2")])
    + member(b"x", b"1234"),
    "damaged sparse map": pax([(b"GNU.sparse.map", b"4,4,0,4"), (b"GNU.sparse.size", b"9")])
    + member(b"x", b"12345678"),
    "map that does not end": pax([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.realsize", b"9")])
    + member(b"x", b"5\n1\n"),
}


@pytest.mark.parametrize("brief", UNFIT)
def test_an_entry_that_can_not_be_taken_is_refused_by_name(archive: Path, brief: str) -> None:
    assert brief in refusal(archive, member(b"etc/", kind=b"5") + UNFIT[brief] + END).brief


def test_the_name_of_a_refused_entry_stands_in_the_message(archive: Path) -> None:
    error = refusal(archive, member(b"ok") + member(b"a/../../caf\xe9") + END)

    assert error.brief == f"'{archive}': 'a/../../caf\\xe9' leads out of the tree with '..'"


def test_a_size_beyond_the_archives_end_is_a_cut_and_takes_no_memory(archive: Path) -> None:
    huge = header(b"huge", size=b"\x80\0\0\0\x7f" + b"\xff" * 7)

    assert "ends in the middle of 'huge'" in refusal(archive, huge + END).brief


ODD_BUT_FINE = {
    "absolute names are taken from the top": (member(b"/etc/motd"), "etc/motd"),
    "dots and doubled slashes go": (member(b".//a/./b"), "a/b"),
    "the top is the empty path": (header(b"./", kind=b"5"), ""),
    "a parent may come later": (member(b"a/b") + header(b"a", kind=b"5"), "a/b a"),
    "entries may be repeated": (member(b"a", b"1") + member(b"a", b"2"), "a"),
    "255 bytes are a name": (pax([(b"path", b"n" * 255)]) + header(b"x"), "n" * 255),
    "contiguous files are files": (member(b"a", b"1", kind=b"7"), "a"),
    "an empty record takes the header's word": (pax([(b"path", b"")]) + header(b"x"), "x"),
    "the last of two records counts": (pax([(b"path", b"a"), (b"path", b"b")]) + header(b"x"), "b"),
    "GNU's prefix field holds times": (header(b"x", magic=b"ustar  \0", prefix=b"14000000000"), "x"),
    "an old directory is a file with a slash": (header(b"old/", kind=b"\0", magic=b""), "old"),
    "binary pax names are taken as they are": (
        pax([(b"hdrcharset", b"BINARY"), (b"path", b"\xff\xfe")]) + header(b"x"),
        "\udcff\udcfe",
    ),
}


@pytest.mark.parametrize("case", ODD_BUT_FINE)
def test_odd_archives_have_a_defined_reading(archive: Path, case: str) -> None:
    content, paths = ODD_BUT_FINE[case]
    archive.write_bytes(content + END)

    assert list(entries_of(archive)) == (paths.split(" ") if paths else [""])


def test_repeated_entries_are_passed_on_in_order(archive: Path) -> None:
    archive.write_bytes(member(b"a", b"1") + header(b"a", kind=b"2", link=b"b") + member(b"a", b"2") + END)

    assert [(entry.type, data) for entry, data in read_all(archive)] == [
        (EntryType.FILE, b"1"),
        (EntryType.SYMLINK, b""),
        (EntryType.FILE, b"2"),
    ]


def test_a_hard_link_keeps_a_target_that_is_nowhere(archive: Path) -> None:
    archive.write_bytes(header(b"a", kind=b"1", link=b"./no/such") + END)

    assert entries_of(archive)["a"].target == "no/such"


def test_global_records_hold_for_all_that_follow(archive: Path) -> None:
    archive.write_bytes(
        pax([(b"mtime", b"7.5")], kind=b"g")
        + header(b"a")
        + pax([(b"mtime", b"8")])
        + header(b"b")
        + header(b"c")
        + END
    )

    times = {path: entry.mtime_ns for path, entry in entries_of(archive).items()}
    assert times == {"a": 7_500_000_000, "b": 8_000_000_000, "c": 7_500_000_000}


def test_records_of_one_entry_never_become_global(archive: Path) -> None:
    archive.write_bytes(
        pax([(b"path", b"long")]) + pax([(b"comment", b"x")], kind=b"g") + header(b"a") + header(b"b") + END
    )

    assert list(entries_of(archive)) == ["long", "b"]


def test_a_window_too_large_to_hold_is_told_as_such(archive: Path) -> None:
    archive.write_bytes(b"\x28\xb5\x2f\xfd" + b"\0\xa8" + bytes(20))  # asks for 2 GiB

    with pytest.raises(SourceError) as caught:
        read_all(archive)
    assert "too much memory" in str(caught.value.details)


def test_attributes_of_other_systems_are_left_out(archive: Path) -> None:
    records = [(b"LIBARCHIVE.xattr.com.apple.quarantine", b"AA"), (b"LIBARCHIVE.xattr.user.a%3Db", b"aGk")]
    archive.write_bytes(pax(records) + header(b"a") + END)

    assert entries_of(archive)["a"].xattrs == {"user.a=b": b"hi"}


def test_the_largest_device_numbers_are_kept(archive: Path) -> None:
    records = [(b"SCHILY.devmajor", b"4095"), (b"SCHILY.devminor", b"1048575")]
    archive.write_bytes(pax(records) + header(b"a", kind=b"4") + END)

    assert entries_of(archive)["a"].device == (4095, 1048575)


def test_a_symlink_has_the_mode_that_linux_gives_it(archive: Path) -> None:
    archive.write_bytes(header(b"a", kind=b"2", link=b"b", mode=0o644) + END)

    assert entries_of(archive)["a"].mode == 0o777


def test_trailing_padding_may_hold_anything(archive: Path) -> None:
    archive.write_bytes(TWO + END + os.urandom(2000))

    assert list(entries_of(archive)) == ["first", "second"]


LOOKS = {
    b"": "is empty",
    b"\0" * 4096: "holds no entries",
    b"hello": "is no tarball",
    b"x" * 9000: "is no tarball",
    b"QFI\xfb" + bytes(2000): "is no tarball but a qcow2 disk image",
    b"hsqs" + bytes(2000): "is no tarball but a squashfs image",
    b"PK\x03\x04" + bytes(2000): "is no tarball but a zip archive",
    b"\x04\x22\x4d\x18" + bytes(2000): "is no tarball but an lz4 stream",
    b"<!DOCTYPE html>": "is no tarball but a web page",
    gzip.compress(b""): "is empty inside its gzip compression",
    gzip.compress(b"hello"): "is no tarball inside its gzip compression",
    gzip.compress(gzip.compress(b"x" * 9999)): "is no tarball but a gzip stream inside its gzip compression",
    b"\x28\xb5\x2f\xfdgarbage": "can't be read before its first entry",
    b"\x1f\x8bgarbage" * 9: "can't be read before its first entry",
}


@pytest.mark.parametrize("content", LOOKS, ids=lambda content: LOOKS[content])
def test_what_is_no_tarball_is_told_by_its_looks(archive: Path, content: bytes) -> None:
    assert LOOKS[content] in refusal(archive, content).brief


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_an_ext4_image_is_told_with_the_key_it_belongs_to(
    archive: Path, compress: Callable[[bytes], bytes]
) -> None:
    image = archive.with_name("image")
    subprocess.run([need("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", str(image), "1M"], check=True)

    error = refusal(archive, compress(image.read_bytes()))

    assert "is no tarball but an ext2, ext3 or ext4 filesystem" in error.brief
    key = "ext4" if compress is bytes else "disk_image"  # which takes compressed ones too
    assert f"`{key} = …`" in str(error.hint)


def test_a_directory_is_told_with_the_key_it_belongs_to(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a directory") as caught:
        read_all(tmp_path)
    assert "`directory = …`" in str(caught.value.hint)


def test_a_missing_archive_is_told_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"/no\.tar' is not there"):
        read_all(tmp_path / "no.tar")


def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(SourceError, match="is no regular file"):
        read_all(tmp_path / "fifo")


@settings(max_examples=300)
@given(
    flips=st.lists(st.tuples(st.integers(0, len(TWO) - 1), st.integers(1, 255)), min_size=1, max_size=4),
    tail=st.binary(max_size=40),
)
@example(flips=[(124, 0x80)], tail=b"")
def test_no_damage_ends_in_anything_but_a_plain_error_or_entries(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], tail: bytes
) -> None:
    content = bytearray(pax([(b"mtime", b"1.5"), (b"path", b"a/b")]) + padded(b"") + TWO + END)
    for at, flip in flips:
        content[at] ^= flip
    content[512 : 512 + len(tail)] = tail
    archive = tmp_path_factory.mktemp("flipped") / "some.tar"
    archive.write_bytes(content)

    outcome = names_or_refusal(archive)
    if isinstance(outcome, SourceError):
        assert str(archive) in outcome.brief
    else:
        assert all(".." not in name.split("/") and not name.startswith("/") for name in outcome)


def names_or_refusal(archive: Path) -> list[str] | SourceError:
    try:
        return [entry.path for entry, _ in read_all(archive)]
    except SourceError as err:
        return err
