from __future__ import annotations

import json
import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.declared import Mount
from bangerbuild.guest.devices import Devices, Lack
from bangerbuild.guest.fstab import MARK, TMPFS, FstabRules, fstab, with_tmpfs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

TMPFS_LINES = (
    b"tmpfs /run tmpfs defaults,nodev,nosuid,mode=0755 0 0\n"
    b"tmpfs /tmp tmpfs defaults,nodev,nosuid,mode=1777 0 0\n"
)
IMAGE = b"""\
# /etc/fstab: static file system information.
UUID=0a3407de-014b-458b-b5c1-848e92a327a3 /     ext4   errors=remount-ro 0 1

/dev/vdb1\t/home\text4\tdefaults\t0 2
  /dev/vdb2 /var/ ext4 defaults 0 2
/dev/vdb3 /var/lib ext4 defaults 0 2
#/dev/vdb4 /home ext4 defaults 0 2
/dev/sda2 none swap sw 0 0
tmpfs /tmp tmpfs size=1g 0 0
\xff\xfe /latin\xe91 auto noauto 0 0\r
"""


class Everything(Devices):
    """A VM with every device that there is."""

    def lack(self, _source: str, _fstype: str, _options: Collection[str]) -> Lack | None:
        return None


def text(image: bytes, drop: Iterable[str], mounts: Sequence[Mount], devices: Devices | None = None) -> bytes:
    """The content of an fstab; by default all devices are there."""
    return fstab(image, FstabRules(devices or Everything(), tuple(drop)), mounts).content


def test_dropped_and_rewritten_targets_go_and_every_other_line_stays_byte_for_byte() -> None:
    assert text(IMAGE, ("/home", "/var"), TMPFS) == (
        b"# /etc/fstab: static file system information.\n"
        b"UUID=0a3407de-014b-458b-b5c1-848e92a327a3 /     ext4   errors=remount-ro 0 1\n"
        b"\n"
        b"/dev/vdb3 /var/lib ext4 defaults 0 2\n"
        b"#/dev/vdb4 /home ext4 defaults 0 2\n"
        b"/dev/sda2 none swap sw 0 0\n"
        b"\xff\xfe /latin\xe91 auto noauto 0 0\r\n" + MARK + TMPFS_LINES
    )


def test_an_empty_fstab_gets_our_lines_alone() -> None:
    assert text(b"", ("/home",), TMPFS) == MARK + TMPFS_LINES


def test_an_image_line_without_an_end_gets_one_before_ours_follow() -> None:
    assert text(b"proc /proc proc defaults 0 0", (), TMPFS).startswith(b"proc /proc proc defaults 0 0\n#")


def test_without_mounts_no_mark_is_left() -> None:
    assert text(b"a /b c\nd /e f\n", ("/b",), ()) == b"d /e f\n"


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (rb"/dev/vdb /my\040disk ext4", "/my disk"),
        (rb"/dev/vdb /back\134slash ext4", "/back\\slash"),
        (b"/dev/vdb //srv///data/ ext4", "/srv/data"),
        (b"/dev/vdb /srv/data ext4", "/srv/data/"),
        (b"/dev/vdb \t /srv", "/srv"),
        (b"/dev/vdb /caf\xc3\xa9 ext4", "/café"),
        (rb"/dev/vdb /caf\303\251 ext4", "/café"),
    ],
)
def test_targets_are_compared_by_what_they_mean(line: bytes, target: str) -> None:
    assert text(line + b"\n", (target,), ()) == b""


@pytest.mark.parametrize(
    "line", [b"# /srv /srv ext4\n", b"  #/x /srv ext4\n", b"/srv\n", b" \t\n", b"/x /srv/sub a\n"]
)
def test_a_comment_a_blank_line_and_another_target_are_no_match(line: bytes) -> None:
    assert text(line, ("/srv",), ()) == line


def test_a_declared_mount_wins_over_the_default_at_its_target() -> None:
    declared = Mount("tmpfs", "/tmp/", "tmpfs", ("size=4g",))
    assert with_tmpfs((declared,)) == (TMPFS[0], declared)


def test_a_declared_mount_is_one_line_of_six_fields() -> None:
    mount = Mount("LABEL=data", "/data", "ext4", ("noatime", "nodev"), dump=1, fsck_pass=2)
    assert text(b"", (), (mount,)) == MARK + b"LABEL=data /data ext4 noatime,nodev 1 2\n"


def test_a_mount_without_options_has_defaults_in_their_place() -> None:
    assert text(b"", (), (Mount("a", "/b", "c", ()),)) == MARK + b"a /b c defaults 0 0\n"


