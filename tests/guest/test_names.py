from __future__ import annotations

from bangerbuild.guest.names import hostname_file, hosts_file, resolv_conf_file
from bangerbuild.tree import GuestFile


def test_the_hostname_stands_on_a_line_of_its_own() -> None:
    assert hostname_file("web") == GuestFile("/etc/hostname", b"web\n")


def test_hosts_names_the_loopback_and_this_machine() -> None:
    assert hosts_file("web") == GuestFile("/etc/hosts", b"127.0.0.1 localhost\n127.0.1.1 web\n")


def test_hosts_gives_a_dotted_name_its_first_label_too() -> None:
    assert hosts_file("web.example.org").content.splitlines()[1] == b"127.0.1.1 web.example.org web"


def test_each_dns_server_is_one_nameserver_line_in_its_order() -> None:
    file = resolv_conf_file(("9.9.9.9", "1.1.1.1"))
    assert file == GuestFile("/etc/resolv.conf", b"nameserver 9.9.9.9\nnameserver 1.1.1.1\n")
