"""The rules, judged by nft."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.bridging.nftables import rules
from tests.bridging.namespaces import namespace
from tests.bridging.samples import LAN

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("device", ["br-lan", "0_.x-y"])
def test_nft_takes_the_rules_twice_and_lists_them_as_they_are_written(tmp_path: Path, device: str) -> None:
    file = tmp_path / "nat.nft"
    file.write_text(rules(replace(LAN, device=device)))
    with namespace() as host:
        host.ask(f"nft -c -f {file} && nft -f {file} && nft -f {file}")
        listed = host.ask("nft list ruleset")
    assert listed.startswith(f"table inet bangerbuild-{device} {{\n")
    assert file.read_text().endswith(listed)
