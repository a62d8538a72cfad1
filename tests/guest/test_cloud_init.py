"""What cloud-init is told; the boot tests have its own word on it."""

from __future__ import annotations

from bangerbuild.guest.cloud_init import CONFIG, NO_CLOUD, SEED, kept, no_cloud, unheard_seeds
from bangerbuild.tree import GuestEdits, GuestFile
from tests.guest.view import guest


def settings(edits: GuestEdits) -> list[str]:
    """The lines of the one file that are no comments."""
    (change,) = edits.changes
    assert isinstance(change, GuestFile)
    assert change.path == NO_CLOUD
    return [line for line in change.content.decode().splitlines() if not line.startswith("#")]


def test_an_image_with_cloud_init_is_told_of_no_data_source() -> None:
    assert settings(no_cloud(guest({CONFIG: ""}))) == ["datasource_list: [ None ]"]
    assert no_cloud(guest({})) == GuestEdits()


def test_to_keep_it_takes_that_back_where_it_was_said() -> None:
    assert settings(kept(guest({NO_CLOUD: "x"}))) == []
    assert kept(guest({CONFIG: ""})) == GuestEdits()


def test_a_seed_that_is_not_read_is_warned_of() -> None:
    paths = [f"{SEED}nocloud/user-data", "/etc/motd"]
    (warning,) = unheard_seeds(guest({NO_CLOUD: "x"}), paths)
    assert f"'{SEED}nocloud/user-data'" in warning
    assert list(unheard_seeds(guest({}), paths)) == []
    assert list(unheard_seeds(guest({NO_CLOUD: "x"}), ["/etc/motd"])) == []
