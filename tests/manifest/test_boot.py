"""An image's kernel, initrd and command line: one source each, and what goes with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bangerbuild.model import HostPath, Pin
from bangerbuild.sources.boot_file import HostBootFile
from bangerbuild.sources.boot_guest import GuestBootFile
from bangerbuild.sources.url import UrlBootFile
from tests.manifest.loading import loaded, problems_of, write

IMAGE = '[image.a]\nrootfs.tar = "root.tar"\n'
DIGEST = "ab" * 32


def said(text: str) -> list[tuple[int, str, str]]:
    return [(problem.line, problem.key, problem.message) for problem in problems_of(IMAGE + text)]


def test_no_key_is_no_boot_file() -> None:
    image = loaded(IMAGE).images["a"]
    assert (image.kernel, image.initrd, image.cmdline) == (None, None, None)


def test_a_plain_value_is_a_file_and_a_table_says_what_else() -> None:
    write("vmlinuz", "")
    image = loaded(
        f'{IMAGE}kernel = "vmlinuz"\ninitrd = {{ guest = "/boot/initrd.img-*" }}\ncmdline = "quiet"\n'
    ).images["a"]
    assert image.kernel == HostBootFile(HostPath(Path.cwd() / "vmlinuz", "vmlinuz"))
    assert image.initrd == GuestBootFile("/boot/initrd.img-*")
    assert image.cmdline == "quiet"
    text = f'{IMAGE}kernel = {{ url = "https://x/vmlinuz", sha256 = "{DIGEST}" }}\n'
    assert loaded(text).images["a"].kernel == UrlBootFile("https://x/vmlinuz", Pin(DIGEST))


def test_two_sources_are_one_too_many() -> None:
    text = 'kernel = { guest = "/boot/vmlinuz", url = "https://x/vmlinuz" }\n'
    assert said(text) == [(3, "image.a.kernel", "more than one source: guest and url")]


def test_a_table_without_a_source_is_told_once() -> None:
    assert len(said("kernel = {}\n")) == 1
    assert len(said(f'kernel = {{ sha256 = "{DIGEST}" }}\n')) == 1


def test_a_key_of_another_source_is_told_with_the_one_it_goes_with() -> None:
    text = f'kernel = {{ guest = "/boot/vmlinuz", sha256 = "{DIGEST}" }}\n'
    assert said(text) == [(3, "image.a.kernel.sha256", "'sha256' goes with 'url' only")]


def test_an_initrd_needs_a_kernel() -> None:
    (problem,) = problems_of(IMAGE + 'initrd = { guest = "/boot/initrd" }\n')
    assert (problem.key, problem.message) == ("image.a.initrd", "an initrd, but no kernel")
    assert problem.hint == "give kernel, or leave initrd out"


@pytest.mark.parametrize("word", ["root=/dev/vda", "root=LABEL=x", "root="])
def test_the_root_device_is_not_for_the_manifest_to_say(word: str) -> None:
    text = f'kernel = {{ guest = "/boot/vmlinuz" }}\ncmdline = "quiet {word}"\n'
    assert said(text) == [(4, "image.a.cmdline", f"cmdline holds '{word}'")]


@pytest.mark.parametrize("word", ["rootwait", "rootfstype=ext4", "xroot=/dev/vda"])
def test_words_that_only_look_like_it_are_fine(word: str) -> None:
    text = f'{IMAGE}kernel = {{ guest = "/boot/vmlinuz" }}\ncmdline = "{word}"\n'
    assert loaded(text).images["a"].cmdline == word
