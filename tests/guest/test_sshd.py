from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.guest.sshd import authorized_keys, drop_in, include_line, reads_drop_ins_first
from bangerbuild.tree import GuestDirectory, GuestEdits, GuestFile
from tests.guest.view import DictView, guest, written

if TYPE_CHECKING:
    from tests.guest.debian_sshd import Sshd

DEBIAN = b"""\

# This is the sshd server system-wide configuration file.  \xe9

Include /etc/ssh/sshd_config.d/*.conf

#Port 22
UsePAM yes
"""


def test_the_drop_in_holds_four_settings_for_all_and_for_root_before_any_block_of_the_image() -> None:
    text = written(drop_in(guest(), has_keys=True))["/etc/ssh/sshd_config.d/00-bangerbuild.conf"].decode()
    assert [line for line in text.splitlines() if line and not line.startswith("#")] == [
        "PermitRootLogin prohibit-password",
        "PubkeyAuthentication yes",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "Match User root",
        "    PermitRootLogin prohibit-password",
        "    PubkeyAuthentication yes",
        "    PasswordAuthentication no",
        "    KbdInteractiveAuthentication no",
        "    AuthorizedKeysFile /root/.ssh/authorized_keys",
        "Match all",
    ]


@pytest.mark.parametrize(
    "config",
    [
        DEBIAN,
        b"include /etc/ssh/sshd_config.d/*.conf",
        b" \tINCLUDE\t/etc/ssh/sshd_config.d/*.conf # all of them\r\n",
        b'Include "/etc/ssh/sshd_config.d/*.conf"\n',
        b'"Include" /etc/ssh/sshd_config.d/*.conf\n',
        b"Include=/etc/ssh/sshd_config.d/*.conf\n",
        b"Include = sshd_config.d/*.conf\n",
        b"Include /etc/ssh/sshd_config.d/* /etc/other.conf\n",
        b"Include /etc/ssh/*.d/[0-9]*.conf\n",
    ],
)
def test_an_include_of_the_directory_before_all_settings_is_found(config: bytes) -> None:
    assert reads_drop_ins_first(config)


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"# only a comment\n",
        b"#Include /etc/ssh/sshd_config.d/*.conf\n",
        b"PermitRootLogin yes\nInclude /etc/ssh/sshd_config.d/*.conf\n",
        b"Match User git\n  Include /etc/ssh/sshd_config.d/*.conf\n",
        b"Include /etc/ssh/other.conf\nInclude /etc/ssh/sshd_config.d/*.conf\n",
        b"Include /etc/ssh/other.conf /etc/ssh/sshd_config.d/*.conf\n",
        b"Include /etc/ssh/sshd_config.d/50-*.conf\n",
        b"Include /etc/ssh/*\n",
        b"Include /etc/ssh/sshd_config.d\n",
        b"Include # /etc/ssh/sshd_config.d/*.conf\n",
        b'Include "/etc/ssh/sshd_config.d/*.conf\n',
        b"IncludeX /etc/ssh/sshd_config.d/*.conf\n",
    ],
)
def test_anything_else_does_not_count_as_reading_the_directory_first(config: bytes) -> None:
    assert not reads_drop_ins_first(config)


def test_an_sshd_config_that_reads_the_directory_first_is_left_alone() -> None:
    assert include_line(guest({"/etc/ssh/sshd_config": DEBIAN})) == GuestEdits()


def test_an_image_without_sshd_config_gets_none() -> None:
    assert include_line(guest()) == GuestEdits()


def test_a_missing_include_goes_first_with_a_warning_and_all_other_bytes_stay() -> None:
    old = b"\xe9 # odd\r\nPermitRootLogin yes\nInclude /etc/ssh/sshd_config.d/*.conf"
    outcome = include_line(guest({"/etc/ssh/sshd_config": old}))
    new = b"Include /etc/ssh/sshd_config.d/00-bangerbuild.conf\n" + old
    assert outcome.changes == (GuestFile("/etc/ssh/sshd_config", new, mode=0o644),)
    [warning] = outcome.warnings
    assert "/etc/ssh/sshd_config" in warning
    assert reads_drop_ins_first(new)


def test_a_directory_that_nothing_reads_is_included_for_the_declared_files_in_it() -> None:
    [change] = include_line(guest({"/etc/ssh/sshd_config": b"Port 22\n"})).changes
    assert isinstance(change, GuestFile)
    assert change.content == b"Include /etc/ssh/sshd_config.d/*.conf\nPort 22\n"


def test_the_rewritten_sshd_config_keeps_its_mode() -> None:
    view = DictView({"/etc/ssh/sshd_config": b"Port 22\n"}, modes={"/etc/ssh/sshd_config": 0o600})
    [change] = include_line(view).changes
    assert isinstance(change, GuestFile)
    assert change.mode == 0o600


