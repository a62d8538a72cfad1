from __future__ import annotations

import pytest

from bangerbuild.declared import Network
from bangerbuild.launch import cmdline

KERNEL_SETS_IT = Network("cmdline", "172.16.0.10/24", "172.16.0.1", ("1.1.1.1", "9.9.9.9", "8.8.8.8"))


def test_the_first_virtio_disk_is_the_root() -> None:
    assert cmdline.with_root("console=ttyS0 quiet") == "console=ttyS0 quiet root=/dev/vda rw"


def test_a_root_that_is_only_read_is_mounted_so() -> None:
    assert cmdline.with_root("quiet", is_read_only=True) == "quiet root=/dev/vda ro"


def test_words_of_a_format_come_last_before_the_dashes_as_the_kernel_takes_the_last_of_a_name() -> None:
    words = ("init=/bin/join", "join.debug")
    line = "init=/bin/busybox panic=1 -- single"
    wanted = "init=/bin/busybox panic=1 init=/bin/join join.debug -- single"
    assert cmdline.with_words(line, words) == wanted
    assert cmdline.with_words("", words) == " ".join(words)


def test_a_format_without_words_leaves_the_command_line_as_it_is() -> None:
    assert cmdline.with_words(" quiet  splash ", ()) == " quiet  splash "


def test_an_empty_command_line_gets_only_what_is_added() -> None:
    assert cmdline.with_root("") == "root=/dev/vda rw"


def test_a_declared_root_stays_the_root() -> None:
    assert cmdline.with_root("root=LABEL=mine quiet") == "root=LABEL=mine quiet"


def test_a_word_that_only_ends_in_root_is_none() -> None:
    assert cmdline.with_root("x-root=1").endswith(" root=/dev/vda rw")


def test_what_follows_two_dashes_stays_with_init() -> None:
    assert cmdline.with_root("quiet -- single root=x") == "quiet root=/dev/vda rw -- single root=x"


def test_a_command_line_that_is_inits_alone_gets_its_root_before_the_dashes() -> None:
    assert cmdline.with_root("-- single") == "root=/dev/vda rw -- single"


def test_the_kernel_is_told_the_address_and_the_two_servers_it_has_room_for() -> None:
    assert (
        cmdline.with_network("quiet", KERNEL_SETS_IT, "web.example.org")
        == "quiet ip=172.16.0.10::172.16.0.1:255.255.255.0:web.example.org:eth0:off:1.1.1.1:9.9.9.9"
    )


def test_no_gateway_and_no_servers_leave_their_places_empty() -> None:
    network = Network("cmdline", "10.0.0.2/30")
    assert cmdline.with_network("", network, "web") == "ip=10.0.0.2:::255.255.255.252:web:eth0:off"


def test_a_declared_ip_parameter_stays() -> None:
    assert cmdline.with_network("ip=dhcp", KERNEL_SETS_IT, "web") == "ip=dhcp"


@pytest.mark.parametrize("network", [Network("bootstrap", "172.16.0.10/24"), Network()])
def test_the_other_modes_tell_the_kernel_nothing(network: Network) -> None:
    assert cmdline.with_network("quiet", network, "web") == "quiet"


def test_what_was_declared_is_kept_to_the_letter() -> None:
    assert (
        cmdline.with_root('dyndbg="file a.c +p;  file b.c"')
        == 'dyndbg="file a.c +p;  file b.c" root=/dev/vda rw'
    )
