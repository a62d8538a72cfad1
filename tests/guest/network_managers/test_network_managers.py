from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.guest.network_managers import NETWORK_MANAGERS, OWN_PATHS, settled
from bangerbuild.guest.network_managers.warned_of import WARNED_OF
from bangerbuild.tree import GuestEdits, GuestFile
from tests.guest.network_managers import images
from tests.guest.network_managers.images import INTERFACE, image
from tests.guest.view import SYSTEMD, written

if TYPE_CHECKING:
    from collections.abc import Mapping

NETWORKD = "/etc/systemd/network/00-bangerbuild.network"
NM = "/etc/NetworkManager/conf.d/99-bangerbuild.conf"
CLOUD_INIT = "/etc/cloud/cloud.cfg.d/99-bangerbuild.cfg"
INTERFACES = "/etc/network/interfaces"

IMAGES: dict[str, tuple[Mapping[str, bytes], set[str]]] = {
    "Arch": (images.ARCH, {NETWORKD}),
    "Fedora": (images.FEDORA, {NM, CLOUD_INIT}),
    "Debian's cloud image": (images.DEBIAN_CLOUD, {NETWORKD, CLOUD_INIT}),
    "Debian": (images.DEBIAN, {INTERFACES}),
    "Alpine": (images.ALPINE, {INTERFACES}),
    "mmdebstrap": (images.MMDEBSTRAP, set()),
    "systemd alone": (SYSTEMD, set()),
    "busybox": ({"/bin/busybox": images.BINARY, INTERFACES: b"iface eth0 inet dhcp\n"}, set()),
}


@pytest.mark.parametrize("name", IMAGES)
def test_each_image_gets_what_its_managers_need_and_no_more(name: str) -> None:
    files, paths = IMAGES[name]
    outcome = settled(INTERFACE, image(files))
    assert set(written(outcome)) == paths
    assert len(outcome.changes) == len(paths)
    assert outcome.warnings == ()


@pytest.mark.parametrize("name", IMAGES)
def test_only_what_differs_between_vms_is_said_to_be_a_vms_own(name: str) -> None:
    files, _ = IMAGES[name]
    other = replace(INTERFACE, mac="06:00:ac:10:00:0b", address="172.16.0.11/24")
    ours, theirs = (written(settled(one, image(files))) for one in (INTERFACE, other))
    assert {path for path in ours if ours[path] != theirs[path]} == set(ours) & OWN_PATHS


def test_two_managers_that_need_the_same_file_get_it_once() -> None:
    outcome = settled(INTERFACE, image({**images.DEBIAN_CLOUD, **images.ARCH}))
    assert [change.path for change in outcome.changes].count(NETWORKD) == 1


def test_a_masked_manager_gets_nothing() -> None:
    mask = {f"{images.ETC}/NetworkManager.service": b""}
    managed = {path: text for path, text in images.FEDORA.items() if "cloud" not in path}
    assert settled(INTERFACE, image({**managed, **mask})) == GuestEdits()


def test_no_manager_writes_what_others_may_not_read() -> None:
    everything: dict[str, bytes] = {}
    for files, _ in IMAGES.values():
        everything |= files
    changes = settled(INTERFACE, image(everything)).changes
    assert {change.mode for change in changes if isinstance(change, GuestFile)} == {0o644}
    assert len(NETWORK_MANAGERS) == 7 + len(WARNED_OF)


def test_a_manager_that_is_not_told_is_warned_of_beside_those_that_are() -> None:
    files = {**images.FEDORA, **images.enabled("wicked.service")}
    outcome = settled(INTERFACE, image(files))
    assert set(written(outcome)) == {NM, CLOUD_INIT}
    assert [warning.partition(",")[0] for warning in outcome.warnings] == ["the image starts wicked"]