def test_blanks_and_backslashes_are_escaped_and_a_source_never_makes_a_comment() -> None:
    mount = Mount("#a b", "/c\td\\e#", "9p", ("x= y",))
    assert text(b"", (), (mount,)) == MARK + rb"\043a\040b /c\011d\134e# 9p x=\040y 0 0" + b"\n"


# Names that a manifest may hold; libmount takes some sources (`UUID=…`, quotes) for more than names.
NAME = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="=\"',"),
    min_size=1,
)
WORD = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)


def findmnt(program: str, table: Path) -> list[dict[str, Any]]:
    command = [program, "--tab-file", str(table), "--list", "--json", "-o", "SOURCE,TARGET,FSTYPE,OPTIONS"]
    parsed: dict[str, list[dict[str, Any]]] = json.loads(
        subprocess.check_output(command, text=True, errors="replace")
    )
    return parsed["filesystems"]


def test_findmnt_reads_back_what_was_declared(tool: Callable[[str], str], tmp_path: Path) -> None:
    odd = Mount("#host dir\\x", "/a b\\c\t#d/é", "9p", ("trans=virtio", "ro"))
    table = tmp_path / "fstab"
    table.write_bytes(text(IMAGE, ("/home", "/var"), with_tmpfs((odd,))))
    entries = {entry["target"]: entry for entry in findmnt(tool("findmnt"), table)}
    assert not {"/home", "/var"} & set(entries)
    assert entries["/run"]["options"] == "defaults,nodev,nosuid,mode=0755"
    assert entries["/tmp"]["options"] == "defaults,nodev,nosuid,mode=1777"
    assert entries[odd.target] == {
        "source": odd.source,
        "target": odd.target,
        "fstype": "9p",
        "options": "trans=virtio,ro",
    }


LINE = st.binary(max_size=40).map(lambda text: text.replace(b"\n", b"") + b".")  # never our mark
TARGET = st.sampled_from(["/home", "/var", "/srv data", "/run", "/", "/x/y"])


def as_line(target: str, blank: bytes, slashes: str) -> bytes:
    escaped = (target + slashes).replace(" ", r"\040").encode()
    return blank + b"/dev/vdx" + (blank or b" ") + escaped + b" ext4 defaults 0 2"


MOUNT_LINE = st.builds(
    as_line, TARGET, st.sampled_from([b"", b" ", b"\t "]), st.sampled_from(["", "/", "//"])
)
FSTAB = st.lists(LINE | MOUNT_LINE).map(b"\n".join)
MOUNTS = st.lists(st.builds(Mount, NAME, NAME.map("/".__add__), WORD, st.lists(WORD).map(tuple)))


@given(FSTAB, st.lists(TARGET), MOUNTS, st.sampled_from([Devices(), Everything()]))
def test_applied_to_its_own_result_it_changes_nothing(
    image: bytes, drop: list[str], mounts: list[Mount], devices: Devices
) -> None:
    once = text(image, drop, mounts, devices)
    assert text(once, drop, mounts, devices) == once


@given(st.lists(LINE.filter(lambda line: b"/" not in line and b"\\" not in line)), st.lists(TARGET))
def test_lines_that_mount_nothing_stay_whatever_bytes_they_hold(lines: list[bytes], drop: list[str]) -> None:
    image = b"".join(line + b"\n" for line in lines)
    assert text(image, drop, TMPFS) == image + MARK + TMPFS_LINES


@given(st.lists(st.tuples(TARGET, st.sampled_from(["", "/"]))), st.sets(TARGET))
def test_exactly_the_dropped_targets_go(entries: list[tuple[str, str]], drop: set[str]) -> None:
    lines = [(target, as_line(target, b"", slash) + b"\n") for target, slash in entries]
    image = b"".join(line for _, line in lines)
    assert text(image, drop, ()) == b"".join(line for target, line in lines if target not in drop)


@given(MOUNTS)
def test_every_mount_is_six_fields_without_blanks_in_them(mounts: list[Mount]) -> None:
    lines = text(b"", (), mounts).split(b"\n")[1:-1]
    assert all(re.fullmatch(rb"[^ \t#][^ \t]*( [^ \t]+){3} \d \d", line) for line in lines)
    assert len(lines) == len(mounts)


# Devices that the VM does not have

WHY = b"# Commented out by bangerbuild: this VM has no such device, and the boot would wait for it.\n"
HERE = Devices(frozenset({"UUID=0a3407de-014b-458b-b5c1-848e92a327a3", "LABEL=data"}), disks=2)
CLOUD = b"""\
# / was on /dev/vda1 during installation
UUID=0a3407de-014b-458b-b5c1-848e92a327a3 / ext4 errors=remount-ro 0 1
LABEL=UEFI\t/boot/efi  vfat umask=0077 0 1
\tPARTUUID=1-2 none swap sw 0 0
LABEL=data /data ext4 defaults 0 2
LABEL=usb /usb ext4 noatime,nofail 0 2
/swapfile none swap sw 0 0"""


