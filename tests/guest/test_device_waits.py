from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import FilesystemError
from bangerbuild.guest.device_waits import warnings
from bangerbuild.guest.devices import Devices
from tests.guest.view import OPENRC, SYSTEMD, DictView, guest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VM = Devices(frozenset({"LABEL=work"}), disks=2)
CRYPTTAB = """\
# name device key options
gone UUID=1-2 none luks
swap /dev/sda5 /dev/urandom swap,cipher=aes-xts-plain64
bare /dev/sdb1
here LABEL=work none luks
second /dev/vdb none
file /var/secret.img none luks
later UUID=1-3 none luks,nofail
never UUID=1-4 none noauto
net UUID=1-5 none _netdev

"""
DATA = "[Mount]\nWhat=/dev/sdb1\nWhere=/data\nOptions=nofail\n[Install]\nWantedBy=local-fs.target\n"
UNITS = "/etc/systemd/system"
LINK = {f"{UNITS}/local-fs.target.wants/data.mount": f"{UNITS}/data.mount"}
GENERATOR = "/usr/lib/systemd/system-generators/systemd-cryptsetup-generator"


def found(view: DictView, *taken: str) -> list[str]:
    return list(warnings(view, VM, taken))


def with_systemd(files: dict[str, str], links: dict[str, str] | None = None) -> DictView:
    return DictView({**SYSTEMD, **{path: text.encode() for path, text in files.items()}}, links=links or {})


def test_each_entry_of_crypttab_that_waits_for_a_device_that_is_not_there_is_said() -> None:
    gone, swap, bare = found(with_systemd({"/etc/crypttab": CRYPTTAB}))
    assert "'gone' of the image's '/etc/crypttab'" in gone
    assert "'UUID=1-2'" in gone
    assert "'/dev/sda5'" in swap
    assert "'bare'" in bare


def test_systemd_requires_the_entries_that_are_said(tool: Callable[[str], str], tmp_path: Path) -> None:
    table = tmp_path / "crypttab"
    table.write_text(CRYPTTAB)
    folders = [tmp_path / name for name in ("normal", "early", "late")]
    for folder in folders:
        folder.mkdir()
    subprocess.run(
        [tool(GENERATOR), *folders], env={**os.environ, "SYSTEMD_CRYPTTAB": str(table)}, check=True
    )
    links = (folders[0] / "cryptsetup.target.requires").iterdir()
    required = {link.name.partition("@")[2].removesuffix(".service") for link in links}
    assert {"gone", "swap", "bare"} <= required
    assert not {"later", "never", "net"} & required


def test_a_unit_that_systemctl_enables_for_a_device_that_is_not_there_is_said(
    tool: Callable[[str], str], tmp_path: Path
) -> None:
    units = tmp_path / UNITS.lstrip("/")
    units.mkdir(parents=True)
    (units / "data.mount").write_text(DATA)
    subprocess.run([tool("systemctl"), f"--root={tmp_path}", "enable", "data.mount"], check=True)
    links = {
        f"/{link.relative_to(tmp_path)}": str(link.readlink())
        for link in units.rglob("*")
        if link.is_symlink()
    }
    [warning] = found(with_systemd({f"{UNITS}/data.mount": DATA}, links))
    assert "'/etc/systemd/system/data.mount'" in warning
    assert "'/dev/sdb1'" in warning


def test_swap_and_required_units_and_shares_count_too() -> None:
    files = {
        f"{UNITS}/dev-sda2.swap": "[Swap]\nWhat=/dev/sda2\n",
        f"{UNITS}/share.mount": "[Mount]\nWhat = host0\nWhere=/share\nType = 9p\n",
        f"{UNITS}/work.mount": "[Mount]\nWhat=LABEL=work\nWhere=/work\n",
    }
    links = {
        f"{UNITS}/swap.target.wants/dev-sda2.swap": "x",
        f"{UNITS}/local-fs.target.requires/share.mount": "x",
        f"{UNITS}/local-fs.target.requires/work.mount": "x",
    }
    swap, share = found(with_systemd(files, links))
    assert "'/dev/sda2'" in swap
    assert "'host0'" in share


@pytest.mark.parametrize(
    "view",
    [
        with_systemd({f"{UNITS}/data.mount": DATA}),
        with_systemd({f"{UNITS}/data.mount": DATA}, {f"{UNITS}/rescue.target.wants/data.mount": "x"}),
        with_systemd({f"{UNITS}/data.mount": ""}, LINK),
        with_systemd({}, {**LINK, f"{UNITS}/data.mount": "/dev/null"}),
        guest({**OPENRC, "/etc/crypttab": CRYPTTAB}),
        DictView(SYSTEMD, broken={"/etc/crypttab": FilesystemError("'/etc/crypttab' can't be read")}),
    ],
    ids=["not enabled", "not of the boot", "masked", "masked by a link", "not systemd", "not readable"],
)
def test_what_waits_for_nothing_is_no_warning(view: DictView) -> None:
    assert found(view) == []


def test_a_declared_file_takes_the_place_of_what_the_image_has() -> None:
    view = with_systemd({"/etc/crypttab": CRYPTTAB, f"{UNITS}/data.mount": DATA}, LINK)
    assert len(found(view)) == 4
    assert found(view, "/etc/crypttab", f"{UNITS}/data.mount") == []
