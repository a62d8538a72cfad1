"""Addresses that a host may have, and those that none may."""

from __future__ import annotations

import re
from ipaddress import IPv4Interface

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.manifest.addresses import interface
from bangerbuild.manifest.problems import InvalidValueError


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_an_address_is_taken_unless_no_host_may_have_it(address: object, prefix: int) -> None:
    text = f"{address}/{prefix}"
    expected = IPv4Interface(text)
    network = expected.network
    ends = {network.network_address, network.broadcast_address} if prefix <= 30 else set()
    is_special = expected.ip.is_multicast or expected.ip.is_loopback or expected.ip.is_unspecified
    if expected.ip in ends or is_special:
        with pytest.raises(InvalidValueError):
            interface(text)
    else:
        assert interface(text) == expected


@given(st.text(alphabet="0123456789./:ab ", max_size=20))
def test_no_text_is_an_address_that_is_not_written_as_one(text: str) -> None:
    try:
        found = interface(text)
    except InvalidValueError:
        return
    assert re.fullmatch(r"\d+\.\d+\.\d+\.\d+/\d\d?", text)
    assert text.startswith(f"{found.ip}/")
