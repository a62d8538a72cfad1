from __future__ import annotations

import pytest

from bangerbuild.guest.network_managers.network_manager import Interface, sorted_first, sorted_last


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([], "00-ours"),
        (["10-a", "80-b"], "00-ours"),
        (["00-ours"], "00-ours"),
        (["00-a", "10-a"], "!00-ours"),
        (["0-a"], "!00-ours"),
        (["!!"], "!00-ours"),
    ],
)
def test_a_name_is_chosen_that_sorts_before_the_images(names: list[str], chosen: str) -> None:
    assert sorted_first(("00-ours", "!00-ours"), names) == chosen


@pytest.mark.parametrize(
    ("names", "chosen"),
    [([], "99-ours"), (["50-a", "99-ours"], "99-ours"), (["99-zz"], "zzz-ours"), (["zzzz"], "zzz-ours")],
)
def test_a_name_is_chosen_that_sorts_after_the_images(names: list[str], chosen: str) -> None:
    assert sorted_last(("99-ours", "zzz-ours"), names) == chosen


@pytest.mark.parametrize(
    ("address", "gateway", "is_distant"),
    [
        ("172.16.0.10/24", "172.16.0.1", False),
        ("172.16.0.10/32", "172.16.0.1", True),
        ("172.16.0.10/24", "172.16.1.1", True),
        ("172.16.0.10/24", None, False),
    ],
)
def test_a_gateway_is_distant_outside_of_the_addresss_network(
    address: str, gateway: str | None, *, is_distant: bool
) -> None:
    assert Interface("06:00:ac:10:00:0a", address, gateway).has_distant_gateway is is_distant
