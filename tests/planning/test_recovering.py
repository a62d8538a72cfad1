"""Records made anew, step by step. tests/commands/test_recover.py has whole stores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild import graph, store
from bangerbuild.errors import FilesystemError
from bangerbuild.model.recovered import Recovered, Stray, Unrecovered
from bangerbuild.planning import recovering
from tests.fakes import EPOCH, FakeDisk, FakeHost, FakeStep, built
from tests.stores import lose_records

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.model import View
    from bangerbuild.planning.recovering import Found


@dataclass(frozen=True)
class Told(FakeDisk):
    """A disk that says of itself what it is told to say."""

    told: Recovered | Unrecovered | Exception | None = field(default=None, metadata={"recipe": False})

    def recover(self, _view: View, _artifacts: tuple[str, ...]) -> Recovered | Unrecovered | None:  # type: ignore[override]
        if isinstance(self.told, Exception):
            raise self.told
        return self.told


def recovered(path: Path, *steps: FakeStep) -> Found:
    with store.writing(path, timeout_seconds=0) as opened:
        found = recovering.recover(graph.build(steps), opened, FakeHost(), epoch=EPOCH, pins={})
        opened.save(found.jobs)
    return found


def lost(path: Path, *steps: FakeStep) -> None:
    built(steps, path)
    lose_records(path)


DISK = "vms/web/disk.ext4"


def test_what_a_step_tells_of_itself_becomes_its_record(tmp_path: Path) -> None:
    told = Recovered((DISK,), {"file_bytes": 4}, guests=True, fields={"size": 7}, inputs={"image.a": "f"})
    step = Told("vm.web.disk", outputs=(DISK,), told=told)
    lost(tmp_path, step)
    recovered(tmp_path, step)
    opened = store.read(tmp_path)
    record = opened.records["vm.web.disk"]
    assert (record.artifacts, dict(record.facts)) == ((DISK,), {"file_bytes": 4})
    assert record.recipe.fields["size"] == 7
    assert record.recipe.inputs == {"image.a": "f"}
    assert opened.stamps[DISK].guest
    assert not opened.stamps[DISK].fits((tmp_path / DISK).stat())


def test_a_step_that_a_record_knows_is_not_asked(tmp_path: Path) -> None:
    step = Told("vm.web.disk", outputs=(DISK,), told=Recovered((DISK,)))
    built([step], tmp_path)
    assert recovered(tmp_path, step).jobs == ()


def test_what_nobody_writes_to_is_stamped_with_its_digest_and_known_by_its_fingerprint_too(
    tmp_path: Path,
) -> None:
    output = "images/a/{fingerprint}/rootfs.ext4"
    step = Told("image.a.rootfs", outputs=(output,))
    (result,) = built([step], tmp_path)
    assert result.error is None
    (artifact,) = store.read(tmp_path).records["image.a.rootfs"].artifacts
    lose_records(tmp_path)
    recovered(tmp_path, Told("image.a.rootfs", outputs=(output,), told=Recovered((artifact,))))
    opened = store.read(tmp_path)
    assert not opened.modified(artifact)
    assert {f"image.a.rootfs@{artifact.split('/')[2]}", "image.a.rootfs"} == opened.records.keys()


def test_a_disk_that_somebody_has_open_is_left_alone_and_named(tmp_path: Path) -> None:
    step = Told("vm.web.disk", outputs=(DISK,), told=Recovered((DISK,)))
    lost(tmp_path, step)
    with store.writing(tmp_path, timeout_seconds=0) as opened:
        host = FakeHost(holders={"disk.ext4": "qemu (process 7)"})
        found = recovering.recover(graph.build([step]), opened, host, epoch=EPOCH, pins={})
    assert found.jobs == ()
    assert found.unrecovered == (
        Unrecovered(DISK, "it is in use by qemu (process 7): shut the VM down first"),
    )


def test_what_cannot_be_read_is_said_and_the_others_are_recovered(tmp_path: Path) -> None:
    broken = Told("vm.a.disk", outputs=("vms/a/disk.ext4",), told=FilesystemError("it has no superblock"))
    sound = Told("vm.web.disk", outputs=(DISK,), told=Recovered((DISK,), guests=True))
    lost(tmp_path, broken, sound)
    found = recovered(tmp_path, broken, sound)
    assert found.unrecovered == (Unrecovered("vms/a/disk.ext4", "it has no superblock"),)
    assert [job.records[0].id for job in found.jobs] == ["vm.web.disk"]


def test_a_patch_of_a_disk_of_which_nothing_is_known_is_not_asked(tmp_path: Path) -> None:
    disk = Told("vm.web.disk", outputs=(DISK,), told=Unrecovered(DISK, "no header"))
    patch = Told("vm.web.disk.patch", inputs=("vm.web.disk",), changes="vm.web.disk", told=Recovered((DISK,)))
    lost(tmp_path, disk, patch)
    assert recovered(tmp_path, disk, patch).jobs == ()


def test_files_of_one_step_that_nobody_declares_are_one_record(tmp_path: Path) -> None:
    lost(tmp_path, FakeStep("vm.old.launch", outputs=("vms/old/a.sh", "vms/old/b.sh")))
    strays = [Stray("vm.old.launch", "launch", Recovered((f"vms/old/{name}.sh",))) for name in ("a", "b")]
    with store.writing(tmp_path, timeout_seconds=0) as opened:
        (job,) = recovering.of_strays(opened, strays)
    assert job.records[0].artifacts == ("vms/old/a.sh", "vms/old/b.sh")
    assert job.changed.keys() == {"vms/old/a.sh", "vms/old/b.sh"}