def test_keys_stand_one_a_line_in_a_chain_that_strict_modes_accepts() -> None:
    keys = ("ssh-ed25519 AAAA me@host", "ssh-rsa BBBB caf\udce9")
    assert authorized_keys(keys).changes == (
        GuestDirectory("/root", 0o700, 0, 0),
        GuestDirectory("/root/.ssh", 0o700, 0, 0),
        GuestFile(
            "/root/.ssh/authorized_keys", b"ssh-ed25519 AAAA me@host\nssh-rsa BBBB caf\xe9\n", mode=0o600
        ),
    )


def test_a_line_longer_than_any_path_includes_nothing() -> None:
    assert not reads_drop_ins_first(b"Include \\" + b"\\" * 900_000)
    assert not reads_drop_ins_first(b"Include " + b"/a*" * 300_000)


# Judged by sshd

ROOT_IN = {
    "permitrootlogin": "without-password",  # what sshd -T calls prohibit-password
    "pubkeyauthentication": "yes",
    "authorizedkeysfile": "/root/.ssh/authorized_keys",
}
NO_PASSWORDS = {"passwordauthentication": "no", "kbdinteractiveauthentication": "no"}
OPPOSITE = b"PermitRootLogin no\nPasswordAuthentication yes\nKbdInteractiveAuthentication yes\n"


def patched(files: dict[str, bytes]) -> dict[str, bytes]:
    """These files of an image, with what the default writes."""
    view = DictView(files)
    return {**files, **written(drop_in(view, has_keys=True)), **written(include_line(view))}


@pytest.mark.parametrize(
    "files",
    [
        {"/etc/ssh/sshd_config": DEBIAN},
        {"/etc/ssh/sshd_config": DEBIAN + OPPOSITE},
        {"/etc/ssh/sshd_config": DEBIAN, "/etc/ssh/sshd_config.d/50-cloud-init.conf": OPPOSITE},
        {"/etc/ssh/sshd_config": OPPOSITE + b"AuthorizedKeysFile none\n"},
        {"/etc/ssh/sshd_config": DEBIAN + b"Match all\nAuthorizedKeysFile /etc/keys/%u\n"},
        {
            # Read twice, the subsystem would keep sshd from starting.
            "/etc/ssh/sshd_config": b"Port 22\n" + DEBIAN,
            "/etc/ssh/sshd_config.d/50-sftp.conf": b"Subsystem sftp internal-sftp\n",
        },
        {
            # Left behind, and never read.
            "/etc/ssh/sshd_config": OPPOSITE,
            "/etc/ssh/sshd_config.d/99-old.conf": b"NoSuchSetting yes\n",
        },
        {"/etc/ssh/sshd_config": DEBIAN, "/etc/ssh/sshd_config.d/00-aaa.conf": OPPOSITE},
    ],
)
def test_root_gets_in_by_its_key_and_nobody_by_a_password(debian_sshd: Sshd, files: dict[str, bytes]) -> None:
    for user in ("root", "dev"):
        settings = debian_sshd.settings(patched(files), user)
        assert settings.items() >= NO_PASSWORDS.items()
        if user == "root":
            assert settings.items() >= ROOT_IN.items()


@pytest.mark.parametrize("criteria", [b"Address *", b"Group root", b"User root", b"User *,!dev", b"all"])
def test_no_match_block_of_the_image_keeps_root_out(debian_sshd: Sshd, criteria: bytes) -> None:
    block = b"Match " + criteria + b"\n" + OPPOSITE + b"PubkeyAuthentication no\n"
    settings = debian_sshd.settings(patched({"/etc/ssh/sshd_config": DEBIAN + block}), "root")
    assert settings.items() >= {**ROOT_IN, **NO_PASSWORDS}.items()


@pytest.mark.parametrize(
    ("config", "keys"),
    [
        (b"", ".ssh/authorized_keys .ssh/authorized_keys2"),
        (b"AuthorizedKeysFile /etc/keys/%u .ssh/authorized_keys\n", "/etc/keys/%u .ssh/authorized_keys"),
        (b"Match User dev\nAuthorizedKeysFile /srv/dev.keys\n", "/srv/dev.keys"),
    ],
)
@pytest.mark.parametrize("place", ["/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/50-image.conf"])
def test_the_images_other_users_keep_their_keys(
    debian_sshd: Sshd, place: str, config: bytes, keys: str
) -> None:
    files = {"/etc/ssh/sshd_config": DEBIAN}
    files[place] = files.get(place, b"") + config
    assert debian_sshd.settings(patched(files), "dev")["authorizedkeysfile"] == keys


def test_what_is_read_after_the_drop_in_is_not_in_its_match_block(debian_sshd: Sshd) -> None:
    files = {
        "/etc/ssh/sshd_config": b"Include /etc/ssh/sshd_config.d/*.conf\nPort 2222\nMaxAuthTries 3\n",
        "/etc/ssh/sshd_config.d/50-image.conf": b"Subsystem sftp internal-sftp\nLoginGraceTime 30\n",
    }
    for user in ("root", "dev"):
        settings = debian_sshd.settings(patched(files), user)
        assert {
            "port": "2222",
            "maxauthtries": "3",
            "logingracetime": "30",
            "subsystem": "sftp internal-sftp",
        }.items() <= settings.items()
