"""The command line as users and scripts meet it: words, streams, exit codes, signals."""

from __future__ import annotations

import errno
import json
import marshal
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pexpect
import pytest

from bangerbuild import __version__, store
from bangerbuild import cli as commands
from bangerbuild.store.locks import StoreLock
from tests import PROJECT
from tests.disk.ext4_tools import change_superblock, make_ext4
from tests.need import need
from tests.projects import write_small
from tests.unprivileged import run_bangerbuild
from tests.waiting import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import CommandLine

MANIFEST = """\
[image.small]
rootfs = { directory = "tree", size = "16MiB" }

[vm.web]
image = "small"
work = false

[[vm.web.file]]
guest = "/etc/app.conf"
content = "port = 80\\n"
"""
ROOT = "build/vms/web/root.cow"
BLOCKING_MKE2FS = """\
#!/bin/sh
[ "$1" = -V ] && exec {real} -V
echo $$ > {pid_file}.new && mv {pid_file}.new {pid_file}
exec sleep 600
"""
SUMMARY_KEYS = ["create", "fetch", "move", "adopt", "update", "grow", "replace", "blocked", "keep", "failed"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with a manifest of one small VM."""
    write_small(tmp_path, MANIFEST)
    (tmp_path / "tree/etc/group").write_text("root:x:0:\n")
    (tmp_path / "tree/etc/motd").write_bytes(b"h\xe9llo\0")
    (tmp_path / "tree/etc/issue").symlink_to("motd")
    return tmp_path


@pytest.fixture
def applied(project: Path, cli: CommandLine) -> Path:
    """The same, built."""
    done = cli("apply", cwd=project)
    assert done.returncode == 0, done.stderr
    return project


def damaged(directory: Path) -> Path:
    """A filesystem of which only e2fsck sees that it has errors."""
    made = make_ext4(directory / "bad.ext4", size="16M")
    change_superblock(made, free_blocks_count=7)
    return made


def edit(project: Path, old: str, new: str, file: str = "vm.toml") -> None:
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bangerbuild", *arguments]


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(PROJECT)} | more


def steps(document: dict[str, Any]) -> dict[str, str]:
    return {action["id"]: action["action"] for action in document["actions"] if action["kind"] != "launch"}


def everything(top: Path) -> dict[str, tuple[int, ...]]:
    """All below a directory, with what stat says but for the time of last access."""
    return {
        str(path.relative_to(top)): (found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns)
        for path in (top, *sorted(top.rglob("*")))
        if (found := path.lstat())
    }


def artifacts(project: Path) -> dict[str, tuple[int, ...]]:
    """Files of VMs and images in its store; a run without changes may still date the directories of VMs."""
    store = everything(project / "build")
    return {path: found for path, found in store.items() if re.match(r"(vms|images)/.*\.", path)}


def guest_writes(project: Path) -> None:
    """Do what a running guest does to its exception store: fill the chunk after the last with a new pair."""
    content = bytearray((project / ROOT).read_bytes())
    pairs = [content[offset : offset + 16] for offset in range(4096, 8192, 16)]
    last = max(int.from_bytes(pair[8:], "little") for pair in pairs)
    content[last * 4096 + 4095] ^= 1
    (project / ROOT).write_bytes(content)


class TestWords:
    """What is typed wrongly, and how it is answered."""

    def test_an_unknown_command_is_answered_with_its_neighbour(
        self, cli: CommandLine, tmp_path: Path
    ) -> None:
        done = cli("aply", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (3, "")
        assert "error: no such command 'aply'" in done.stderr
        assert "apply" in done.stderr.splitlines()[-1].replace("aply", "")

    def test_an_unknown_option_is_answered_with_its_neighbour(self, cli: CommandLine, tmp_path: Path) -> None:
        done = cli("plan", "--jsn", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (3, "")
        assert "--json" in done.stderr.splitlines()[-1]

    @pytest.mark.parametrize(
        "arguments",
        [
            ["apply", "-j", "0"],
            ["apply", "-j", "x"],
            ["apply", "--lock-timeout", "-1"],
            ["plan", "--store"],
            ["graph", "--format", "xml"],
            ["cat", "root.cow"],
            ["ls"],
            [],
        ],
        ids=" ".join,
    )
    def test_a_command_line_that_makes_no_sense_exits_with_3_and_says_nothing_on_stdout(
        self, cli: CommandLine, tmp_path: Path, arguments: list[str]
    ) -> None:
        done = cli(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr
        assert "Error:" not in done.stderr
        assert "\\x" not in done.stderr

    def test_a_target_that_is_not_there_is_answered_with_its_neighbour(
        self, cli: CommandLine, project: Path
    ) -> None:
        done = cli("plan", "--target", "vm.wbe", cwd=project)
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr == "error: no step is called 'vm.wbe'\n  hint: did you mean 'vm.web'?\n"

    @pytest.mark.parametrize("name", ["apply", "plan", "validate", "graph"])
    def test_where_there_is_no_manifest_the_way_out_is_shown(
        self, cli: CommandLine, tmp_path: Path, name: str
    ) -> None:
        done = cli(name, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith(
            "vm.toml: can't read the manifest: no such file or directory\n"
            "  hint: write it, or name another manifest, such as path/to/vm.toml\n"
        )

    def test_a_directory_in_place_of_a_manifest_is_answered_with_the_file_in_it(
        self, cli: CommandLine, project: Path
    ) -> None:
        done = cli("plan", ".", cwd=project)
        assert done.returncode == 3
        assert "vm.toml" in done.stderr.splitlines()[-1]

    def test_every_problem_of_a_manifest_is_told_with_its_line(self, cli: CommandLine, project: Path) -> None:
        edit(project, 'image = "small"', 'imgae = "small"\nvcpus = "two"')
        done = cli("validate", cwd=project)
        assert (done.returncode, done.stdout) == (3, "")
        assert "vm.toml:5: vm.web.imgae: " in done.stderr
        assert "vm.toml:6: vm.web.vcpus: " in done.stderr
        assert "did you mean" in done.stderr

    def test_a_time_that_is_none_is_a_wrong_command_line(
        self, cli: CommandLine, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
        done = cli("apply", cwd=project)
        assert done.returncode == 3
        assert not (project / "build").exists()

    def test_the_version_is_printed(self, cli: CommandLine, tmp_path: Path) -> None:
        assert cli("--version", cwd=tmp_path).stdout == f"bangerbuild, version {__version__}\n"

    def test_help_names_every_command_and_no_description_is_cut(
        self, cli: CommandLine, tmp_path: Path
    ) -> None:
        done = cli("-h", cwd=tmp_path)
        assert done.returncode == 0
        for name in (
            "apply",
            "plan",
            "validate",
            "graph",
            "schema",
            "status",
            "verify",
            "ls",
            "cat",
            "doctor",
        ):
            assert re.search(rf"^  {name} ", done.stdout, re.MULTILINE)
        assert "..." not in done.stdout.partition("Commands:")[2]


class TestApply:
    def test_results_go_to_stdout_and_progress_to_stderr(self, cli: CommandLine, project: Path) -> None:
        done = cli("apply", cwd=project)
        assert done.returncode == 0
        assert re.fullmatch(r"\d+ done in \d+\.\d s\n", done.stdout)
        assert re.search(
            r"^  create  image\.small\.rootfs  +\d+\.\d\d s  missing$", done.stderr, re.MULTILINE
        )

    def test_a_second_run_does_nothing_and_says_so(self, cli: CommandLine, applied: Path) -> None:
        done = cli("apply", cwd=applied)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.fullmatch(r"\d+ kept in \d+\.\d s\n", done.stdout)

    def test_a_second_run_changes_no_artifact(self, cli: CommandLine, applied: Path) -> None:
        before = artifacts(applied)
        cli("apply", cwd=applied)
        assert artifacts(applied) == before

    def test_quiet_says_nothing_at_all(self, cli: CommandLine, project: Path) -> None:
        done = cli("apply", "-q", cwd=project)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert (project / ROOT).exists()

    def test_verbose_tells_kept_steps_too(self, cli: CommandLine, applied: Path) -> None:
        assert "  keep    vm.web.root" in cli("apply", "-v", cwd=applied).stderr

    @pytest.mark.parametrize("option", ["-n", "--dry-run"])
    def test_a_dry_run_prints_the_plan_and_touches_nothing(
        self, cli: CommandLine, project: Path, option: str
    ) -> None:
        before = everything(project)
        done = cli("apply", option, cwd=project)
        assert done.returncode == 0
        assert done.stdout == cli("plan", cwd=project).stdout
        assert everything(project) == before

    def test_the_document_tells_what_became_of_every_step(self, cli: CommandLine, project: Path) -> None:
        done = cli("apply", "--json", cwd=project)
        document = json.loads(done.stdout)
        assert document["store"] == str(project / "build")
        assert list(document["summary"]) == SUMMARY_KEYS
        assert {action["result"] for action in document["actions"]} == {"done"}
        assert all(action["seconds"] >= 0 and "error" not in action for action in document["actions"])

    def test_the_document_of_a_failure_has_the_error_and_the_exit_code_is_1(
        self, cli: CommandLine, project: Path
    ) -> None:
        edit(project, 'directory = "tree", size = "16MiB"', f'ext4 = "{damaged(project).name}"')
        done = cli("apply", "--json", cwd=project)
        ends = {action["id"]: action for action in json.loads(done.stdout)["actions"]}
        assert done.returncode == 1
        assert ends["image.small.rootfs"]["result"] == "failed"
        assert ends["image.small.rootfs"]["error"]
        assert ends["vm.web.root"]["result"] == "skipped"
        assert json.loads(done.stdout)["summary"]["failed"] == 1
        assert re.search(r"(?s)  failed  image\.small\.rootfs +\S.*\n +hint: ", done.stderr)
        assert list((project / "build/.staging").iterdir()) == []

    def test_what_is_known_to_fail_is_blocked_in_the_same_words_again_and_again(
        self, cli: CommandLine, project: Path
    ) -> None:
        (project / "bad.tar").write_bytes(b"no tarball")
        edit(project, "[vm.web]", '[image.bad]\nrootfs = { tar = "bad.tar" }\n\n[vm.web]')
        planned = cli("plan", cwd=project)
        done = cli("apply", cwd=project)
        again = cli("plan", cwd=project)
        assert (done.returncode, (project / ROOT).exists()) == (1, True)
        for printed in (planned.stdout, done.stderr, again.stdout):
            assert re.search(r"(?s)  blocked +image\.bad\.rootfs +.*'bad.tar' is no tarball", printed), (
                printed
            )

    def test_a_failure_leaves_what_does_not_depend_on_it_to_keep_going(
        self, cli: CommandLine, project: Path
    ) -> None:
        source = f'[image.bad]\nrootfs = {{ ext4 = "{damaged(project).name}" }}\n\n[vm.web]'
        edit(project, "[vm.web]", source)
        done = cli("apply", "-k", "-j", "1", cwd=project)
        assert done.returncode == 1
        assert re.search(r"  failed  image\.bad\.rootfs +\S", done.stderr)
        assert (project / ROOT).exists()

    def test_replacing_everything_of_a_sort_at_once_is_refused(self, cli: CommandLine, project: Path) -> None:
        for command in ("plan", "apply"):
            done = cli(command, "--replace", "vm", cwd=project)
            assert (done.returncode, done.stdout) == (3, "")
            assert "--replace vm names no VM, image or step" in done.stderr

    def test_a_time_to_wait_that_is_no_number_is_refused(self, cli: CommandLine, project: Path) -> None:
        done = cli("apply", "--lock-timeout", "nan", cwd=project)
        assert done.returncode == 3
        assert "nan is no number of seconds" in done.stderr

    def test_the_work_goes_on_although_its_terminal_goes_away(self, project: Path) -> None:
        ours, its = pty.openpty()
        with subprocess.Popen(
            [need("nohup", "coreutils"), sys.executable, "-m", "bangerbuild", "apply", "-v"],
            cwd=project,
            env=os.environ | {"PYTHONPATH": str(PROJECT), "TERM": "xterm"},
            stdin=its,
            stdout=subprocess.PIPE,
            stderr=its,
        ) as process:
            os.close(its)
            said = b""
            while b"\n" not in said:  # nohup ends with 125 where it can't say what it does
                said += os.read(ours, 100)
            os.close(ours)
            out, _ = process.communicate()
        assert (process.returncode, b" done in " in out) == (0, True)

    def test_the_work_goes_on_although_nobody_can_be_told_of_it(self, project: Path) -> None:
        with Path("/dev/full").open("w") as full:
            command = [sys.executable, "-m", "bangerbuild", "apply", "-v"]
            environment = os.environ | {"PYTHONPATH": str(PROJECT)}
            done = subprocess.run(
                command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=full, check=False
            )
        assert (done.returncode, b" done in " in done.stdout) == (0, True)

    def test_a_result_that_cannot_be_printed_is_a_plain_error(self, project: Path) -> None:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "bangerbuild", "plan", "--json"],
                cwd=project,
                env=os.environ | {"PYTHONPATH": str(PROJECT)},
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
        assert done.returncode == 1
        assert done.stderr == "error: can't print the result: no space left on device\n"

    def test_what_lies_in_staging_is_swept_whatever_it_is(self, cli: CommandLine, project: Path) -> None:
        assert cli("apply", cwd=project).returncode == 0
        (project / "build/.staging/stray").write_text("")
        (project / "build/.staging/link").symlink_to(project)
        (project / "build/.staging/directory").mkdir()
        assert cli("apply", cwd=project).returncode == 0
        assert list((project / "build/.staging").iterdir()) == []
        assert (project / "vm.toml").exists()

    def test_only_the_target_is_made(self, cli: CommandLine, project: Path) -> None:
        assert cli("apply", "--target", "image", cwd=project).returncode == 0
        assert not (project / ROOT).exists()

    def test_the_store_is_where_it_is_asked_for(self, cli: CommandLine, project: Path) -> None:
        assert cli("apply", "--store", "elsewhere/deep", cwd=project).returncode == 0
        assert (project / "elsewhere/deep/vms/web/root.cow").exists()
        assert not (project / "build").exists()

    def test_paths_are_relative_to_the_manifest_wherever_one_stands(
        self, cli: CommandLine, project: Path
    ) -> None:
        (project / "other").mkdir()
        done = cli("apply", "../vm.toml", cwd=project / "other")
        assert done.returncode == 0, done.stderr
        assert (project / ROOT).exists()

    def test_replace_makes_anew_what_nothing_asks_for(self, cli: CommandLine, applied: Path) -> None:
        before = (applied / ROOT).stat().st_ino
        done = cli("apply", "--replace", "vm.web.root", cwd=applied)
        assert done.returncode == 0
        assert (applied / ROOT).stat().st_ino != before

    def test_a_store_that_can_t_be_made_is_one_plain_message(self, cli: CommandLine, project: Path) -> None:
        (project / "file").touch()
        done = cli("apply", "--store", "file/build", cwd=project)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: '")


class TestPlan:
    def test_pending_changes_exit_with_2_only_if_asked(self, cli: CommandLine, project: Path) -> None:
        assert cli("plan", cwd=project).returncode == 0
        assert cli("plan", "--detailed-exitcode", cwd=project).returncode == 2

    def test_nothing_pending_exits_with_0(self, cli: CommandLine, applied: Path) -> None:
        done = cli("plan", "--detailed-exitcode", cwd=applied)
        assert done.returncode == 0
        assert re.fullmatch(r"Nothing to do: \d+ kept\.\n", done.stdout)

    def test_a_changed_file_is_shown_as_a_diff(self, cli: CommandLine, applied: Path) -> None:
        edit(applied, "port = 80", "port = 81")
        assert cli("plan", cwd=applied).stdout.startswith(
            "  update  vm.web.root.patch  file[/etc/app.conf].content changed\n"
            "          --- /etc/app.conf\n"
            "          -port = 80\n"
            "          +port = 81\n"
        )
        assert "port" not in cli("plan", "--no-diff", cwd=applied).stdout

    def test_a_file_for_root_alone_is_never_shown(self, cli: CommandLine, applied: Path) -> None:
        edit(applied, 'content = "port = 80', 'mode = "0600"\ncontent = "hunter2')
        for form in ([], ["--json"], ["-v"]):
            assert "hunter2" not in cli("plan", *form, cwd=applied).stdout

    def test_planning_changes_nothing_in_a_store(self, cli: CommandLine, applied: Path) -> None:
        edit(applied, "port = 80", "port = 81")
        guest_writes(applied)
        before = everything(applied)
        assert cli("plan", cwd=applied).returncode == 0
        assert everything(applied) == before

    def test_the_document_lists_every_step_and_nothing_of_results(
        self, cli: CommandLine, applied: Path
    ) -> None:
        document = json.loads(cli("plan", "--json", cwd=applied).stdout)
        assert steps(document) == {
            "image.small.rootfs": "keep",
            "vm.web.root": "keep",
            "vm.web.root.patch": "keep",
        }
        assert not any("result" in action for action in document["actions"])

    def test_verbose_shows_where_each_artifact_lies(self, cli: CommandLine, applied: Path) -> None:
        assert re.search(
            r"keep    vm\.web\.root +vms/web/root\.cow$", cli("plan", "-v", cwd=applied).stdout, re.MULTILINE
        )


class TestGuestData:
    """What a guest wrote is lost to nothing but `--replace`."""

    def test_a_new_image_under_a_written_root_is_blocked_and_exits_with_1(
        self, cli: CommandLine, applied: Path
    ) -> None:
        guest_writes(applied)
        (applied / "tree/etc/new").touch()
        before = (applied / ROOT).read_bytes()
        done = cli("apply", cwd=applied)
        assert done.returncode == 1
        assert "the guest has written" in done.stderr
        assert "`bangerbuild apply --replace vm.web.root` discards what is in it" in done.stderr
        assert (applied / ROOT).read_bytes() == before

    def test_a_patch_between_does_not_make_a_guest_s_root_ours(self, cli: CommandLine, applied: Path) -> None:
        guest_writes(applied)
        edit(applied, "port = 80", "port = 81")
        assert cli("apply", cwd=applied).returncode == 0
        (applied / "tree/etc/new").touch()
        plan = json.loads(cli("plan", "--json", cwd=applied).stdout)
        assert steps(plan)["vm.web.root"] == "blocked"

    def test_replace_discards_it(self, cli: CommandLine, applied: Path) -> None:
        guest_writes(applied)
        (applied / "tree/etc/new").touch()
        assert cli("apply", "--replace", "vm.web.root", cwd=applied).returncode == 0
        assert "new\n" in cli("ls", ROOT, "/etc", cwd=applied).stdout

    def test_a_root_of_which_no_record_is_left_is_not_touched(self, cli: CommandLine, applied: Path) -> None:
        for path in (applied / "build").glob("state.db*"):
            path.unlink()
        before = (applied / ROOT).read_bytes()
        done = cli("apply", cwd=applied)
        assert done.returncode == 1
        assert "hint: `bangerbuild recover`" in done.stderr
        assert "Traceback" not in done.stderr
        assert (applied / ROOT).read_bytes() == before

    def test_an_image_that_went_away_is_made_again_before_what_stands_on_it_is_patched(
        self, cli: CommandLine, applied: Path
    ) -> None:
        (image,) = (applied / "build/images").rglob("rootfs.ext4")
        image.unlink()
        guest_writes(applied)
        edit(applied, "port = 80", "port = 81")
        done = cli("apply", cwd=applied)
        assert done.returncode == 0, done.stderr
        assert cli("cat", ROOT, "/etc/app.conf", cwd=applied).stdout == "port = 81\n"


class TestBusy:
    """Exit code 4: somebody else is at it."""

    def test_a_locked_store_is_refused_with_its_holder(self, cli: CommandLine, project: Path) -> None:
        with store.writing(project / "build", timeout_seconds=0) as other:
            other.lock(["vm.web"])
            done = cli("apply", "--lock-timeout", "0", cwd=project)
        assert (done.returncode, done.stdout) == (4, "")
        assert f"is locked by process {os.getpid()}" in done.stderr
        assert "--lock-timeout" in done.stderr

    def test_planning_waits_for_no_lock(self, cli: CommandLine, applied: Path) -> None:
        with store.writing(applied / "build", timeout_seconds=0) as other:
            other.lock(["vm.web"])
            assert cli("plan", cwd=applied).returncode == 0

    def test_a_held_disk_is_left_and_the_rest_is_done(self, cli: CommandLine, applied: Path) -> None:
        edit(applied, "port = 80", "port = 81")
        before = (applied / ROOT).read_bytes()
        with (applied / ROOT).open("rb"):
            done = cli("apply", cwd=applied)
        assert done.returncode == 4
        assert f"(process {os.getpid()}); left as it is" in done.stderr
        assert "1 in use" in done.stdout
        assert (applied / ROOT).read_bytes() == before

    def test_a_held_disk_with_nothing_to_do_is_no_matter(self, cli: CommandLine, applied: Path) -> None:
        with (applied / ROOT).open("r+b"):
            assert cli("apply", cwd=applied).returncode == 0

    def test_a_disk_that_may_be_written_to_now_is_not_read(self, cli: CommandLine, applied: Path) -> None:
        with (applied / ROOT).open("r+b"):
            done = cli("cat", ROOT, "/etc/app.conf", cwd=applied)
        assert (done.returncode, done.stdout) == (4, "")
        assert "is in use by" in done.stderr

    def test_a_disk_that_others_only_read_may_be_read(self, cli: CommandLine, applied: Path) -> None:
        with (applied / ROOT).open("rb"):
            assert cli("cat", ROOT, "/etc/app.conf", cwd=applied).stdout == "port = 80\n"


ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@contextmanager
def heeded() -> Iterator[None]:
    """What is started now ends at these signals, even where the tests do not (nohup, a job of a shell)."""
    ignored = [number for number in ENDING if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def blocked_run(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """An `apply` that waits for a program which does not end, and the program's process."""
    tools = tmp_path_factory.mktemp("tools")
    pid_file = tools / "pid"
    (tools / "mke2fs").write_text(BLOCKING_MKE2FS.format(real=need("mke2fs", "e2fsprogs"), pid_file=pid_file))
    (tools / "mke2fs").chmod(0o755)
    with heeded():
        started = subprocess.Popen(
            command("apply"),
            cwd=project,
            env=environment(PATH=f"{tools}:{os.environ['PATH']}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    with started as process:
        try:
            eventually(pid_file.exists)
            yield process, int(pid_file.read_text())
        finally:
            process.kill()


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is more than an entry that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError as err:
        if err.errno in {errno.ENOENT, errno.ESRCH}:
            return False
        raise


class TestSignals:
    @pytest.mark.parametrize(
        "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name
    )
    def test_an_interrupted_run_says_so_and_takes_its_programs_with_it(
        self, project: Path, tmp_path_factory: pytest.TempPathFactory, number: signal.Signals
    ) -> None:
        with blocked_run(project, tmp_path_factory) as (process, program):
            process.send_signal(number)
            out, err = process.communicate()
            assert (process.returncode, out) == (130, "")
            assert "interrupted: nothing was finished; the next `bangerbuild apply` does it" in err
            assert "Traceback" not in err
            eventually(lambda: not is_running(program))

    def test_a_killed_run_takes_its_programs_with_it(
        self, project: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        with blocked_run(project, tmp_path_factory) as (process, program):
            process.kill()
            process.communicate()
            eventually(lambda: not is_running(program))

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
    def test_the_next_run_finishes_the_work_and_sweeps_what_was_left(
        self,
        cli: CommandLine,
        project: Path,
        tmp_path_factory: pytest.TempPathFactory,
        number: signal.Signals,
    ) -> None:
        with blocked_run(project, tmp_path_factory) as (process, _):
            process.send_signal(number)
            process.communicate()
        assert not list((project / "build").rglob("*.ext4"))
        done = cli("apply", cwd=project)
        assert done.returncode == 0, done.stderr
        assert list((project / "build/.staging").iterdir()) == []


class TestStreams:
    @pytest.mark.parametrize("arguments", [["schema"], ["plan", "-v"], ["apply"], ["status"]], ids=" ".join)
    def test_a_reader_that_goes_away_is_no_error(self, applied: Path, arguments: list[str]) -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        done = subprocess.run(
            command(*arguments),
            cwd=applied,
            env=environment(),
            stdout=write_end,
            stderr=subprocess.PIPE,
            check=False,
        )
        os.close(write_end)
        assert (done.returncode, done.stderr) == (0, b"")

    def test_an_exit_code_does_not_hang_on_who_reads(self, project: Path) -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        arguments = command("plan", "--detailed-exitcode")
        done = subprocess.run(arguments, cwd=project, env=environment(), stdout=write_end, check=False)
        os.close(write_end)
        assert done.returncode == 2

    @pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
    def test_streams_that_are_closed_lead_nowhere(self, project: Path, closed: str) -> None:
        done = subprocess.run(
            ["/bin/sh", "-c", f'"$@" {closed}', "sh", *command("apply")],
            cwd=project, env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, "Traceback" in done.stderr) == (0, False)
        assert (project / ROOT).exists()

    def test_a_module_that_a_power_cut_left_by_half_is_no_interruption(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def import_it() -> None:
            marshal.loads(marshal.dumps("code")[:-1])  # noqa: S302  # as the import system does

        monkeypatch.setattr(sys, "argv", ["bangerbuild", "schema"])
        monkeypatch.setattr(commands.cli.commands["schema"], "callback", import_it)
        with pytest.raises(EOFError):
            commands._guarded(None)

    def test_a_pipe_gets_no_escape_codes(
        self, cli: CommandLine, project: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm-256color")
        for arguments in (["plan"], ["apply"], ["doctor"]):
            done = cli(*arguments, cwd=project)
            assert "\x1b" not in done.stdout + done.stderr


class TestTerminal:
    @staticmethod
    def shown(project: Path, *arguments: str, **variables: str) -> tuple[str, int | None]:
        """What a terminal gets, and the exit code."""
        seen = environment(**{"TERM": "xterm", "NO_COLOR": "", **variables})
        program, *rest = command(*arguments)
        child = pexpect.spawn(
            program,
            rest,
            cwd=str(project),
            env=seen,
            timeout=PATIENCE_SECONDS,
            encoding="utf-8",
            dimensions=(40, 160),
        )
        child.expect(pexpect.EOF)
        child.close()
        return child.before or "", child.exitstatus

    def test_a_run_is_shown_live_and_ends_with_its_lines_and_sum(self, project: Path) -> None:
        screen, code = self.shown(project, "apply")
        assert code == 0
        assert "\x1b[?25l" in screen  # the cursor is hidden while the display is live,
        assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")  # and back afterwards
        assert re.search(r"create  vm\.web\.root  +\d\.\d\d s  missing", screen)
        assert re.search(r"\d+ done in \d+\.\d s", screen)

    def test_a_plan_is_shown_in_colours(self, project: Path) -> None:
        screen, code = self.shown(project, "plan")
        assert code == 0
        assert "\x1b[32mcreate \x1b[0m vm.web.root" in screen

    @pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
    def test_a_plan_has_no_colours_where_none_are_wanted(
        self, project: Path, variables: dict[str, str]
    ) -> None:
        screen, _ = self.shown(project, "plan", **variables)
        assert "\x1b" not in screen
        assert "create  vm.web.root" in screen

    def test_a_run_has_no_colours_where_none_are_wanted(self, project: Path) -> None:
        screen, _ = self.shown(project, "apply", NO_COLOR="1")
        assert not re.search(r"\x1b\[[0-9;]*[34]\d", screen)

    def test_ctrl_c_interrupts_and_leaves_the_cursor_shown(
        self, project: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        tools = tmp_path_factory.mktemp("tools")
        real = need("mke2fs", "e2fsprogs")
        (tools / "mke2fs").write_text(BLOCKING_MKE2FS.format(real=real, pid_file=tools / "pid"))
        (tools / "mke2fs").chmod(0o755)
        program, *rest = command("apply")
        with heeded():
            child = pexpect.spawn(
                program, rest, cwd=str(project), timeout=PATIENCE_SECONDS, encoding="utf-8",
                env=environment(TERM="xterm", PATH=f"{tools}:{os.environ['PATH']}"),
            )  # fmt: skip
        eventually((tools / "pid").exists)
        child.sendintr()
        child.expect(pexpect.EOF)
        child.close()
        screen = child.before or ""
        assert child.exitstatus == 130
        assert "interrupted: " in screen
        assert screen.rindex("\x1b[?25h") > screen.rindex("\x1b[?25l")


class TestBrowsing:
    def test_a_file_comes_out_byte_for_byte(self, applied: Path) -> None:
        done = subprocess.run(
            command("cat", ROOT, "/etc/motd"), cwd=applied, env=environment(), capture_output=True, check=True
        )
        assert (done.stdout, done.stderr) == (b"h\xe9llo\0", b"")

    def test_a_symlink_is_followed_inside_the_guest(self, cli: CommandLine, applied: Path) -> None:
        done = subprocess.run(
            command("cat", ROOT, "/etc/issue"),
            cwd=applied,
            env=environment(),
            capture_output=True,
            check=True,
        )
        assert done.stdout == b"h\xe9llo\0"
        assert "issue -> motd" in cli("ls", "-l", ROOT, "/etc", cwd=applied).stdout

    def test_an_image_is_read_without_a_base(self, cli: CommandLine, applied: Path) -> None:
        (image,) = (applied / "build/images").rglob("rootfs.ext4")
        assert cli("ls", image, "/etc", cwd=applied).stdout == "group\nissue\nmotd\npasswd\n"

    def test_a_base_for_what_has_none_is_refused(self, cli: CommandLine, applied: Path) -> None:
        (image,) = (applied / "build/images").rglob("rootfs.ext4")
        done = cli("ls", "--base", image, image, "/", cwd=applied)
        assert done.returncode == 3
        assert "leave --base out" in done.stderr

    def test_a_snapshot_outside_its_store_needs_its_base_named(self, cli: CommandLine, applied: Path) -> None:
        (applied / ROOT).rename(applied / "moved.cow")
        (image,) = (applied / "build/images").rglob("rootfs.ext4")
        lost = cli("cat", "moved.cow", "/etc/app.conf", cwd=applied)
        assert lost.returncode == 3
        assert "--base IMAGE moved.cow" in lost.stderr
        found = cli("cat", "--base", image, "moved.cow", "/etc/app.conf", cwd=applied)
        assert (found.returncode, found.stdout) == (0, "port = 80\n")

    def test_a_store_that_was_moved_still_knows_its_bases(self, cli: CommandLine, applied: Path) -> None:
        (applied / "build").rename(applied / "moved")
        assert cli("cat", "moved/vms/web/root.cow", "/etc/app.conf", cwd=applied).stdout == "port = 80\n"

    def test_in_full_a_name_has_its_mode_owner_and_size(self, cli: CommandLine, applied: Path) -> None:
        listing = cli("ls", "-l", ROOT, "/etc/app.conf", cwd=applied).stdout
        assert re.fullmatch(
            r"-rw-r--r--   1     0     0         10 2000-[0-9-]+ [0-9:]+ /etc/app\.conf\n", listing
        )

    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            (["cat", "nothing", "/etc"], 3, "there is no disk 'nothing'"),
            (["cat", ROOT, "/etc"], 1, "'/etc' in '"),
            (["cat", ROOT, "/etc/nothing"], 1, "'/etc/nothing' is not there"),
            (["ls", ROOT, "/nothing"], 1, "'/nothing' is not there"),
            (["ls", ROOT, "/etc/motd/x"], 1, "/etc/motd"),
            (["ls", "vm.toml", "/"], 1, "vm.toml"),
            (["ls", ".", "/"], 3, "'.' is no disk"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, list) else None,
    )
    def test_what_is_not_there_is_one_plain_message(
        self, cli: CommandLine, applied: Path, arguments: list[str], code: int, said: str
    ) -> None:
        done = cli(*arguments, cwd=applied)
        assert (done.returncode, done.stdout) == (code, "")
        assert done.stderr.startswith("error: ")
        assert said in done.stderr


class TestOthers:
    def test_validate_has_nothing_to_say_of_a_good_manifest(self, cli: CommandLine, project: Path) -> None:
        done = cli("validate", cwd=project)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert not (project / "build").exists()

    def test_several_manifests_act_as_one(self, cli: CommandLine, project: Path) -> None:
        (project / "more.toml").write_text('[vm.db]\nimage = "small"\nwork = false\n')
        document = json.loads(cli("plan", "--json", "vm.toml", "more.toml", cwd=project).stdout)
        assert {"vm.web.root", "vm.db.root"} <= set(steps(document))

    def test_the_graph_names_each_step_and_what_it_needs(self, cli: CommandLine, project: Path) -> None:
        done = cli("graph", "--target", "vm.web.root", cwd=project)
        assert done.returncode == 0
        assert done.stdout == (
            "image.small.rootfs\n"
            "vm.web.root         <- image.small.rootfs\n"
            "vm.web.root.patch   <- vm.web.root\n"
        )

    @pytest.mark.parametrize(
        ("form", "first"), [("dot", "digraph bangerbuild {"), ("mermaid", "graph LR"), ("json", "{")]
    )
    def test_the_graph_comes_in_other_forms(
        self, cli: CommandLine, project: Path, form: str, first: str
    ) -> None:
        done = cli("graph", "--format", form, cwd=project)
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, first)
        assert done.stdout.endswith("\n")

    def test_the_graph_as_json_is_json(self, cli: CommandLine, project: Path) -> None:
        document = json.loads(cli("graph", "--format", "json", cwd=project).stdout)
        assert document["steps"][0]["id"] == "image.small.rootfs"

    def test_the_schema_is_the_one_in_the_project(self, cli: CommandLine, tmp_path: Path) -> None:
        done = cli("schema", cwd=tmp_path)
        assert done.returncode == 0
        assert json.loads(done.stdout) == json.loads((PROJECT / "schemas/manifest.schema.json").read_text())

    def test_the_doctor_finds_what_the_tests_run_on(self, cli: CommandLine, tmp_path: Path) -> None:
        need("mke2fs", "e2fsprogs")
        done = cli("doctor", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.search(r"^ok      e2fsprogs  +\d+\.\d+", done.stdout, re.MULTILINE)

    def test_the_doctor_fails_where_something_is_missing_that_is_needed(
        self, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A mke2fs that says nothing of its version is none."""
        (tmp_path / "mke2fs").write_text("#!/bin/sh\n")
        (tmp_path / "mke2fs").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        done = cli("doctor", cwd=tmp_path)
        assert done.returncode == 1
        assert re.search(r"^MISSING e2fsprogs ", done.stdout, re.MULTILINE)


class TestWithoutAPerfectManifest:
    """Commands that read work from the store, and one JSON document comes whatever happens."""

    READING: ClassVar = [
        ["status", "--json"],
        ["verify", "--json"],
        ["gc", "-n", "--json"],
        ["image", "ls", "--json"],
        ["graph", "--format", "json"],
    ]

    @pytest.mark.parametrize("arguments", READING, ids=" ".join)
    @pytest.mark.parametrize("fault", ["a file", "a key", "the manifest"])
    def test_they_work_from_the_store_and_warn(
        self, cli: CommandLine, applied: Path, arguments: list[str], fault: str
    ) -> None:
        if fault == "a file":
            (applied / "tree").rename(applied / "gone")
        elif fault == "a key":
            edit(applied, 'image = "small"', 'imgae = "small"')
        else:
            (applied / "vm.toml").unlink()
        before = artifacts(applied)
        done = cli(*arguments, cwd=applied)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)
        is_of_no_manifest = arguments[0] == "image" or (arguments[0] == "gc" and fault == "the manifest")
        assert is_of_no_manifest or "warning: vm.toml" in done.stderr
        assert artifacts(applied) == before

    def test_nothing_is_removed_that_can_t_be_judged(self, cli: CommandLine, applied: Path) -> None:
        edit(
            applied,
            '[vm.web]\nimage = "small"\nwork = false\n',
            '[vm.web]\nimage = "small"\nwork = false\nroot.format = "raw"\n',
        )
        assert cli("apply", cwd=applied).returncode == 0
        assert cli("destroy", "--target", "vm.web", "--yes", cwd=applied).returncode == 0
        (applied / "tree").rename(applied / "gone")
        before = everything(applied / "build/images")
        done = cli("gc", cwd=applied)
        assert (done.returncode, "all of it stays" in done.stderr) == (0, True)
        assert everything(applied / "build/images") == before

    def test_what_is_not_known_is_said_to_be_so(self, cli: CommandLine, applied: Path) -> None:
        (applied / "tree").rename(applied / "gone")
        states = {
            one["id"]: one["state"]
            for one in json.loads(cli("status", "--json", cwd=applied).stdout)["artifacts"]
        }
        assert states == {
            "image.small.rootfs": "unjudged",
            "vm.web.root": "current",
            "vm.web.launch": "current",
        }

    def test_a_vm_that_is_only_recorded_can_be_destroyed(self, cli: CommandLine, applied: Path) -> None:
        (applied / "vm.toml").unlink()
        assert cli("destroy", "--target", "vm.web", "--yes", cwd=applied).returncode == 0
        assert not (applied / ROOT).exists()

    def test_a_manifest_is_reviewed_without_the_files_that_it_names(
        self, cli: CommandLine, project: Path
    ) -> None:
        (project / "tree").rename(project / "gone")
        with (project / "vm.toml").open("a") as manifest:
            manifest.write('[image.built.rootfs]\ndockerfile = "gone/app"\ntarget = "small"\n')
        assert cli("validate", cwd=project).returncode == 3
        done = cli("validate", "--no-sources", cwd=project)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        edit(project, 'image = "small"', 'image = "smal"')
        assert "did you mean 'small'" in cli("validate", "--no-sources", cwd=project).stderr

    def test_each_manifest_is_checked_alone_if_that_is_asked_for(
        self, cli: CommandLine, project: Path
    ) -> None:
        for name in ("one.toml", "two.toml"):
            (project / name).write_text(MANIFEST.replace('"small"\nwork', '"smal"\nwork'))
        done = cli("validate", "--each", "vm.toml", "one.toml", "two.toml", "--json", cwd=project)
        assert done.returncode == 3
        told = [(one["file"], one["key"]) for one in json.loads(done.stdout)["problems"]]
        assert told == [("one.toml", "vm.web.image"), ("two.toml", "vm.web.image")]
        assert cli("validate", "--each", "vm.toml", "vm.toml", cwd=project).returncode == 0

    def test_validate_prints_its_problems_as_json(self, cli: CommandLine, project: Path) -> None:
        done = cli("validate", "--json", cwd=project)
        assert (done.returncode, json.loads(done.stdout)) == (
            0,
            {"format": 1, "problems": [], "warnings": []},
        )
        edit(project, 'image = "small"', 'imgae = "small"')
        done = cli("validate", "--json", cwd=project)
        document = json.loads(done.stdout)
        assert done.returncode == 3
        assert document["error"]["brief"] == "1 problem"
        assert {"file": "vm.toml", "line": 5, "key": "vm.web.imgae"}.items() <= document["problems"][
            0
        ].items()
        assert "did you mean" in document["problems"][0]["hint"]

    @pytest.mark.parametrize("broken", ["missing", "wrong", "no-toml", "absent-file"])
    def test_json_has_the_problems_of_a_manifest_that_the_command_goes_on_with(
        self, cli: CommandLine, applied: Path, broken: str
    ) -> None:
        named = (applied / "vm.toml").rename(applied / "named.toml")
        if broken == "missing":
            named.unlink()
        elif broken == "wrong":
            edit(applied, 'image = "small"', 'image = "smal"', file="named.toml")
        elif broken == "no-toml":
            named.write_text("[vm.web\n")
        else:
            (applied / "tree").rename(applied / "gone")
        for arguments in (["status"], ["verify"], ["gc", "-n"], ["graph", "--format", "json"]):
            words = [] if arguments[0] == "graph" else ["--json"]
            done = cli(*arguments, "named.toml", *words, cwd=applied)
            assert done.returncode == 0, done.stderr
            document = json.loads(done.stdout)
            assert document["problems"][0]["file"] == "named.toml"
            assert document["problems"][0].keys() == {"file", "line", "key", "message", "hint"}
            assert bool(document["warnings"]) == (broken != "absent-file" or arguments[0] == "gc")
            assert "named.toml" in done.stderr
        assert json.loads(done.stdout)["steps"]
        (applied / "tree").mkdir(exist_ok=True)
        done = cli("destroy", "named.toml", "--target", "vm.web", "--yes", cwd=applied)
        assert done.returncode == 0, done.stderr
        assert not (applied / ROOT).exists()

    def test_a_store_that_a_broken_manifest_names_is_not_guessed(
        self, cli: CommandLine, applied: Path
    ) -> None:
        with (applied / "vm.toml").open("a") as manifest:
            manifest.write('[store]\npath = "elsewhere"\n[vm.web\n')
        for arguments in (["status"], ["gc"], ["destroy", "--target", "vm.web", "--yes"], ["image", "ls"]):
            done = cli(*arguments, cwd=applied)
            assert done.returncode == 3
            assert "hint: --store DIR names the store" in done.stderr
            assert (applied / ROOT).exists()
        assert cli("image", "ls", "--store", "build", cwd=applied).stdout.count("small") == 1
        done = cli("status", "--store", "build", cwd=applied)
        assert (done.returncode, "unjudged" in done.stdout) == (0, True)

    def test_image_ls_tells_of_a_manifest_with_problems(self, cli: CommandLine, applied: Path) -> None:
        edit(applied, 'image = "small"', 'image = "smal"')
        done = cli("image", "ls", "--json", cwd=applied)
        document = json.loads(done.stdout)
        assert document["images"][0]["name"] == "small"
        assert document["problems"][0]["hint"] == "did you mean 'small'?"
        assert "did you mean 'small'?" in done.stderr

    @pytest.mark.parametrize(
        "arguments",
        [["apply"], ["plan"], ["status"], ["verify"], ["gc"], ["recover"], ["validate"]],
        ids=" ".join,
    )
    def test_json_is_one_document_where_there_is_nothing_at_all(
        self, cli: CommandLine, tmp_path: Path, arguments: list[str]
    ) -> None:
        done = cli(*arguments, "--json", "--store", "none", "other.toml", cwd=tmp_path)
        document = json.loads(done.stdout)
        assert done.returncode == 3
        assert document["problems"][0]["file"] == "other.toml"
        assert document["error"].keys() == {"brief", "details", "hint"}

    def test_json_says_that_nothing_was_built(self, cli: CommandLine, project: Path) -> None:
        done = cli("verify", "--json", cwd=project)
        assert done.returncode == 1
        assert json.loads(done.stdout)["error"]["hint"] == "bangerbuild apply"

    def test_json_says_that_the_store_is_busy(self, cli: CommandLine, applied: Path) -> None:
        with StoreLock(applied / "build/.locks/store", 0, "the store"):
            done = cli("gc", "--json", "--lock-timeout", "0", cwd=applied)
        assert done.returncode == 4
        assert json.loads(done.stdout)["error"]["brief"]

    def test_json_says_of_a_wrong_option_what_stderr_says(self, cli: CommandLine, project: Path) -> None:
        done = cli("plan", "--json", "--target", "vm.wbe", cwd=project)
        assert json.loads(done.stdout)["error"]["hint"] == "did you mean 'vm.web'?"
        assert json.loads(cli("plan", "--json", "--oops", cwd=project).stdout)["error"]["brief"]

    def test_a_step_that_failed_has_its_error_with_its_hint(self, cli: CommandLine, project: Path) -> None:
        edit(project, "content = ", 'owner = "nobody:root"\ncontent = ')
        done = cli("apply", "--json", cwd=project)
        (error,) = [one["error"] for one in json.loads(done.stdout)["actions"] if one["result"] == "failed"]
        assert error["brief"]
        assert error.keys() == {"brief", "details", "hint"}


class TestWhatSomebodyElseOwns:
    """One disk that may not be looked at is said and left; the others have their plan."""

    def test_status_and_plan_go_on(self, applied: Path) -> None:
        edit(applied, 'content = "port = 80', 'content = "port = 81')
        (applied / ROOT).chmod(0)
        status = run_bangerbuild("status", "--json", cwd=applied)
        states = {one["path"]: one["state"] for one in json.loads(status.stdout)["artifacts"]}
        assert (status.returncode, states[ROOT.removeprefix("build/")]) == (0, "unreadable")
        assert "current" in states.values()
        plan = run_bangerbuild("plan", "--json", cwd=applied)
        assert plan.returncode == 0, plan.stderr
        left = {one["id"]: one for one in json.loads(plan.stdout)["actions"] if one["action"] == "blocked"}
        assert left.keys() == {"vm.web.root.patch"}
        assert "permission denied" in left["vm.web.root.patch"]["reasons"][0]["message"]
        assert "Traceback" not in status.stderr + plan.stderr

    def test_what_can_t_be_read_is_said_although_nothing_is_to_be_done(self, applied: Path) -> None:
        (image,) = (applied / "build/images").glob("*/*/rootfs.ext4")
        for closed, step in ((image, "image.small.rootfs"), (applied / ROOT, "vm.web.root")):
            closed.chmod(0)
            status = run_bangerbuild("status", "--json", cwd=applied)
            states = {one["id"]: one["state"] for one in json.loads(status.stdout)["artifacts"]}
            assert [one for one, state in states.items() if state != "current"] == [step]
            assert states[step] == "unreadable"
            done = run_bangerbuild("plan", cwd=applied)
            assert (done.returncode, "can't be read: permission denied" in done.stdout) == (0, True)
            assert "Nothing to do" in done.stdout
            closed.chmod(0o600)

    def test_nothing_new_is_made_of_an_image_that_can_t_be_read(self, applied: Path) -> None:
        (image,) = (applied / "build/images").glob("*/*/rootfs.ext4")
        image.chmod(0)
        with (applied / "vm.toml").open("a") as manifest:
            manifest.write('[vm.new]\nimage = "small"\nwork = false\n')
        plan = run_bangerbuild("plan", "--json", cwd=applied)
        apply = run_bangerbuild("apply", "--json", cwd=applied)
        assert (plan.returncode, apply.returncode) == (0, 1)
        for done in (plan, apply):
            actions = {one["id"]: one for one in json.loads(done.stdout)["actions"]}
            blocked = {one for one, action in actions.items() if action["action"] == "blocked"}
            assert blocked == {"vm.new.root", "vm.new.root.patch", "vm.new.launch"}
            (reason,) = actions["vm.new.root"]["reasons"]
            assert reason["code"] == "would-fail"
            assert actions["vm.new.root"]["hint"].startswith("run it as the user whose file it is")

    def test_a_file_of_the_host_that_can_t_be_read_keeps_only_those_from_it_who_need_it(
        self, applied: Path
    ) -> None:
        (applied / "synced").mkdir()
        (applied / "synced/file").write_text("x")
        (applied / "synced/file").chmod(0)
        sync = '[[vm.{}.file_sync]]\nhost = "synced"\nguest = "/opt/synced"\n'
        with (applied / "vm.toml").open("a") as manifest:
            for name in ("new", "other"):
                manifest.write(f'[vm.{name}]\nimage = "small"\nwork = false\n')
            manifest.write(sync.format("web") + sync.format("new"))
        plan = run_bangerbuild("plan", "--json", cwd=applied)
        apply = run_bangerbuild("apply", "--json", cwd=applied)
        assert (plan.returncode, apply.returncode) == (0, 1), apply.stderr
        for done in (plan, apply):
            actions = {one["id"]: one for one in json.loads(done.stdout)["actions"]}
            found = {one: action["action"] for one, action in actions.items()}
            assert {one for one, verb in found.items() if verb == "blocked"} == {
                "vm.web.root.patch", "vm.new.root", "vm.new.root.patch", "vm.new.launch"
            }  # fmt: skip
            assert found["vm.other.root"] == "create"
            (reason,) = actions["vm.web.root.patch"]["reasons"]
            assert reason["message"] == "'synced/file' can't be read: permission denied"
            assert actions["vm.web.root.patch"]["hint"].startswith("make it readable")
        assert (applied / "build/vms/other/root.cow").exists()
        assert not (applied / "build/vms/new").exists()

    def test_what_is_closed_is_not_destroyed_and_another_place_is_no_way_out(self, applied: Path) -> None:
        for closed in (applied / "build/vms/web", applied / "build/images"):
            target = "image.small" if closed.name == "images" else "vm.web"
            closed.chmod(0)
            done = run_bangerbuild("destroy", "--target", target, "--yes", cwd=applied)
            closed.chmod(0o700)
            assert done.returncode == 1
            assert "run it as the user whose file it is" in done.stderr
            assert "--store" not in done.stderr
        assert (applied / ROOT).exists()


class TestFormats:
    def test_a_plan_for_a_review_is_a_result_and_so_are_the_problems_that_prevent_it(
        self, project: Path, cli: CommandLine
    ) -> None:
        planned = cli("plan", "--format", "markdown", cwd=project)
        assert planned.returncode == 0
        assert planned.stdout.startswith("### Plan: 4 to create\n\n- **create** `image.small.rootfs`")
        edit(project, 'image = "small"', 'image = "smal"')
        refused = cli("plan", "--format=markdown", cwd=project)
        assert refused.returncode == 3
        assert refused.stdout.startswith("### 1 problem\n\n- `vm.toml:5`: ")
        assert refused.stderr.startswith("vm.toml:5: ")

    @pytest.mark.parametrize("command", ["plan", "validate"])
    def test_problems_are_annotations_in_a_log_of_actions_and_said_once(
        self, command: str, project: Path, cli: CommandLine
    ) -> None:
        edit(project, 'image = "small"', 'image = "smal"')
        refused = cli(command, "--format", "github", cwd=project)
        assert (refused.returncode, refused.stderr) == (3, "")
        assert refused.stdout.startswith("::error file=vm.toml,line=5::vm.web.image: unknown image 'smal'%0A")

    def test_what_is_blocked_is_an_annotation_where_it_is_declared(
        self, applied: Path, cli: CommandLine
    ) -> None:
        (applied / ROOT).unlink()
        (applied / ROOT).mkdir()
        planned = cli("plan", "--format", "github", cwd=applied)
        assert planned.returncode == 0
        assert "::error file=vm.toml,line=4,title=vm.web.root is blocked::" in planned.stdout

    def test_two_forms_at_once_are_an_error(self, project: Path, cli: CommandLine) -> None:
        refused = cli("plan", "--json", "--format", "github", cwd=project)
        assert refused.returncode == 3
        assert "--json and --format github are two forms" in refused.stderr
        assert json.loads(refused.stdout)["error"]["hint"] == "leave one of them out"
