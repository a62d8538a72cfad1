from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.running import login
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path


def settings(*words: str) -> dict[str, str]:
    """What ssh itself makes of a command line."""
    done = subprocess.run(
        [need("ssh", "openssh-client"), "-F", "/dev/null", "-G", *words],
        capture_output=True,
        text=True,
        check=True,
    )
    pairs = (line.partition(" ") for line in done.stdout.splitlines())
    return {name: value for name, _, value in pairs}


def test_ssh_knows_the_way_and_asks_nobody_about_the_host(tmp_path: Path) -> None:
    key = tmp_path / '100% a "key"'
    key.touch()
    words = login.arguments("web", "127.0.0.1:40022", (key,), ())
    found = settings(*words[1:])
    assert (found["hostname"], found["port"], found["user"]) == ("127.0.0.1", "40022", "root")
    assert found["stricthostkeychecking"] == "accept-new"
    assert found["userknownhostsfile"] == "run/known_hosts"
    assert found["globalknownhostsfile"] == "/dev/null"
    assert found["hostkeyalias"] == "bangerbuild-web"
    assert (found["identityfile"], found["identitiesonly"]) == (str(key).replace("%", "%%"), "yes")


def test_without_a_key_sshs_own_are_tried() -> None:
    found = settings(*login.arguments("web", "172.16.0.10:22", (), ())[1:])
    assert found["identitiesonly"] == "no"


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (["exit 7"], "exit 7"),
        (["cat", "/etc/hostname"], "cat /etc/hostname"),
        (["sh", "-c", "exit 7"], "sh -c 'exit 7'"),
        (["echo", "a  b", "$HOME"], "echo 'a  b' '$HOME'"),
    ],
)
def test_one_word_is_a_line_and_several_are_arguments(command: list[str], line: str) -> None:
    assert login.arguments("web", "h:22", (), command)[-2:] == ["h", line]


def test_a_private_key_lies_beside_the_public_one(tmp_path: Path) -> None:
    for name in ("id.pub", "id", "lone.pub", "keys"):
        (tmp_path / name).touch()
    public = [tmp_path / name for name in ("id.pub", "lone.pub", "keys", "id.pub")]
    assert login.private_keys(public) == (tmp_path / "id",)
