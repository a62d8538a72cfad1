from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.guest.names import hostname_file, hosts_file, resolv_conf_file
from bangerbuild.tree import GuestFile


def test_the_hostname_stands_on_a_line_of_its_own() -> None:
    assert hostname_file("web") == GuestFile("/etc/hostname", b"web\n")


def test_hosts_names_the_loopback_and_this_machine() -> None:
    assert hosts_file("web") == GuestFile("/etc/hosts", b"127.0.0.1 localhost\n127.0.1.1 web\n")


def test_hosts_gives_a_dotted_name_its_first_label_too() -> None:
    assert hosts_file("web.example.org").content.splitlines()[1] == b"127.0.1.1 web.example.org web"


KEPT = b"""\
# Names that this image knows \xe9

::1     localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes\r
127.0.0.1 localhost localhost.localdomain registry
127.0.0.1
127.0.1.10 other
#127.0.1.1 old
\t10.0.0.5\tdb.example.org  db # the database
"""
OURS = b"127.0.0.1 localhost\n127.0.1.1 web\n"


def test_the_images_other_lines_stay_byte_for_byte() -> None:
    replaced = b"127.0.0.1\tlocalhost # loopback\n  127.0.1.1 old.example.org old\n"
    assert hosts_file("web", replaced + KEPT).content == OURS + KEPT
    assert hosts_file("web", KEPT.removesuffix(b"\n")).content == OURS + KEPT


LINES = st.lists(
    st.sampled_from(KEPT.splitlines() + OURS.splitlines()) | st.binary(max_size=20).map(b"127.0.0.1".__add__)
)


@given(LINES)
def test_hosts_applied_to_its_own_result_changes_nothing(lines: list[bytes]) -> None:
    once = hosts_file("web", b"\n".join(lines)).content
    assert hosts_file("web", once).content == once


def test_a_new_name_takes_the_place_of_the_old_one() -> None:
    renamed = hosts_file("db.example.org", hosts_file("web", KEPT).content)
    assert renamed == hosts_file("db.example.org", KEPT)


def test_each_dns_server_is_one_nameserver_line_in_its_order() -> None:
    file = resolv_conf_file(("9.9.9.9", "1.1.1.1"))
    assert file == GuestFile("/etc/resolv.conf", b"nameserver 9.9.9.9\nnameserver 1.1.1.1\n")
