"""The leases of a lock file: one line each, read with their lines, and what a merge leaves of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild import leases
from bangerbuild.resolving.lockfile import LockFile

LOCK = Path("bangerbuild.lock")
TEXT = """\
version = 1

[image.a.rootfs]
url = "https://example.org/x"

[network.dmz]
web = "10.0.0.2"

[network.lan]
db = "172.16.0.11"
web = "172.16.0.10"
"""


def test_each_lease_is_known_with_its_line() -> None:
    found = leases.parsed(TEXT, LOCK)
    assert [(one.key, one.value, one.line) for one in found.lines] == [
        ("network.dmz.web", "10.0.0.2", 7),
        ("network.lan.db", "172.16.0.11", 10),
        ("network.lan.web", "172.16.0.10", 11),
    ]
    assert found.problems == ()
    assert found.given() == {
        "network.dmz": {"web": "10.0.0.2"},
        "network.lan": {"db": "172.16.0.11", "web": "172.16.0.10"},
    }


def test_an_address_on_two_lines_is_told_with_both_and_the_command_that_mends_it() -> None:
    (problem,) = leases.parsed(TEXT + 'app = "172.16.0.11"\n', LOCK).problems
    assert (problem.file, problem.line, problem.key) == ("bangerbuild.lock", 12, "network.lan.app")
    assert problem.message == "'172.16.0.11' is given to 'app' here, and to 'db' in line 10"
    assert problem.hint == "free it, and the next plan gives another one: bangerbuild lock --release app"


def test_one_address_in_two_networks_is_no_clash() -> None:
    assert leases.parsed(TEXT + '[network.other]\nx = "10.0.0.2"\n', LOCK).problems == ()


def test_a_name_on_two_lines_is_told_with_both() -> None:
    (problem,) = leases.parsed(TEXT + 'db = "172.16.0.12"\n', LOCK).problems
    assert (problem.line, problem.message) == (
        12,
        "'db' has '172.16.0.12' here, and '172.16.0.11' in line 10",
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('web = "172.16.0"', "this is no lease"),
        ('web = "172.16.0.300"', "this is no lease"),
        ("web = 7", "this is no lease"),
        ('Web = "172.16.0.1"', "this is no lease"),
        ("<<<<<<< HEAD", "git has left this in conflict"),
        (">>>>>>> theirs", "git has left this in conflict"),
    ],
)
def test_a_line_that_is_no_lease_is_told(line: str, said: str) -> None:
    (problem,) = leases.parsed(f"{TEXT}{line}\n", LOCK).problems
    assert (problem.line, problem.message) == (12, said)


def test_a_file_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert leases.read(tmp_path / "bangerbuild.lock").lines == ()


def test_what_is_released_goes_and_nothing_else_changes() -> None:
    left, gone = leases.without(TEXT, ["web"])
    assert left == TEXT.replace('[network.dmz]\nweb = "10.0.0.2"\n', "").replace('web = "172.16.0.10"\n', "")
    assert [one.key for one in gone] == ["network.dmz.web", "network.lan.web"]


def test_one_line_or_a_whole_table_may_be_released() -> None:
    left, _ = leases.without(TEXT, ["network.lan.web"])
    assert left == TEXT.replace('web = "172.16.0.10"\n', "")
    _, gone = leases.without(TEXT, ["network.lan"])
    assert [one.key for one in gone] == ["network.lan.db", "network.lan.web"]


names = st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,9}\Z")
addresses = st.ip_addresses(v=4).map(str)


@given(
    st.dictionaries(
        names.map(leases.network_table),
        st.dictionaries(names, addresses, min_size=1).filter(
            lambda held: len(set(held.values())) == len(held)
        ),
    )
)
def test_what_is_written_is_read_again_one_line_a_lease(held: dict[str, dict[str, str]]) -> None:
    text = LockFile({}, held).text()
    found = leases.parsed(text, LOCK)
    assert (found.given(), found.problems) == (held, ())
    lines = text.splitlines()
    assert all(one.name in lines[one.line - 1] and one.value in lines[one.line - 1] for one in found.lines)


def test_the_order_of_the_lines_does_not_depend_on_the_order_of_leasing() -> None:
    held = {f"n{index}": f"10.0.0.{index}" for index in range(2, 30)}
    backwards = dict(reversed(held.items()))
    assert LockFile({}, {"network.lan": backwards}).text() == LockFile({}, {"network.lan": held}).text()