def test_a_line_for_a_device_that_is_not_there_is_commented_out_and_said() -> None:
    outcome = fstab(CLOUD, FstabRules(HERE), ())
    assert outcome.content == (
        b"# / was on /dev/vda1 during installation\n"
        b"UUID=0a3407de-014b-458b-b5c1-848e92a327a3 / ext4 errors=remount-ro 0 1\n"
        + WHY
        + b"# LABEL=UEFI\t/boot/efi  vfat umask=0077 0 1\n"
        + WHY
        + b"# \tPARTUUID=1-2 none swap sw 0 0\n"
        b"LABEL=data /data ext4 defaults 0 2\n"
        b"LABEL=usb /usb ext4 noatime,nofail 0 2\n"
        b"/swapfile none swap sw 0 0\n"
    )
    efi, swap = outcome.warnings
    assert "'/boot/efi'" in efi
    assert "'LABEL=UEFI'" in efi
    assert 'keep_mounts = ["/boot/efi"]' in efi
    assert 'keep_mounts = ["PARTUUID=1-2"]' in swap


@pytest.mark.parametrize("keep", [("/boot/efi/", "PARTUUID=1-2"), ("/boot//efi", "PARTUUID=1-2", "/usb")])
def test_a_line_to_keep_stays_byte_for_byte(keep: tuple[str, ...]) -> None:
    outcome = fstab(CLOUD, FstabRules(HERE, keep=keep), ())
    assert (outcome.content, outcome.warnings) == (CLOUD + b"\n", ())


def test_a_line_that_is_dropped_or_replaced_is_no_warning() -> None:
    mount = Mount("tmpfs", "/boot/efi", "tmpfs")
    image = b"LABEL=UEFI /boot/efi vfat defaults 0 1\nLABEL=gone /home ext4 defaults 0 2\n"
    assert fstab(image, FstabRules(HERE, ("/home",)), (mount,)).warnings == ()


