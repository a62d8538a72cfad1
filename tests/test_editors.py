"""What an editor makes of the schema: the examples are right by it, and a typo in any of them is found."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import PROJECT

SCHEMA = PROJECT / "schemas/manifest.schema.json"
EXAMPLES = sorted((PROJECT / "examples").rglob("*.toml"))
TYPOS = {"image": "imgae", "names": "namse", "memory": "memroy", "guest": "geust"}
"""Keys of all kinds of tables, and how they are mistyped."""


def run(program: str, *arguments: Path | str) -> subprocess.CompletedProcess[str]:
    """A program of the environment that the tests run in."""
    command = [str(Path(sys.executable).with_name(program)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def tombi(*paths: Path) -> subprocess.CompletedProcess[str]:
    return run("tombi", "lint", "--offline", "--error-on-warnings", *paths)


def check_jsonschema(*paths: Path) -> subprocess.CompletedProcess[str]:
    return run("check-jsonschema", "--schemafile", SCHEMA, *paths)


@pytest.fixture(scope="module")
def misspelt(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, list[str]]:
    """Each example with one key mistyped, and the typos."""
    directory = tmp_path_factory.mktemp("typos")
    found = {}
    for number, example in enumerate(EXAMPLES):
        text = example.read_text().replace(first_line(example), f"#:schema {SCHEMA}", 1)
        for key, typo in TYPOS.items():
            changed = re.sub(rf"^{key}(?= = )", typo, text, count=1, flags=re.MULTILINE)
            if changed != text:
                path = directory / f"{number}-{typo}.toml"
                path.write_text(changed)
                found[path] = [typo]
    assert len({path.name.partition("-")[2] for path in found}) == len(TYPOS)
    return found


def first_line(example: Path) -> str:
    return example.read_text().partition("\n")[0]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_an_example_names_the_schema_for_editors(example: Path) -> None:
    line = first_line(example)
    assert line.startswith("#:schema ")
    assert (example.parent / line.removeprefix("#:schema ")).resolve() == SCHEMA


def test_the_examples_are_right_by_the_schema_alone() -> None:
    for judged in (tombi(*EXAMPLES), check_jsonschema(*EXAMPLES)):
        assert judged.returncode == 0, judged.stdout + judged.stderr


def test_a_typo_in_an_example_is_found(misspelt: dict[Path, list[str]]) -> None:
    for judged in (tombi(*misspelt), check_jsonschema(*misspelt)):
        assert judged.returncode == 1
        said = judged.stdout + judged.stderr
        assert [path.name for path in misspelt if path.name not in said] == []
        assert all(typo in said for typos in misspelt.values() for typo in typos)


def test_in_a_fleet_a_template_may_stand_for_any_value_and_nowhere_else(tmp_path: Path) -> None:
    table = 'vcpus = "{{ n }}"\nmemory = "{{ n }}GiB"\nroot.format = "{{ f }}"\nhostname = "h-{{ name }}"\n'
    (tmp_path / "fleet.toml").write_text(
        f'[fleet.r]\nnames = "r-1"\n[fleet.r.vm]\nimage = "{{{{ i }}}}"\n{table}'
    )
    (tmp_path / "vm.toml").write_text(f'[vm.r]\nimage = "i"\n{table}')
    assert check_jsonschema(tmp_path / "fleet.toml").returncode == 0
    assert check_jsonschema(tmp_path / "vm.toml").returncode == 1


def test_the_shapes_of_a_fleets_vm_are_made_of_those_of_a_vm() -> None:
    made = subprocess.run([sys.executable, PROJECT / "tools/templated.py"], capture_output=True, check=True)
    assert SCHEMA.read_bytes() == made.stdout, (
        "tools/templated.py > new && mv new schemas/manifest.schema.json"
    )


def test_the_schema_is_named_alike_everywhere() -> None:
    schema, entry = (
        json.loads((PROJECT / "schemas" / name).read_text()) for name in (SCHEMA.name, "schemastore.json")
    )
    assert schema["$id"] == entry["url"]
    assert {"name", "description", "fileMatch", "url"} == entry.keys()
