"""`ls` and `cat` by ids, through the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.manifests import KEY
from tests.projects import DEBIAN, write_tar

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine


def test_disks_are_named_by_ids_with_the_paths_of_the_guest(cli: CommandLine, tmp_path: Path) -> None:
    write_tar(tmp_path / "root.tar", DEBIAN)
    (tmp_path / "vm.toml").write_text(
        '[image.debian.rootfs]\ntar = "root.tar"\n'
        f'[vm.web]\nimage = "debian"\nwork.size = "16MiB"\nssh_authorized_keys = ["{KEY}"]\n'
    )
    assert cli("apply", "-q", cwd=tmp_path).returncode == 0
    keys = f"{KEY}\n"
    for words in (
        ("vm.web", "/root/.ssh/authorized_keys"),
        ("build/vms/web/work.ext4", "/root/.ssh/authorized_keys"),
        ("build/vms/web/work.ext4", "/.ssh/authorized_keys"),
    ):
        assert cli("cat", *words, cwd=tmp_path).stdout == keys
    assert cli("cat", "vm.web", "/etc/hostname", cwd=tmp_path).stdout == "web\n"
    assert cli("cat", "image.debian", "/etc/hostname", cwd=tmp_path).stdout == "image\n"
    assert "authorized_keys" in cli("ls", "-l", "vm.web", "/root/.ssh", cwd=tmp_path).stdout
    (tmp_path / "elsewhere").mkdir()
    by_store = cli("cat", "--store", "../build", "vm.web", "/etc/hostname", cwd=tmp_path / "elsewhere")
    assert by_store.stdout == "web\n"
    for words, hint in (
        (("vm.wbe", "/"), "did you mean 'vm.web'?"),
        (("web", "/"), "did you mean 'vm.web'?"),
    ):
        done = cli("ls", *words, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (3, "")
        assert hint in done.stderr
