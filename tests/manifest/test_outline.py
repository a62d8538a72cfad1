from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import ManifestError
from bangerbuild.manifest.outline import outline

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_store_is_where_the_first_manifest_says(tmp_path: Path) -> None:
    plain = write(tmp_path / "plain.toml", "[vm.web]\n")
    named = write(tmp_path / "named.toml", '[store]\npath = "elsewhere"\n')
    assert outline([plain], store=None).store == tmp_path / "build"
    assert outline([named], store=None).store == tmp_path / "elsewhere"
    assert outline([named], store=tmp_path / "given").store == tmp_path / "given"


def test_vms_of_all_files_are_known_with_the_files_of_their_keys(tmp_path: Path) -> None:
    for name in ("mine.pub", "theirs.pub"):
        (tmp_path / name).touch()
    write(tmp_path / "more.toml", "[vm.db]\n")
    first = write(
        tmp_path / "vm.toml",
        """
include = ["more.toml"]
[defaults]
ssh_authorized_keys = ["mine.pub"]
[vm.web]
[vm.dev]
ssh_authorized_keys = ["theirs.pub", "ssh-ed25519 AAAA me@host", "gone.pub"]
""",
    )
    found = outline([first], store=None)
    assert found.vms == {"db", "dev", "web"}
    assert found.key_files["web"] == (tmp_path / "mine.pub",)
    assert found.key_files["dev"] == (tmp_path / "theirs.pub",)
    assert found.key_files["db"] == ()


@pytest.mark.parametrize(
    "text",
    [
        "[vm.web]\nunknown = true\n",
        "store = 7\nvm = { web = 3 }\n",
        '[store]\npath = 7\n[vm.web]\nssh_authorized_keys = "none"\n',
        '[vm.web]\nssh_authorized_keys = [7, "~nobody-knows/key.pub", "a\\u0000b"]\n',
        "defaults = []\n[vm.web]\n",
    ],
)
def test_what_is_wrong_otherwise_does_not_matter(tmp_path: Path, text: str) -> None:
    found = outline([write(tmp_path / "vm.toml", text)], store=None)
    assert (found.store, set(found.vms)) == (tmp_path / "build", {"web"})


@pytest.mark.parametrize("text", [None, "this is no TOML"])
def test_without_any_manifest_the_store_has_to_be_given(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "vm.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ManifestError):
        outline([path], store=None)
    assert outline([path], store=tmp_path / "given").vms == frozenset()
