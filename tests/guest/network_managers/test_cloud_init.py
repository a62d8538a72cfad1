from __future__ import annotations

import pytest

from bangerbuild.guest.network_managers.cloud_init import CloudInit
from tests.guest.network_managers.images import DEBIAN_CLOUD, FEDORA, INTERFACE, MMDEBSTRAP, enabled, image
from tests.guest.view import OPENRC, written

OPENRC_CLOUD = {**OPENRC, "/etc/cloud/cloud.cfg": b"", "/etc/runlevels/boot/cloud-init-local": b""}


@pytest.mark.parametrize("files", [DEBIAN_CLOUD, FEDORA, OPENRC_CLOUD], ids=["Debian", "Fedora", "Alpine"])
def test_cloud_init_runs_where_it_is_enabled(files: dict[str, bytes]) -> None:
    assert CloudInit().runs(image(files))


@pytest.mark.parametrize("newest", ["cloud-init-main.service", "cloud-init-network.service"])
def test_the_units_of_newer_versions_are_known(newest: str) -> None:
    files = {**MMDEBSTRAP, "/etc/cloud/cloud.cfg": b"", **enabled(newest, target="cloud-init.target")}
    assert CloudInit().runs(image(files))


def test_cloud_init_that_is_switched_off_or_not_enabled_or_removed_does_not_run() -> None:
    assert not CloudInit().runs(image({**FEDORA, "/etc/cloud/cloud-init.disabled": b""}))
    assert not CloudInit().runs(image({**MMDEBSTRAP, "/etc/cloud/cloud.cfg": b""}))
    removed = {path: text for path, text in FEDORA.items() if not path.startswith("/etc/cloud")}
    assert not CloudInit().runs(image(removed))


def test_its_network_is_disabled_in_a_file_of_its_own() -> None:
    assert written(CloudInit().changes(INTERFACE, image(FEDORA))) == {
        "/etc/cloud/cloud.cfg.d/99-bangerbuild.cfg": b"network:\n  config: disabled\n"
    }


def test_the_file_sorts_after_a_late_file_of_the_image() -> None:
    files = {**FEDORA, "/etc/cloud/cloud.cfg.d/99-network.cfg": b"network:\n  version: 2\n"}
    [path] = written(CloudInit().changes(INTERFACE, image(files)))
    assert path == "/etc/cloud/cloud.cfg.d/zzz-bangerbuild.cfg"
