"""The builders' command lines, told by stand-ins that write down how they were called."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import FetchError, ToolError
from bangerbuild.fetch import image_builders
from bangerbuild.fetch.image_builders import BUILDERS, Build, chosen
from bangerbuild.host import process
from bangerbuild.model import unheard

if TYPE_CHECKING:
    from pathlib import Path

STAND_IN = """\
#!/bin/sh
echo "${{0##*/}} $*" >>{log}
echo "WORD=$WORD" >>{log}
for word; do case $word in --output=*) : >"${{word#*=}}";; *oci-archive:*:built) : >{archive};; esac; done
exit {code}
"""


@pytest.fixture
def build(tmp_path: Path) -> Build:
    place = tmp_path / "Place"
    (place / "context").mkdir(parents=True)
    return Build("dockerfile .", place, "linux/amd64", "small", {"WORD": "secret"}, 7, unheard)


@pytest.fixture
def log(tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "log"
    stand_ins(tmp_path, build, path, 0)
    monkeypatch.setattr(process, "SEARCH_PATH", f"{tmp_path}:{process.SEARCH_PATH}")
    return path


def stand_ins(directory: Path, build: Build, log: Path, code: int) -> None:
    for name in BUILDERS:
        (directory / name).write_text(STAND_IN.format(log=log, archive=build.archive, code=code))
        (directory / name).chmod(0o755)


def called(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if not line.startswith("WORD=")]


@pytest.mark.parametrize("name", BUILDERS)
def test_arguments_go_by_the_environment_and_the_image_into_an_archive(
    build: Build, log: Path, name: str
) -> None:
    image_builders.build(BUILDERS[name], build)
    first = called(log)[0]
    assert "--platform=linux/amd64 --target=small --build-arg=WORD" in first
    assert f"--file={build.place}/Dockerfile" in first
    assert first.endswith(f"{build.place}/context")
    assert "secret" not in "".join(called(log))
    assert "WORD=secret" in log.read_text()
    assert build.archive.is_file()


@pytest.mark.parametrize("name", ["buildah", "podman"])
def test_a_builder_without_a_daemon_has_a_storage_of_its_own(build: Build, log: Path, name: str) -> None:
    image_builders.build(BUILDERS[name], build)
    for line in called(log):
        assert line.startswith(
            f"{name} --root={build.place}/storage --runroot={build.place}/run --storage-driver=vfs "
        )
    assert "build --isolation=chroot --format=docker --timestamp=7 " in called(log)[0]


def test_docker_keeps_nothing_under_the_name_of_the_build(build: Build, log: Path) -> None:
    image_builders.build(BUILDERS["docker"], build)
    assert [line.split()[1] for line in called(log)] == ["build", "save", "image"]
    assert called(log)[-1] == "docker image rm bangerbuild-place:built"


def test_the_first_that_is_installed_is_taken_and_a_missing_one_is_told(
    build: Build, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (chosen(None).name, chosen("docker").name) == ("buildah", "docker")
    (log.parent / "buildah").unlink()
    monkeypatch.setattr(process, "SEARCH_PATH", str(log.parent))
    assert chosen(None).name == "podman"
    with pytest.raises(ToolError, match="'buildah' is not installed") as caught:
        chosen("buildah")
    assert caught.value.hint == "apt install buildah"
    assert build.archive.parent.is_dir()


def test_a_failure_shows_the_end_of_what_was_printed(
    build: Build, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (log.parent / "docker").write_text("#!/bin/sh\nseq 1000\nexit 3\n")
    with pytest.raises(FetchError, match=r"'dockerfile \.' can't be built by docker") as caught:
        image_builders.build(BUILDERS["docker"], build)
    lines = (caught.value.details or "").splitlines()
    assert (lines[-1], len(lines)) == ("1000", 60)
    assert os.environ.get("WORD") is None
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ('finding newgidmap: exec: "newgidmap": executable file not found in $PATH', "apt install uidmap"),
        ("Error during unshare(CLONE_NEWUSER): No space left on device", "sysctl user.max_user_namespaces"),
        ("error setting supplemental groups list: operation not permitted", "usermod --add-subuids"),
        ('error setting owner of "/bin" to 33:33: chown /bin: invalid argument', "usermod --add-subuids"),
        ("permission denied while trying to connect to the Docker daemon socket", "group docker"),
        ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock.", "systemctl start docker"),
        ("cat: can't open '/missing'", None),
    ],
)
def test_what_the_host_lacks_is_said(build: Build, log: Path, said: str, hint: str | None) -> None:
    """The words are those of buildah 1.28 as an ordinary user, and of docker 20."""
    (log.parent / "said").write_text(said)
    (log.parent / "buildah").write_text(f"#!/bin/sh\ncat {log.parent}/said\nexit 1\n")
    with pytest.raises(FetchError) as caught:
        image_builders.build(BUILDERS["buildah"], build)
    assert (hint or "") in (caught.value.hint or "")
    assert (caught.value.hint is None) is (hint is None)
