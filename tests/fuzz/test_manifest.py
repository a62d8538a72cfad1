"""Manifests: a file of TOML is loaded, or all of its problems are told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w
from hypothesis import example, given
from hypothesis import strategies as st

from bangerbuild import manifest
from bangerbuild.errors import ManifestError
from tests import PROJECT
from tests.fuzz.frame import damaged, damaged_json, few, within_limits

if TYPE_CHECKING:
    from tests.fuzz.frame import Place

SPECIMENS = [path.read_bytes() for path in sorted((PROJECT / "examples").rglob("*.toml"))]
TREE: dict[str, Any] = {
    "include": ["a.toml"],
    "store": {"path": "build"},
    "defaults": {"vcpus": 2, "memory": "1GiB"},
    "image": {
        "a": {
            "kernel": {"url": "https://me:word@host/k", "sha256": "0" * 64, "max_size": "1GiB"},
            "initrd": "initrd",
            "cmdline": "quiet",
            "rootfs": {"url": "https://host/a.tar?b", "size": "2GiB", "max_size": 5},
            "work_seed": {"mmdebstrap": {"suite": "a", "packages": ["b"], "mirror": "http://h/"}},
            "file": [{"guest": "/a", "content": "b"}],
        },
        "b": {"rootfs": {"oci": "docker://debian:12", "platform": "linux/arm/v7", "entrypoint": "/e"}},
    },
    "vm": {
        "a": {
            "image": "a",
            "ssh_authorized_keys": ["ssh-ed25519 AAAA a@b"],
            "drop_mounts": ["/home"],
            "root": {"format": "snapshot", "size": "8GiB", "on_new_base": "keep"},
            "work": {"size": "16GiB", "mount": "/root"},
            "guest": {"hostname": True, "sshd": False},
            "network": {
                "address": "10.0.0.2/8",
                "gateway": "10.0.0.1",
                "dns": ["1.1.1.1"],
                "mac": "06:00:ac:10:00:0a",
                "tap": "tap0",
                "mode": "cmdline",
            },
            "file": [{"guest": "~/a", "content": "", "mode": "0644", "owner": "root:0", "times": "host"}],
            "file_sync": [{"host": "~/x", "guest": "/x", "mode": "u=rwX", "exclude": ["*.pyc"]}],
            "mount": [{"source": "tmpfs", "target": "/s", "fstype": "tmpfs", "options": ["a"], "dump": 0}],
            "disk": [{"name": "data", "size": "10GiB", "mount": "/data"}],
        }
    },
}


def load(place: Place, data: bytes) -> None:
    path = place.inside / "vm.toml"
    path.write_bytes(data)
    with within_limits():
        try:
            manifest.load([path])
        except ManifestError as err:
            lines = str(err).split("\n")
            assert not any("word" in line for line in lines)
    place.assert_nothing_else_was_touched()


@few(60)
@given(data=damaged(SPECIMENS))
@example(data=b"a" + b".a" * 100_000 + b" = 1")
@example(data=b"a = " + b"[" * 100_000)
@example(data=b"[vm.a]\nvcpus = 0x1" + b"1" * 50_000)
def test_a_damaged_file(place: Place, data: bytes) -> None:
    load(place, data)


def _as_toml(tree: Any) -> bytes:  # noqa: ANN401
    try:
        return tomli_w.dumps(_without_null(tree)).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, AttributeError):  # no TOML has that
        return b""


def _without_null(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return {key: _without_null(part) for key, part in value.items() if part is not None}
    return [_without_null(part) for part in value if part is not None] if isinstance(value, list) else value


@few(120)
@given(data=st.builds(_as_toml, damaged_json([TREE])))
def test_a_file_of_other_values(place: Place, data: bytes) -> None:
    load(place, data)


def test_the_specimens_are_read(place: Place) -> None:
    assert SPECIMENS
    assert Path(place.inside).is_dir()
    load(place, _as_toml(TREE))
