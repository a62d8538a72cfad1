"""Dockerfiles: built by buildah over a registry on loopback, and by stand-ins for podman and docker."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline
from bangerbuild.errors import FetchError, OfflineError, SourceError, ToolError
from bangerbuild.fetch import image_builders
from bangerbuild.host import process
from bangerbuild.model import ReasonCode, Verb
from bangerbuild.report.reporters import Plain
from bangerbuild.sources.dockerfile import DockerfileSource, together
from tests import PROJECT
from tests.formats.oci.making import layout_of, symlink, tarball
from tests.formats.tarmaking import member
from tests.need import need
from tests.projects import Disk
from tests.registry import running_registry
from tests.sources.building import ID, built, declared, locked, problems
from tests.waiting import assert_ends

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.projects import Project
    from tests.registry import Registry

pytestmark = pytest.mark.root

DOCKERFILE = """\
ARG VERSION=none
FROM {address}/base:$VERSION AS made
ARG WORD=hello
SHELL ["/bin/busybox", "sh", "-e", "-c"]
RUN echo "$WORD$0" > /made
FROM scratch AS small
COPY --from=made /made /made
COPY --from={address}/base:1 /version /copied
COPY . /context/
FROM small
COPY --from=0 /version /other
"""
TEXT = """\
[image.debian.rootfs]
dockerfile = "app"
target = "small"
args = { VERSION = "1" }
size = "16MiB"
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """With the image `base:1`, which has a shell."""
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        push_base(running, "1", "1")
        yield running


def push_base(registry: Registry, content: str, tag: str) -> None:
    busybox = Path(need("busybox", "busybox-static")).read_bytes()
    layout = registry.place / f"base-{content}"
    shutil.rmtree(layout, ignore_errors=True)
    shell = member(b"bin/busybox", busybox, mode=0o755)
    layer = tarball(shell, symlink(b"bin/sh", b"busybox"), member(b"version", content.encode()))
    registry.push(f"oci:{layout_of(layout, layer, tag=tag)}:{tag}", f"base:{tag}")


