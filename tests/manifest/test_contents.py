"""The content of a `[[file]]`: as it is written, or from a template in it or in a host file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bangerbuild.host.secrets import SecretCommand, SecretFile, SecretVariable
from tests.manifest.loading import WEB, loaded, problems_of, vm, write

FILE = WEB + '[[vm.web.file]]\nguest = "/a"\n'


def test_a_content_is_no_template_unless_it_says_so() -> None:
    assert loaded(FILE + 'content = "{{ name }}"').vms["web"].files[0].content == "{{ name }}"
    text = FILE + 'template = true\ncontent = "{{ name }}"'
    assert loaded(text).vms["web"].files[0].content == "web"


def test_a_template_may_be_a_host_file_whose_time_it_may_have() -> None:
    path = write("conf/a.j2", "{{ image }}\n{{ hostname }}\n")
    os.utime(path, ns=(0, 1234567890))
    text = FILE + 'template = true\nhost = "conf/a.j2"\ntimes = "host"'
    (file,) = loaded(text).vms["web"].files
    assert (file.content, file.mtime_ns) == ("debian\nweb\n", 1234567890)


def test_defaults_and_files_of_all_vms_are_evaluated_for_each() -> None:
    text = (
        WEB
        + '[vm.db]\nimage = "debian"\n[defaults]\n'
        + "".join(
            f'[[{table}]]\nguest = "/{index}"\ntemplate = true\ncontent = "{{{{ name }}}}"\n'
            for index, table in enumerate(("file", "defaults.file"))
        )
    )
    found = loaded(text).vms
    assert {name: [file.content for file in one.files] for name, one in found.items()} == {
        "web": ["web", "web"],
        "db": ["db", "db"],
    }


def test_a_file_of_an_image_knows_the_image_and_the_variables() -> None:
    text = '[vars]\na = 1\n[[image.debian.file]]\nguest = "/a"\n'
    text += 'template = true\ncontent = "{{ image }} {{ vars.a }}"'
    found = loaded('[image.debian.rootfs]\ntar = "root.tar"\n' + text)
    assert found.images["debian"].files[0].content == "debian 1"


def test_a_problem_in_a_host_file_is_told_there() -> None:
    write("a.j2", "fine\n{{ nothing }}\n")
    (problem,) = problems_of(FILE + 'template = true\nhost = "a.j2"')
    assert (problem.file, problem.line, problem.message) == ("a.j2", 2, "'nothing' is undefined")
    write("a.j2", "fine\n\n{% if %}\n")
    (problem,) = problems_of(FILE + 'template = true\nhost = "a.j2"')
    assert (problem.file, problem.line) == ("a.j2", 3)


def test_a_vm_without_an_address_does_not_know_one() -> None:
    (problem,) = problems_of(FILE + 'template = true\ncontent = "{{ address }}"')
    assert problem.message == "'address' is undefined"


@pytest.mark.parametrize(("data", "why"), [(b"\xff", "it is not UTF-8"), (None, "is not there")])
def test_a_host_file_that_is_no_template_is_told(data: bytes | None, why: str) -> None:
    if data is not None:
        Path("a.j2").write_bytes(data)
    (problem,) = problems_of(FILE + 'template = true\nhost = "a.j2"')
    assert why in problem.message


def test_all_addresses_are_known() -> None:
    found = vm("""[vm.web]
image = "debian"
network.address = "10.0.0.2/24"
[[vm.web.file]]
guest = "/a"
template = true
content = "{% for name, address in vms.items() %}{{ name }}={{ address }} {% endfor %}"
[vm.db]
image = "debian"
network.address = "10.0.0.3/24"
[vm.none]
image = "debian"
""")
    assert found.files[0].content == "web=10.0.0.2 db=10.0.0.3 "


SECRETS = {
    '{ env = "TOKEN" }': SecretVariable("TOKEN"),
    '{ command = ["pass", "show", "x"] }': SecretCommand(("pass", "show", "x"), Path.cwd()),
}


@pytest.mark.parametrize("written", SECRETS)
def test_a_secret_is_named_and_not_read_and_its_file_is_private(written: str) -> None:
    (file,) = loaded(FILE + f"content = {written}\n").vms["web"].files
    assert file.secret is not None
    assert type(file.secret.origin) is type(SECRETS[written])
    assert (file.content, file.mode) == ("", 0o600)
    assert (file.secret.file, file.secret.line, file.secret.key) == ("vm.toml", 6, "vm.web.file[0].content")


def test_a_secret_file_is_relative_to_its_manifest_and_need_not_be_there_yet() -> None:
    text = FILE + 'mode = "0640"\ncontent = { file = "keys/token" }\n'
    (file,) = loaded(text).vms["web"].files
    assert file.secret is not None
    assert file.secret.origin == SecretFile(Path("keys/token").absolute(), "keys/token")
    assert file.mode == 0o640


def test_members_of_a_fleet_may_each_have_a_secret_of_their_own() -> None:
    found = loaded("""[image.debian.rootfs]
tar = "root.tar"
[fleet.ci]
names = "ci-{1..2}"
[fleet.ci.vm]
image = "debian"
[[fleet.ci.vm.file]]
guest = "/a"
content = { env = "TOKEN_{{ index }}" }
[[fleet.ci.vm.file]]
guest = "/b"
content = { command = ["pass", "show", "ci/{{ name }}"] }
""").vms
    origins = [[file.secret and file.secret.origin.written for file in vm.files] for vm in found.values()]
    assert origins == [
        [f"the environment variable 'TOKEN_{index}'", f"'pass show ci/ci-{index}'"] for index in (1, 2)
    ]


BAD_SECRETS = {
    "content = {}": "content is a table: give text, { env =",
    'content = { env = "A", file = "b" }': "content is a table: give text, { env =",
    'content = { variable = "A" }': "unknown key 'variable'",
    'content = { env = "A B" }': "env is 'A B': give the name of a variable",
    "content = { command = [] }": "command is an array: give an array with a program",
    'content = { command = "pass show x" }': "command is 'pass show x': give an array with a program",
    'content = { env = "A" }\ntemplate = true': "'template' does not go with a secret",
    'content = { env = "A" }\nhost = "a.j2"': "'host' does not go with a secret",
}


@pytest.mark.parametrize("text", BAD_SECRETS)
def test_what_is_no_secret_is_told(text: str) -> None:
    problem, *_ = problems_of(FILE + text)
    assert (problem.line >= 6, BAD_SECRETS[text] in problem.message) == (True, True), problem


def test_an_image_holds_no_secret() -> None:
    text = 'image.debian.rootfs.tar = "root.tar"\n[[image.debian.file]]\nguest = "/a"\n'
    (problem,) = problems_of(text + 'content = { env = "TOKEN" }\n')
    assert (problem.line, problem.key) == (4, "image.debian.file[0].content")
    assert problem.message == "an image holds no secrets: all its VMs share it, and it may be pushed"
