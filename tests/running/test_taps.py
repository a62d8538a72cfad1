from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.running import taps

if TYPE_CHECKING:
    from pathlib import Path


def test_a_missing_device_is_not_asked_for(tmp_path: Path) -> None:
    """Root would make it by that."""
    assert taps.trouble("tap-web", str(tmp_path), "/nowhere/tun") == "there is no tap device tap-web"


def test_another_kind_of_device_is_no_tap(tmp_path: Path) -> None:
    (tmp_path / "eth0").mkdir()
    assert taps.trouble("eth0", str(tmp_path)) == "eth0 is no tap device"


def test_a_device_that_is_not_ours_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "tap-web").mkdir()
    (tmp_path / "tap-web" / "tun_flags").touch()
    tun = tmp_path / "tun"
    assert (
        taps.trouble("tap-web", str(tmp_path), str(tun))
        == f"{tun} can't be opened: no such file or directory"
    )
    tun.touch()
    found = taps.trouble("tap-web", str(tmp_path), str(tun))
    assert found == "the tap device tap-web can't be used: inappropriate ioctl for device"