def test_what_is_commented_out_findmnt_does_not_see_and_all_the_rest_it_does(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    table = tmp_path / "fstab"
    table.write_bytes(fstab(CLOUD, FstabRules(HERE), TMPFS).content)
    targets = [entry["target"] for entry in findmnt(tool("findmnt"), table)]
    assert targets == ["/", "/data", "/usb", "none", "/run", "/tmp"]
    verified = subprocess.run(
        [tool("findmnt"), "--verify", "--tab-file", str(table)], capture_output=True, text=True, check=False
    )
    assert "0 parse errors" in verified.stdout + verified.stderr


ELSEWHERE = b"""\
UUID=0a3407de-014b-458b-b5c1-848e92a327a3 / ext4 errors=remount-ro 0 1
host0 /share 9p trans=virtio,version=9p2000.L 0 0
work /work virtiofs defaults 0 0
rpool/home /pool zfs defaults 0 0
/dev/nbd0 /nbd ext4 defaults 0 2
/dev/loop7 /loop squashfs ro 0 0
/dev/zram0 none swap sw 0 0
work /later virtiofs nofail 0 0
10.0.0.1 /net 9p trans=tcp 0 0
/dev/nbd1 /served ext4 x-systemd.requires=nbd@nbd1.service 0 0
"""
GENERATOR = "/usr/lib/systemd/system-generators/systemd-fstab-generator"


def required(generator: str, table: Path, folder: Path) -> set[str]:
    """The mounts without which systemd starts the emergency shell, as its generator has them of an fstab."""
    for name in ("normal", "early", "late"):
        (folder / name).mkdir(parents=True)
    subprocess.run(
        [generator, *(folder / name for name in ("normal", "early", "late"))],
        env={**os.environ, "SYSTEMD_FSTAB": str(table)},
        check=True,
        capture_output=True,
    )
    links = (folder / "normal/local-fs.target.requires").glob("*.mount")
    return {link.name.removesuffix(".mount") for link in links}


def test_no_filesystem_that_the_vm_lacks_is_required_by_the_boot(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    generator = tool(GENERATOR)
    before, after = tmp_path / "before", tmp_path / "after"
    before.write_bytes(ELSEWHERE)
    outcome = fstab(ELSEWHERE, FstabRules(HERE), ())
    after.write_bytes(outcome.content)
    kept = required(generator, after, tmp_path / "b")
    gone = required(generator, before, tmp_path / "a") - kept
    assert gone == {"share", "work", "pool", "nbd", "loop"}
    assert kept - {"-"} == {"net", "served"}
    assert len(outcome.warnings) == len(gone)
    assert b"/dev/zram0 none swap" in b"".join(re.findall(rb"^[^#].*$", outcome.content, re.MULTILINE))


def test_a_share_is_said_by_its_type_and_kept_where_it_is_asked_for() -> None:
    share, *_ = fstab(ELSEWHERE, FstabRules(HERE), ()).warnings
    assert "no 9p filesystem 'host0'" in share
    names = ("/share", "/work", "/pool", "/nbd", "/loop")
    assert fstab(ELSEWHERE, FstabRules(HERE, keep=names), ()).content == ELSEWHERE


def test_a_declared_share_takes_the_place_of_the_images() -> None:
    image = b"host0 /share 9p trans=virtio 0 0\n"
    outcome = fstab(image, FstabRules(HERE), (Mount("host0", "/share", "9p", ("trans=virtio",)),))
    assert outcome.content == MARK + b"host0 /share 9p trans=virtio 0 0\n"
    assert outcome.warnings == ()


BOUND = b"""\
/dev/sdb1 /data ext4 defaults 0 2
/data/www /srv/www none bind 0 0
/srv/www/pub /pub none rbind 0 0
/data/disk.img /image ext4 loop 0 0
overlay /over overlay lowerdir=/usr:/data/low,upperdir=/var/up,workdir=/var/work 0 0
/data/later /later none bind,nofail 0 0
tmpfs /data/fast tmpfs defaults 0 0
/data/fast/x /fast none bind 0 0
/database /base none bind 0 0
//data/share /cifs cifs defaults 0 0
"""


def test_what_lies_on_a_filesystem_that_is_commented_out_is_commented_out_too(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    outcome = fstab(BOUND, FstabRules(HERE), ())
    table = tmp_path / "fstab"
    table.write_bytes(outcome.content)
    targets = [entry["target"] for entry in findmnt(tool("findmnt"), table)]
    assert targets == ["/later", "/data/fast", "/fast", "/base", "/cifs"]
    data, www, pub, image, over = outcome.warnings
    assert "'/dev/sdb1'" in data
    assert "'/data/www' lies on '/data'" in www
    assert "'/srv/www/pub' lies on '/srv/www'" in pub
    assert "'/data/disk.img'" in image
    assert "'/data/low'" in over
    assert fstab(outcome.content, FstabRules(HERE), ()).content == outcome.content


@pytest.mark.parametrize("rules", [FstabRules(HERE, keep=("/data",)), FstabRules(HERE, drop=("/data",))])
def test_what_lies_on_a_filesystem_that_is_there_or_on_the_root_stays(rules: FstabRules) -> None:
    outcome = fstab(BOUND, rules, ())
    assert outcome.content.endswith(BOUND.partition(b"\n")[2])
    assert outcome.warnings == ()


def test_what_lies_on_a_root_whose_line_is_commented_out_stays() -> None:
    image = b"/dev/sda1 / ext4 defaults 0 1\n/usr/x /x none bind 0 0\n"
    assert fstab(image, FstabRules(HERE), ()).content.endswith(b"\n/usr/x /x none bind 0 0\n")


def test_a_line_to_keep_that_is_not_there_is_said_with_the_one_that_may_be_meant() -> None:
    _, _, typo, other = fstab(CLOUD, FstabRules(HERE, keep=("/boot/uefi", "/nope")), ()).warnings
    assert typo == (
        "keep_mounts names '/boot/uefi', and no line of the image's /etc/fstab is for it: "
        "did you mean '/boot/efi'?"
    )
    assert other == "keep_mounts names '/nope', and no line of the image's /etc/fstab is for it"


def test_a_line_for_the_top_is_commented_out_where_that_is_no_disk_and_can_be_kept() -> None:
    joined = Devices(HERE.tags, disks=2, mounts_root=False)
    image = b"LABEL=data / ext4 errors=remount-ro 0 1\nLABEL=data /data ext4 defaults 0 2\n"
    outcome = fstab(image, FstabRules(joined), ())
    comment, root, data = outcome.content.splitlines()
    assert comment.startswith(b"# Commented out by bangerbuild: / is joined of two disks in this VM")
    assert (root, data) == (b"# LABEL=data / ext4 errors=remount-ro 0 1", image.splitlines()[1])
    (warning,) = outcome.warnings
    assert 'keep_mounts = ["/"]' in warning
    assert fstab(image, FstabRules(joined, keep=("/",)), ()).content == image
