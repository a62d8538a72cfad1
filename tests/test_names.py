"""Every reference to a name, misspelt, is answered with the name that was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from bangerbuild.cli import cli
from bangerbuild.errors import BangerError, ManifestError
from tests.projects import write_small

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = """
[vars]
domain = "example.org"
[network.lan]
subnet = "10.0.0.0/24"
bridge = "br-lan"
[image.debian.rootfs]
directory = "tree"
[image.built.rootfs]
image = "debian"
[fleet.runner]
names = "runner-{1..3}"
[fleet.runner.vm]
image = "debian"
[vm.web]
image = "debian"
network.name = "lan"
[[vm.web.disk]]
name = "data"
size = "16MiB"
mount = "/data"
"""
LOCK = """
[leases.lan]
web = "10.0.0.2"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_small(tmp_path, MANIFEST)
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(cli, ["lock"], standalone_mode=False).exception is None
    return tmp_path


def hints(*arguments: str) -> list[str | None]:
    """Of the error that a command ends with."""
    err = CliRunner().invoke(cli, arguments, standalone_mode=False).exception
    assert isinstance(err, BangerError), err
    assert err.exit_code == 3
    return [one.hint for one in err.problems] if isinstance(err, ManifestError) else [err.hint]


@pytest.mark.parametrize(
    ("old", "new", "meant"),
    [
        ('[vm.web]\nimage = "debian"', '[vm.web]\nimage = "debain"', "debian"),
        ('[fleet.runner.vm]\nimage = "debian"', '[fleet.runner.vm]\nimage = "debain"', "debian"),
        ('[image.built.rootfs]\nimage = "debian"', '[image.built.rootfs]\nimage = "debain"', "debian"),
        ('network.name = "lan"', 'network.name = "lam"', "lan"),
        ('network.name = "lan"', 'network.nmae = "lan"', "name"),
        ("[vm.web]", "[mv.web]", "vm"),
        ('network.name = "lan"', 'network.name = "lan"\nkeep_mounts = ["/dta"]', None),
    ],
)
def test_in_a_manifest(project: Path, old: str, new: str, meant: str | None) -> None:
    assert old in MANIFEST
    (project / "vm.toml").write_text(MANIFEST.replace(old, new))
    if meant:
        assert f"did you mean '{meant}'?" in hints("validate")
    else:
        assert CliRunner().invoke(cli, ["validate"], standalone_mode=False).exception is None


def test_an_image_of_one_letter(project: Path) -> None:
    (project / "vm.toml").write_text('[image.a.rootfs]\ndirectory = "tree"\n[vm.web]\nimage = "aa"\n')
    assert hints("validate") == ["did you mean 'a'?"]


@pytest.mark.parametrize("command", ["plan", "apply", "status", "graph", "destroy"])
@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("vm.wbe", "vm.web"),
        ("vm.web.rot", "vm.web.root"),
        ("vm.web.disk.dta", "vm.web.disk.data"),
        ("image.debain", "image.debian"),
        ("image.debian.rotfs", "image.debian.rootfs"),
        ("network.lam", "network.lan"),
        ("fleet.runer", "fleet.runner"),
        ("fleet.runer*", "fleet.runner"),
        ("vm.wbe*", "vm.web*"),
        ("vm.rnuner-*", "vm.runner-*"),
    ],
)
def test_a_target(project: Path, command: str, target: str, meant: str) -> None:
    assert project
    more = ["--yes"] if command == "destroy" else []
    assert hints(command, "--target", target, *more) == [f"did you mean '{meant}'?"]


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["plan", "--replace", "vm.wbe.root"], "vm.web.root"),
        (["apply", "--replace", "vm.web.rot"], "vm.web.root"),
        (["lock", "--upgrade", "debain"], "debian"),
        (["lock", "--release", "wbe"], "web"),
        (["lock", "--release", "vm.wbe"], "web"),
        (["show", "vm.wbe"], "web"),
        (["boot", "wbe"], "web"),
        (["ssh", "wbe"], "web"),
        (["logs", "wbe"], "web"),
        (["stop", "wbe"], "web"),
        (["plan", "--var", "domian=x"], "domain"),
        (["plan", "vm.tmol"], "vm.toml"),
    ],
)
def test_on_the_command_line(project: Path, arguments: list[str], meant: str) -> None:
    assert project
    assert hints(*arguments) == [f"did you mean '{meant}'?"]


@pytest.mark.parametrize("option", ["--target", "--replace"])
def test_a_name_without_its_table(project: Path, option: str) -> None:
    assert project
    (hint,) = hints("plan", option, "wbe")
    assert hint is not None
    assert "vm.web" in hint
