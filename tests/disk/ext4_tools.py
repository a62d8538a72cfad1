"""mke2fs, e2fsck and debugfs for tests: another program's word on what our engine wrote."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.disk.snapshot_store import SnapshotStore

NOW = 1_700_000_000
MKE2FS_CONF = """\
[defaults]
    base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
    blocksize = 4096
    inode_size = 256
    inode_ratio = 16384
[fs_types]
    small = {
    }
    big = {
    }
    ext2 = {
    }
    ext3 = {
        features = has_journal
    }
    ext4 = {
        features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
    }
"""


def make_ext4(path: Path, *options: str, size: str = "64M") -> Path:
    """A new filesystem in a sparse file, the same bytes each time; ext4 unless the options name a type."""
    conf = path.with_suffix(".conf")
    conf.write_text(MKE2FS_CONF)
    with path.open("wb") as file:
        file.truncate(int(size[:-1]) << (20 if size.endswith("M") else 30))
    uuid = "11111111-2222-3333-4444-555555555555"
    fixed = ["-q", "-F", "-U", uuid, "-E", f"hash_seed={uuid},lazy_itable_init=1"]
    kind = [] if "-t" in options else ["-t", "ext4"]
    environment = {**os.environ, "MKE2FS_CONFIG": str(conf), "E2FSPROGS_FAKE_TIME": str(NOW)}
    command = [need("mke2fs", "e2fsprogs"), *fixed, *kind, *options, str(path)]
    subprocess.run(command, env=environment, check=True)
    conf.unlink()
    return path


def assert_clean(path: Path) -> None:
    """E2fsck finds nothing to say."""
    done = subprocess.run(
        [need("e2fsck", "e2fsprogs"), "-fn", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def is_clean(path: Path) -> bool:
    """Whether e2fsck finds nothing to say; on what it never ends on, it does not."""
    limited = [need("prlimit"), "--cpu=10"]  # seconds of work, however long they take
    command = [*limited, need("e2fsck", "e2fsprogs"), "-fn", str(path)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def debugfs(path: Path, request: str) -> bytes:
    """What debugfs answers to one request."""
    command = [need("debugfs", "e2fsprogs"), "-R", request, str(path)]
    return subprocess.run(command, capture_output=True, check=True).stdout


def debugfs_errors(path: Path, request: str) -> bytes:
    """What debugfs complains of at one request."""
    command = [need("debugfs", "e2fsprogs"), "-R", request, str(path)]
    return subprocess.run(command, capture_output=True, check=True).stderr


def change_superblock(path: Path, **fields: int) -> None:
    """Set superblock fields behind e2fsprogs' back, and the checksum with them."""
    for name, value in fields.items():
        request = f"set_super_value {name} {value}"
        command = [need("debugfs", "e2fsprogs"), "-w", "-R", request, str(path)]
        subprocess.run(command, capture_output=True, check=True)


def remove_magic(path: Path) -> None:
    """Make a disk no filesystem's; debugfs would put the number back."""
    with path.open("r+b") as file:
        file.seek(1024 + 0x38)
        file.write(bytes(2))


def clone(source: Path, target: Path) -> None:
    """A sparse copy."""
    subprocess.run([need("cp", "coreutils"), "--sparse=always", source, target], check=True)


def merge(base: Path, store: SnapshotStore, target: Path) -> Path:
    """The disk that a store and its base make together, as a raw file."""
    with base.open("rb") as source, target.open("wb") as merged:
        while piece := source.read(1 << 20):
            if piece.strip(b"\0"):
                merged.write(piece)
            else:
                merged.seek(len(piece), os.SEEK_CUR)
        merged.truncate(source.tell())
        for chunk, data in store.changed_chunks():
            merged.seek(chunk * store.chunk_bytes)
            merged.write(data)
        merged.truncate(source.tell())
    return target
