"""From a manifest to pins and a lock file: what is read, what is asked, and what is to be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import manifest
from bangerbuild.errors import LockFileError, OfflineError
from bangerbuild.model import HostPath, Pin, Source
from bangerbuild.resolving import lockfile
from bangerbuild.resolving.lockfile import LockEntry, LockFile
from bangerbuild.resolving.pins import ResolveOptions
from bangerbuild.resolving.resolve import Asking, Change, Resolved, resolve
from tests.fakes import EPOCH, FakeStep, built
from tests.projects import DEBIAN, write_tar

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.declared import Manifest

PLACE = "image.a.rootfs"


def silent(what: str, done_bytes: int, total_bytes: int | None) -> None:
    """Nobody watches."""


@pytest.fixture
def asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asking:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Asking(tmp_path / "build", EPOCH, offline=False, progress=silent)


@pytest.fixture
def loaded(tmp_path: Path) -> Manifest:
    """One image behind a file's address, which nothing is known of."""
    address = write_tar(tmp_path / "root.tar", DEBIAN).as_uri()
    (tmp_path / "vm.toml").write_text(f'[image.a.rootfs]\nurl = "{address}"\n')
    return manifest.load([tmp_path / "vm.toml"])


def entry(digest: str) -> LockEntry:
    return LockEntry.of({"url": "x"}, Pin(digest))


def test_what_is_not_known_is_asked_and_the_answer_is_written_on_demand_only(
    loaded: Manifest, asking: Asking, tmp_path: Path
) -> None:
    resolved = resolve(loaded, ResolveOptions(), asking)
    assert resolved.path == tmp_path / "bangerbuild.lock"
    assert not resolved.path.exists()
    assert list(resolved.changes()) == [Change(PLACE, None, resolved.after.entries[PLACE])]
    resolved.write()
    assert lockfile.read(resolved.path) == resolved.after
    assert resolved.after.entries[PLACE].pin == resolved.pins[PLACE]


def test_what_is_locked_is_not_asked_again_and_nothing_is_written(
    loaded: Manifest, asking: Asking, tmp_path: Path
) -> None:
    first = resolve(loaded, ResolveOptions(), asking)
    first.write()
    (tmp_path / "root.tar").unlink()
    before = (tmp_path / "bangerbuild.lock").stat()
    again = resolve(loaded, ResolveOptions(), asking)
    again.write()
    assert (again.pins, list(again.changes())) == (first.pins, [])
    assert (tmp_path / "bangerbuild.lock").stat().st_ino == before.st_ino


def test_a_lock_file_that_lacks_something_is_refused_where_it_must_not_change(
    loaded: Manifest, asking: Asking
) -> None:
    with pytest.raises(LockFileError):
        resolve(loaded, ResolveOptions(locked=True), asking)


def test_a_lock_file_that_can_not_be_read_is_an_error(
    loaded: Manifest, asking: Asking, tmp_path: Path
) -> None:
    (tmp_path / "bangerbuild.lock").write_text("version = 99\n")
    with pytest.raises(LockFileError):
        resolve(loaded, ResolveOptions(), asking)


def test_a_manifest_that_is_no_file_has_no_lock_file(
    loaded: Manifest, asking: Asking, tmp_path: Path
) -> None:
    made = type(loaded)(loaded.store, loaded.images, loaded.vms)
    resolved = resolve(made, ResolveOptions(), asking)
    resolved.write()
    assert (resolved.path, resolved.before) == (None, LockFile())
    assert resolved.pins.keys() == {PLACE}
    assert not (tmp_path / "bangerbuild.lock").exists()


def test_offline_what_only_a_server_knows_is_refused_by_name(tmp_path: Path, asking: Asking) -> None:
    (tmp_path / "vm.toml").write_text('[image.a.rootfs]\nurl = "http://nowhere.invalid/x.tar"\n')
    offline = Asking(asking.store, EPOCH, offline=True, progress=silent)
    with pytest.raises(OfflineError, match=r"nowhere\.invalid/x\.tar"):
        resolve(manifest.load([tmp_path / "vm.toml"]), ResolveOptions(), offline)


def test_changes_are_told_by_place_in_order() -> None:
    before = LockFile({"b": entry("1"), "c": entry("1"), "d": entry("1")})
    after = LockFile({"a": entry("1"), "b": entry("2"), "d": entry("1")})
    assert list(Resolved({}, None, before, after).changes()) == [
        Change("a", None, entry("1")),
        Change("b", entry("1"), entry("2")),
        Change("c", entry("1"), None),
    ]


def test_asking_opens_the_store_only_if_something_is_asked_of_it(tmp_path: Path) -> None:
    (tmp_path / "not a store").write_text("")
    asking = Asking(tmp_path / "not a store", EPOCH, offline=False, progress=silent)
    assert asking.epoch == EPOCH
    assert not asking.offline
    assert "_opened" not in vars(asking)


def test_asking_knows_digests_of_the_host_and_records_of_the_store(tmp_path: Path, asking: Asking) -> None:
    (tmp_path / "file").write_bytes(b"")
    source = Source("rootfs.tar", HostPath(tmp_path / "file", "file").path, "file")
    assert asking.digest(source) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    built([FakeStep("a", outputs=("images/a/{fingerprint}/x",))], tmp_path / "other")
    other = Asking(tmp_path / "other", EPOCH, offline=False, progress=silent)
    record = other.record("a")
    assert record is not None
    assert record.step_id == "a"
    assert other.record("b") is None
