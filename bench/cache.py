"""Push and pull of an image of 2 GiB with 200 MiB used, beside other ways of moving it.

All sides end on this machine: ours and skopeo's through a registry on loopback, the others through a
directory.
The second push and pull are of the image after an edit of one file. Give MIBs of data to use fewer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import BANGERBUILD, INSTALLED, SCRATCH, print_table, removed, timed
from tests.registry import Registry, running_registry

MIB = 1 << 20
USED_MIB = 200
MOST_PULL_RATIO = 1.3
"""A pull beside `zstd -d` of the same bytes."""
LEAST_PUSH_RATIO = 10
"""The first push beside that after an edit."""


def main() -> None:
    """Print the tables; exit with 1 if ours takes longer than it should."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir(parents=True)
    INSTALLED["XDG_CACHE_HOME"] = str(SCRATCH / "cache")
    with tempfile.TemporaryDirectory() as place, running_registry(Path(place)) as registry:
        INSTALLED.update(registry.environ)
        write_project(registry, int(sys.argv[1]) if len(sys.argv) > 1 else USED_MIB)
        ours = of_ours()
        others = of_others(registry)
    pushes = {"bangerbuild push": ours["push"], **others["push"]}
    print_table("the image to where others find it", pushes)
    print_table("and back", {"bangerbuild pull": ours["pull"], **others["pull"]})
    print_table("after an edit of one file", {"push": ours["second push"], "pull": ours["second pull"]})
    shutil.rmtree(SCRATCH)
    if ours["pull"] > MOST_PULL_RATIO * others["pull"]["zstd -d"]:
        print(f"pull: more than {MOST_PULL_RATIO} times as long as zstd -d", file=sys.stderr)
        raise SystemExit(1)
    if ours["push"] < LEAST_PUSH_RATIO * ours["second push"]:
        print(f"second push: not {LEAST_PUSH_RATIO} times as fast as the first", file=sys.stderr)
        raise SystemExit(1)


def write_project(registry: Registry, used_mib: int) -> None:
    """A manifest, and a tree of data that compresses to about a quarter, as programs do."""
    (SCRATCH / "tree").mkdir()
    words = bytes(range(256)) * 48
    for number in range(max(used_mib // 8, 1)):
        with (SCRATCH / f"tree/{number}").open("wb") as file:
            for _ in range(8 * MIB // (4096 + len(words))):
                file.write(os.urandom(4096) + words)
    address = f"docker://{registry.address}/team"
    (SCRATCH / "vm.toml").write_text(
        f'[cache]\npull = ["{address}"]\npush = "{address}"\n'
        '[image.large.rootfs]\ndirectory = "tree"\nsize = "2GiB"\n'
    )


def of_ours() -> dict[str, float]:
    """The seconds of pushes and pulls, whole processes; each machine has a store and a cache of its own."""
    seconds: dict[str, float] = {}
    for prefix in ("", "second "):
        INSTALLED["XDG_CACHE_HOME"] = str(SCRATCH / "cache")
        timed([*BANGERBUILD, "apply", "-q", "--offline"])
        seconds[f"{prefix}push"] = timed([*BANGERBUILD, "push"]).seconds
        INSTALLED["XDG_CACHE_HOME"] = str(SCRATCH / "other-cache")
        seconds[f"{prefix}pull"] = timed([*BANGERBUILD, "pull", "-q", "--store", "other"]).seconds
        with (SCRATCH / "tree/0").open("ab") as file:
            file.write(b"edited")
    return seconds


def of_others(registry: Registry) -> dict[str, dict[str, float]]:
    """The same of `skopeo copy` of a tarball, of zstd and cp, and of rsync."""
    image = max((SCRATCH / "build").glob("images/large/*/rootfs.ext4"), key=lambda path: path.stat().st_mtime)
    shutil.copy(image, SCRATCH / "image.ext4")
    push: dict[str, float] = {}
    pull: dict[str, float] = {}
    if shutil.which("skopeo"):
        tar(SCRATCH / "image.ext4")
        options = f"--registries-conf={registry.environ['CONTAINERS_REGISTRIES_CONF']}"
        there = registry.name("team/tarball:1")
        push["skopeo copy of a tarball"] = shell(f"skopeo {options} copy tarball:image.tar {there}")
        pull["skopeo copy of a tarball"] = shell(f"skopeo {options} copy {there} oci:layout")
    push["zstd + cp"] = shell("zstd -q -T0 image.ext4 -o image.zst && cp image.zst there.zst")
    pull["cp + zstd -d"] = shell("cp there.zst here.zst && zstd -q -d --sparse here.zst -o here.ext4")
    removed(SCRATCH / "here.ext4")
    pull["zstd -d"] = shell("zstd -q -d --sparse there.zst -o here.ext4")
    if shutil.which("rsync"):
        push["rsync --sparse"] = shell("rsync --sparse image.ext4 there.ext4")
        pull["rsync --sparse"] = shell("rsync --sparse there.ext4 again.ext4")
    return {"push": push, "pull": pull}


def tar(image: Path) -> None:
    """A tarball with the image in it."""
    subprocess.run(
        ["tar", "--sparse", "-C", image.parent, "-cf", "image.tar", image.name], cwd=SCRATCH, check=True
    )


def shell(command: str) -> float:
    """The seconds of a command line."""
    return timed(["sh", "-c", command]).seconds


if __name__ == "__main__":
    main()
