"""Public keys, literal or in files; nothing of a private one is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.manifest import load
from bangerbuild.manifest.keys import public_keys
from bangerbuild.manifest.problems import InvalidValueError
from tests.manifest.loading import PRIVATE_KEY, vm, write
from tests.manifests import KEY, MINIMAL


def test_authorized_keys_are_literal_or_read_from_files_in_the_order_given() -> None:
    write("keys.pub", f"# two keys\n\n{KEY}\r\n  ssh-rsa AAAAB3NzaC1yc2E= two\n")
    option = f'from="10.0.0.0/8,::1",no-pty {KEY}'
    found = vm(f"""
[vm.web]
image = "debian"
ssh_authorized_keys = ['{option}', "keys.pub"]
""")
    assert found.authorized_keys == (option, KEY, "ssh-rsa AAAAB3NzaC1yc2E= two")


def test_a_key_file_of_the_defaults_starts_from_the_manifest() -> None:
    write("sub/id.pub", KEY)
    write("sub/root.tar", "")
    manifest = load([write("sub/vm.toml", '[defaults]\nssh_authorized_keys = ["id.pub"]\n' + MINIMAL)])
    assert manifest.vms["web"].authorized_keys == (KEY,)


def test_a_line_break_at_the_end_of_a_literal_key_does_no_harm() -> None:
    assert vm(f'[vm.web]\nimage = "debian"\nssh_authorized_keys = ["""\n{KEY}\n"""]').authorized_keys == (
        KEY,
    )


@pytest.mark.parametrize("text", [PRIVATE_KEY, "id", "id.ppk"])
def test_nothing_of_a_private_key_is_shown(text: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        public_keys(text, Path())
    assert "c2VjcmV0" not in f"{caught.value} {caught.value.hint}"


@given(
    st.text(max_size=40)
    | st.builds(lambda at, odd: KEY[:at] + odd + KEY[at:], st.integers(0, len(KEY)), st.text(max_size=3))
)
def test_any_text_for_a_key_is_a_key_or_refused(text: str) -> None:
    try:
        keys = public_keys(text, Path("/nonexistent"))
    except InvalidValueError:
        return
    assert keys == (text.strip(),)
    assert not set("\0\r\n") & set(keys[0])