@pytest.fixture
def app(registry: Registry, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The context; the cache is where no name of an image could be."""
    need("buildah")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "Cache of Bob_"))
    for name, value in registry.environ.items():
        monkeypatch.setenv(name, value)
    path = project.directory / "app"
    (path / "dir").mkdir(parents=True)
    (path / "Dockerfile").write_text(DOCKERFILE.format(address=registry.address))
    (path / "kept").write_text("kept")
    (path / "kept").chmod(0o640)
    (path / "dir/ignored").write_text("ignored")
    (path / ".dockerignore").write_text("**/ignored\n")
    return path


def no_builder(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object) -> None:
        raise AssertionError("a builder was started")

    monkeypatch.setattr(image_builders, "build", started)


def test_it_is_built_with_its_images_pinned_and_then_no_builder_is_started(
    project: Project, app: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = built(project, TEXT)
    assert [disk.text(f"/{name}") for name in ("made", "copied", "context/kept")] == [
        "hellosh\n",
        "1",
        "kept",
    ]
    assert disk.names("/context") == {".dockerignore", "Dockerfile", "dir", "kept"}
    assert (disk.stat("/context/kept").mode, disk.names("/context/dir")) == ("0640", set())
    entry = locked(project).entries[ID]
    digests = entry.words["digests"]
    assert entry.words["from"] == [f"{registry.address}/base:1"]
    assert entry.pin.digest == together([*digests])

    no_builder(monkeypatch)
    push_base(registry, "moved", "1")
    (app / "dir/ignored").write_text("something else")
    assert project.plan()[ID].verb is Verb.KEEP
    shutil.rmtree(project.store)
    project.offline = True
    assert built(project, TEXT).text("/copied") == "1"
    push_base(registry, "1", "1")


def test_what_counts_makes_a_new_image_and_the_lock_file_moves_on_demand(
    project: Project, app: Path, registry: Registry
) -> None:
    first = built(project, TEXT).path
    for name, text, told in (("Dockerfile", "\n", "app/Dockerfile"), ("kept", "more", "app")):
        (app / name).write_text((app / name).read_text() + text)
        action = project.plan()[ID]
        assert action.verb is Verb.CREATE
        changed = [one.facts["path"] for one in action.reasons if one.code is ReasonCode.SOURCE_CHANGED]
        assert told in changed, action.reasons
        assert {one.code for one in action.reasons} == {ReasonCode.SOURCE_CHANGED}
    second = built(project, TEXT.replace('"1" }', '"1", WORD = "secret word" }'))
    assert (second.text("/made"), second.text("/context/kept")) == ("secret wordsh\n", "keptmore")
    assert first != second.path
    written = b"".join(path.read_bytes() for path in project.store.glob("state.db*"))
    assert b"secret word" not in written
    push_base(registry, "moved", "1")
    pipeline.lock(pipeline.load_request(project.request()), "debian")
    assert built(project, TEXT).text("/copied") == "moved"
    push_base(registry, "1", "1")


def test_a_build_that_fails_shows_what_it_printed(project: Project, app: Path) -> None:
    (app / "Dockerfile").write_text(
        (app / "Dockerfile").read_text().replace("RUN ", "RUN cat /missing; false ")
    )
    project.write(TEXT)
    error = project.error(ID)
    assert isinstance(error, FetchError)
    assert error.brief == "'dockerfile app' can't be built by buildah"
    assert "can't open '/missing'" in (error.details or "")
    project.offline = True
    assert isinstance(project.error(ID), OfflineError)


def test_an_image_that_is_not_there_is_told_with_the_dockerfile_that_starts_from_it(
    project: Project, app: Path, registry: Registry
) -> None:
    (app / "Dockerfile").write_text(f"FROM {registry.address}/nope:1\n")
    project.write('[image.debian.rootfs]\ndockerfile = "app"\n')
    with pytest.raises(SourceError, match=r"nope:1' is not there: .* \(a FROM of 'app/Dockerfile'\)$"):
        project.plan()


def test_what_the_builder_prints_is_shown_with_v_alone(
    project: Project, app: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (app / "Dockerfile").write_text("FROM scratch\nCOPY kept /\n")
    project.write('[image.debian.rootfs]\ndockerfile = "app"\n')
    for is_verbose, text in ((False, "1"), (True, "2")):
        (app / "kept").write_text(text)
        pipeline.apply(pipeline.load_request(project.request()), reporter=Plain(verbose=is_verbose))
        assert ("  dockerfile app: STEP 2/2: COPY kept /\n" in capsys.readouterr().err) is is_verbose


def test_what_a_build_runs_ends_with_bangerbuild(project: Project, app: Path) -> None:
    shutil.copy(need("busybox", "busybox-static"), app / "kept")
    run = "setsid sh -c 'echo runs $$; exec sleep 100000' & sleep 100000"
    (app / "Dockerfile").write_text(f"FROM scratch\nCOPY kept /bin/sh\nRUN {run}\n")
    project.write('[image.debian.rootfs]\ndockerfile = "app"\n')
    argv = [sys.executable, "-m", "bangerbuild", "apply", "-v"]
    environ = os.environ | {"PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(
        argv, cwd=project.directory, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as building:
        assert building.stderr is not None
        said = (line.partition(" runs ") for line in building.stderr)
        pid = next((int(number) for _, found, number in said if found and number.strip().isdigit()), None)
        building.kill()
    assert pid is not None
    assert_ends(pid)


def test_nothing_is_left_of_a_build(project: Project, app: Path, tmp_path: Path) -> None:
    built(project, TEXT)
    assert app.is_dir()
    assert [*(tmp_path / "Cache of Bob_/bangerbuild/layouts").iterdir()] == []
    assert [*(tmp_path / "Cache of Bob_/bangerbuild/drafts").iterdir()] == []


def test_a_host_without_a_builder_is_told_a_package(
    project: Project, app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (app / "Dockerfile").write_text("FROM scratch\nCOPY kept /\n")
    monkeypatch.setattr(image_builders, "BUILDERS", {})
    project.write(TEXT.replace('target = "small"\n', ""))
    error = project.error(ID)
    assert isinstance(error, ToolError)
    assert error.hint == "apt install buildah"
    assert process.find("sh")


def test_the_context_may_be_the_directory_of_the_manifest_the_store_and_the_cache(
    project: Project, app: Path, registry: Registry
) -> None:
    (project.directory / "Dockerfile").write_text(f"FROM {registry.address}/base:1\nCOPY . /context/\n")
    assert app.is_dir()
    text = '[image.debian.rootfs]\ndockerfile = "."\n'
    names = built(project, text).names("/context")
    assert names == {"Dockerfile", "app", "vm.toml"}
    assert project.plan()[ID].verb is Verb.KEEP


def test_what_starts_from_nothing_needs_no_lock_file(project: Project, app: Path) -> None:
    (app / "Dockerfile").write_text("FROM scratch\nCOPY kept /\n")
    disk = built(project, '[image.debian.rootfs]\ndockerfile = "app"\n')
    assert (disk.text("/kept"), locked(project).entries) == ("kept", {})
    assert isinstance(disk, Disk)


@pytest.mark.parametrize(
    ("files", "text", "key", "said"),
    [
        ({}, "", "dockerfile", "Dockerfile"),
        ({"Dockerfile": "RUN x\n"}, "", "dockerfile", "'app/Dockerfile' is no Dockerfile: it has no FROM"),
        ({"Dockerfile": "FROM UPPER\n"}, "", "dockerfile", "has a FROM of 'UPPER', which names no image"),
        ({"Dockerfile": "FROM scratch\n"}, ', target = "x"', "target", "no stage is called 'x'"),
        (
            {"Dockerfile": "FROM scratch\n"},
            ', args = { "a b" = "x" }',
            "args.a b",
            "no name of a build argument",
        ),
        ({"Dockerfile": "FROM scratch\n", ".dockerignore": "[\n"}, "", "dockerfile", "is no pattern"),
        ({"Dockerfile": "FROM scratch\n"}, ', builder = "kaniko"', "builder", "kaniko"),
    ],
)
def test_what_is_wrong_is_a_problem_of_its_line(
    tmp_path: Path, files: dict[str, str], text: str, key: str, said: str
) -> None:
    (tmp_path / "app").mkdir()
    for name, content in files.items():
        (tmp_path / "app" / name).write_text(content)
    (problem,) = problems(tmp_path, f'rootfs = {{ dockerfile = "app"{text} }}')
    assert problem.key.removeprefix("image.a.rootfs.").replace('"', "") == key
    assert said in problem.message
    assert problem.line == 2


def test_a_file_of_another_name_and_the_platform_are_taken(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/other").write_text("FROM scratch\n")
    source = declared(
        tmp_path, 'rootfs = { dockerfile = "app", file = "other", platform = "linux/arm64" }'
    ).rootfs
    assert source.written == "dockerfile app"
    assert source.lock_words is None
    (tmp_path / "app/Dockerfile").write_text("FROM scratch\n")
    assert DockerfileSource.claims(str(tmp_path / "app/Dockerfile"))
    assert not DockerfileSource.claims(str(tmp_path / "app"))
    named = declared(tmp_path, 'rootfs.dockerfile = "app/Dockerfile"').rootfs
    assert named == declared(tmp_path, 'rootfs.dockerfile = "app"').rootfs
