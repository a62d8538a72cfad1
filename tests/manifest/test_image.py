"""Images of a manifest: typed sources, wherever their bytes lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.declared import FileSync, Image, InlineFile
from bangerbuild.formats.oci.platforms import host_platform
from bangerbuild.manifest import load
from bangerbuild.model import HostPath, Pin
from bangerbuild.sources.mmdebstrap import MmdebstrapSource
from bangerbuild.sources.oci_archive import OciArchiveSource
from bangerbuild.sources.oci_layout import OciLayoutSource
from bangerbuild.sources.oci_registry import OciRegistrySource
from bangerbuild.sources.other_image import OtherImage
from bangerbuild.sources.tar import TarSource
from bangerbuild.sources.url import UrlBootFile, UrlSource

if TYPE_CHECKING:
    from bangerbuild.sources.source import ImageSource

DIGEST = "ab" * 32
URL = "https://example.org/x.tar"
PACKAGES = """
[image.a.rootfs.mmdebstrap]
suite = "sid"
packages = ["a", "b/sid"]
mirror = "deb http://x sid main"
arguments = ["--variant=apt"]
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with what the manifests of these tests name."""
    monkeypatch.chdir(tmp_path)
    for name in ("root.tar", "image.tar"):
        (tmp_path / name).touch()
    for name in ("tree", "layout"):
        (tmp_path / name).mkdir()
    return tmp_path


def images(text: str) -> dict[str, Image]:
    Path("vm.toml").write_text(text)
    return dict(load([Path("vm.toml")]).images)


def rootfs(text: str) -> ImageSource:
    return images(f"[image.a.rootfs]\n{text}")["a"].rootfs


def host(name: str) -> HostPath:
    return HostPath(Path.cwd() / name, name)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (f'url = "{URL}"', UrlSource(URL)),
        (f'url = "{URL}"\nsha256 = "{DIGEST.upper()}"', UrlSource(URL, Pin(DIGEST))),
        ('url = "file:///srv/x.tar"', UrlSource("file:///srv/x.tar")),
        ('oci = "docker://debian"', OciRegistrySource(reference="docker://debian")),
        (
            'oci = "docker://debian"\nplatform = "linux/aarch64"',
            OciRegistrySource(reference="docker://debian", platform="linux/arm64"),
        ),
        ('image = "b"', OtherImage("b")),
        ('mmdebstrap.suite = "bookworm"', MmdebstrapSource("bookworm")),
        (
            PACKAGES,
            MmdebstrapSource("sid", ("a", "b/sid"), "deb http://x sid main", ("--variant=apt",)),
        ),
    ],
)
def test_a_source_elsewhere_keeps_what_names_it(text: str, source: ImageSource) -> None:
    other = '\n[image.b.rootfs]\ntar = "root.tar"\n'
    assert images(f"[image.a.rootfs]\n{text}{other}")["a"].rootfs == source


def test_a_layout_and_archives_of_container_images_are_paths_of_the_host() -> None:
    here = str(host_platform())
    assert rootfs('oci = "oci:layout:v1"') == OciLayoutSource(
        reference="oci:layout:v1", layout=host("layout")
    )
    assert rootfs('oci = "oci-archive:image.tar"') == OciArchiveSource(
        host("image.tar"), "oci-archive", None, here
    )
    assert rootfs('oci = "docker-archive:image.tar:x:1"\nplatform = "linux/arm/v7"') == OciArchiveSource(
        host("image.tar"), "docker-archive", "x:1", "linux/arm/v7"
    )


def test_a_layout_is_looked_for_beside_the_manifest_that_names_it(directory: Path) -> None:
    (directory / "below/layout").mkdir(parents=True)
    (directory / "below/images.toml").write_text('[image.a.rootfs]\noci = "oci:layout"\n')
    found = images('include = ["below/images.toml"]')["a"].rootfs
    assert isinstance(found, OciLayoutSource)
    assert found.layout == HostPath(directory / "below/layout", "layout")


@pytest.mark.parametrize(
    "text",
    [f'url = "{URL}"', 'oci = "docker://x"', 'oci = "oci-archive:image.tar"', 'mmdebstrap.suite = "sid"'],
)
def test_sources_that_unpack_have_a_size_and_a_limit(text: str) -> None:
    source = rootfs(f'{text}\nsize = "1GiB"\nmax_size = "8GiB"')
    assert isinstance(source, UrlSource | OciRegistrySource | OciArchiveSource | MmdebstrapSource)
    assert (source.size_bytes, source.max_size_bytes) == (1 << 30, 8 << 30)


def test_a_tarball_has_a_limit_too() -> None:
    assert rootfs('tar = "root.tar"\nmax_size = "8GiB"') == TarSource(host("root.tar"), None, 8 << 30)


def test_an_image_from_another_may_be_larger() -> None:
    text = '[image.a]\nrootfs.tar = "root.tar"\n[image.b]\nrootfs = { image = "a", size = "4GiB" }'
    assert images(text)["b"].rootfs == OtherImage("a", size_bytes=4 << 30)


def test_an_image_may_start_from_one_of_another_file_that_comes_later(directory: Path) -> None:
    (directory / "base.toml").write_text('[image.base]\nrootfs.tar = "root.tar"\nwork_seed.directory="tree"')
    found = images(
        'include = ["base.toml"]\n[image.b]\nrootfs.image = "base"\nwork_seed.image = "base"\n'
        '[image.c]\nrootfs.image = "b"'
    )
    assert (found["b"].rootfs, found["b"].work_seed) == (OtherImage("base"), OtherImage("base", "work_seed"))
    assert found["c"].rootfs == OtherImage("b")


def test_a_kernel_and_an_initrd_may_be_downloads() -> None:
    image = images(f"""
[image.a]
rootfs.tar = "root.tar"
kernel = {{ url = "https://x/vmlinuz", sha256 = "{DIGEST}" }}
initrd.url = "https://x/initrd"
""")["a"]
    assert image.kernel == UrlBootFile("https://x/vmlinuz", Pin(DIGEST))
    assert image.initrd == UrlBootFile("https://x/initrd")


def test_an_image_has_files_of_its_own() -> None:
    image = images("""
[image.a]
rootfs.tar = "root.tar"
[[image.a.file]]
guest = "~/motd"
content = "hello"
mode = "0600"
[[image.a.file_sync]]
host = "tree"
guest = "/opt/tree"
""")["a"]
    assert image.files == (InlineFile("/root/motd", "hello", 0o600),)
    assert image.file_syncs == (FileSync(host("tree"), "/opt/tree"),)


def test_files_of_every_vm_are_no_files_of_an_image() -> None:
    text = '[[file]]\nguest = "/a"\ncontent = ""\n[image.a]\nrootfs.tar = "root.tar"'
    assert images(text)["a"].files == ()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://example.org/a/b.tar", "https://example.org/a/b.tar"),
        ("https://me:secret@example.org:8443/b?token=secret#x", "https://example.org:8443/b?…"),
        ("https://me@example.org", "https://example.org"),
        ("file:///srv/x@y.tar", "file:///srv/x@y.tar"),
    ],
)
def test_no_message_shows_what_is_secret_in_an_address(url: str, shown: str) -> None:
    assert (UrlSource(url).written, UrlBootFile(url).written) == (shown, shown)
