"""Images made again, and compared with what lies in the store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bangerbuild import store
from bangerbuild.commands.verify.check import CheckResult
from bangerbuild.planning import host
from tests.commands.verify.verified import Verified, artifacts, short
from tests.disk.damage import flip, place_of
from tests.kernel.making import elf
from tests.projects import DEBIAN, Project, write_tar
from tests.steps.guest_disks import IMAGE

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


class TestRebuild:
    """Images made again and compared."""

    def rebuilt(self, verified: Verified, *targets: str) -> dict[str, tuple[str, str]]:
        verified(*targets, again=True)
        return {
            short(check.path): (check.result.value, check.message)
            for check in verified.checks
            if check.check == "rebuild"
        }

    def test_the_same_manifest_gives_the_same_bytes(self, project: Project, verified: Verified) -> None:
        before, records = artifacts(project), store.read(project.store).records
        same = ("ok", "made again, it has the same bytes")
        assert self.rebuilt(verified) == {
            "images/debian/rootfs.ext4": same,
            "images/debian/work-seed.ext4": same,
            "images/debian/work-seed@32MiB.ext4": same,
        }
        assert verified.results() == {CheckResult.OK}
        assert artifacts(project) == before
        assert store.read(project.store).records == records
        assert list((project.store / ".staging").iterdir()) == []

    def test_an_image_with_other_bytes_is_found(self, project: Project, verified: Verified) -> None:
        image = project.image()
        flip(image, place_of(image, "/etc/hostname"))
        assert self.rebuilt(verified)["images/debian/rootfs.ext4"] == (
            "failed",
            "made again, it has other bytes",
        )

    def test_an_image_whose_source_changed_is_not_compared(
        self, project: Project, verified: Verified
    ) -> None:
        write_tar(project.directory / "root.tar", {**DEBIAN, "etc/motd": "new\n"})
        found = self.rebuilt(verified)
        assert [value for name, value in found.items() if "rootfs" in name] == [
            ("skipped", "not compared: it has not been made yet")
        ]
        assert found["images/debian/work-seed.ext4"][0] == "ok"

    def test_an_image_made_with_other_tools_is_not_compared(
        self, verified: Verified, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(host.VERSIONS, "e2fsprogs", lambda: "1.99")
        assert set(self.rebuilt(verified).values()) == {
            ("skipped", "not compared: it was made with other versions of its tools")
        }

    def test_an_image_that_cannot_be_made_again_and_what_is_made_from_it(
        self, project: Project, verified: Verified, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device", str(project.store))

        monkeypatch.setattr("bangerbuild.steps.image_tree.making.make_empty", fail)
        found = self.rebuilt(verified)
        assert found["images/debian/rootfs.ext4"][0] == "failed"
        assert "no space left on device" in found["images/debian/rootfs.ext4"][1]
        assert found["images/debian/work-seed@32MiB.ext4"] == (
            "failed",
            "not made again: what it is made from could not be made",
        )

    def test_an_image_with_times_of_the_host_is_not_compared_once_they_have_changed(
        self, tmp_path: Path
    ) -> None:
        write_tar(tmp_path / "root.tar", DEBIAN)
        (tmp_path / "site").mkdir()
        (tmp_path / "site/page").write_text("page\n")
        project = Project(tmp_path)
        sync = '[[image.debian.file_sync]]\nhost = "site"\nguest = "/srv/site"\ntimes = "host"\n'
        project.write(IMAGE + sync)
        project.build()
        verified, image = Verified(project), "images/debian/rootfs.ext4"
        assert self.rebuilt(verified)[image][0] == "ok"
        os.utime(tmp_path / "site", (1, 1))
        assert self.rebuilt(verified)[image][0] == "ok", "directories have times of ours"
        os.utime(tmp_path / "site/page", (1, 1))
        assert self.rebuilt(verified)[image] == (
            "skipped",
            'not compared: times of host files that went into it (`times = "host"`) have changed since',
        )

    def test_a_target_is_made_again_with_what_it_needs(self, verified: Verified) -> None:
        assert set(self.rebuilt(verified, "vm.web.root")) == {"images/debian/rootfs.ext4"}

    def test_kernel_and_initrd_are_made_again(self, tmp_path: Path) -> None:
        write_tar(tmp_path / "root.tar", DEBIAN)
        (tmp_path / "vmlinuz").write_bytes(elf())
        project = Project(tmp_path)
        project.write('[image.debian]\nkernel = "vmlinuz"\n' + IMAGE)
        project.build()
        verified = Verified(project)
        found = self.rebuilt(verified)
        assert {name: result for name, (result, _) in found.items()} == {
            "images/debian/rootfs.ext4": "ok",
            "images/debian/vmlinuz": "ok",
            "images/debian/vmlinux": "ok",
        }
