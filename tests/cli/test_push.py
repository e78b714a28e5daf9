"""`kfgcp push` and `kfgcp version`, and runs by the name of a version."""

import json
from pathlib import Path

import pytest

from kfgcp_command import Command

SOURCE = """
from kfp import dsl

@dsl.component
def add(a: int, b: int) -> int:
    return a + b

@dsl.pipeline(name="sums")
def sums(a: int = 1) -> int:
    return add(a=a, b=2).output
"""


@pytest.fixture
def version(kfgcp: Command, home: Path) -> str:
    """The version of a pipeline that was pushed with the tag v1."""
    (home / "p.py").write_text(SOURCE)
    result = kfgcp("push", "p.py", "--tag", "v1", "--json")
    assert result.code == 0, result.err
    version: str = json.loads(result.out)["version"]
    return version


def test_a_push_says_what_it_did_and_what_to_do_next(
    kfgcp: Command, home: Path, version: str
) -> None:
    again = kfgcp("push", "p.py", "--tag", "v1", "--tag", "stable")

    assert again.code == 0
    assert again.out.splitlines() == [
        f"sums  {version}",
        f"already in {home / '.kfgcp' / 'versions'}",
        "tags set: stable",
    ]
    assert again.err == "next: kfgcp run sums@stable --env local\n"


def test_the_next_command_has_the_parameters_that_each_run_must_give(
    kfgcp: Command, home: Path
) -> None:
    (home / "p.py").write_text(SOURCE.replace("a: int = 1", "a: int"))

    result = kfgcp("push", "p.py", "--tag", "v1")

    assert result.err == "next: kfgcp run sums@v1 --env local -p a=VALUE\n"


def test_versions_are_listed_and_shown(kfgcp: Command, version: str) -> None:
    listed = kfgcp("version", "list")
    header, line = listed.out.splitlines()
    assert header.split() == ["PIPELINE", "VERSION", "CREATED", "TAGS"]
    name, short, _, tags = line.split()
    assert (name, short, tags) == ("sums", version[:19], "v1")

    shown = kfgcp("version", "show", "sums@v1")
    assert f"version   {version}" in shown.out.splitlines()
    [entry] = json.loads(kfgcp("version", "list", "sums", "--json").out)
    assert entry == json.loads(kfgcp("version", "show", "sums@v1", "--json").out)
    assert (entry["version"], entry["tags"]) == (version, ["v1"])


def test_a_run_by_a_tag_records_the_version_and_a_rerun_uses_it(
    kfgcp: Command, home: Path, version: str
) -> None:
    (home / "p.py").unlink()

    run = json.loads(kfgcp("run", "sums@v1", "--json").out)
    assert (run["pipeline"], run["version"], run["outputs"]) == ("sums", version, {"Output": 3})

    repeated = json.loads(kfgcp("rerun", run["run_id"], "-p", "a=5", "--json").out)
    assert (repeated["version"], repeated["outputs"]) == (version, {"Output": 7})
    assert kfgcp("run", f"sums@{version[:15]}", "--json").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "sums@v1"),
        ("compile", "sums@v1", "-o", "copy.yaml"),
        ("doctor", "sums@v1"),
        ("diff", "p.py", "sums@v1", "--exit-code"),
        ("run", "sums@v1", "--dry-run"),
        ("version", "diff", "sums@v1", "sums@latest", "--exit-code"),
    ],
)
def test_verbs_take_the_name_of_a_version(
    kfgcp: Command, version: str, arguments: tuple[str, ...]
) -> None:
    result = kfgcp(*arguments)

    assert result.code == 0, result.err


def test_a_tag_moves_and_a_version_is_downloaded(kfgcp: Command, home: Path, version: str) -> None:
    assert kfgcp("version", "tag", "sums@v1", "stable").code == 0

    downloaded = kfgcp("version", "download", "sums@stable", "-o", "sums.yaml")

    assert downloaded.out == "sums.yaml\n"
    compiled = json.loads(kfgcp("compile", "sums.yaml", "--json").out)
    assert compiled["version"] == version


def test_a_download_never_replaces_the_source_of_a_pipeline(
    kfgcp: Command, home: Path, version: str
) -> None:
    source = (home / "p.py").read_text()

    refused = kfgcp("version", "download", "sums@v1", "-o", "p.py")

    assert refused.code == 2
    assert refused.err.splitlines() == [
        "error: p.py must end in .yaml, because the text of a version is YAML.",
        "hint: Write it to: -o p.yaml",
    ]
    assert (home / "p.py").read_text() == source


def test_an_edit_does_not_take_the_tag_of_a_release(
    kfgcp: Command, home: Path, version: str
) -> None:
    (home / "p.py").write_text(SOURCE.replace("a + b", "a - b"))

    result = kfgcp("push", "p.py", "--tag", "v1")

    assert result.code == 2
    error, hint = result.err.splitlines()
    assert error.startswith(f"error: The tag v1 of sums points to {version[:19]} and cannot move")
    assert hint.startswith("hint: Tags that begin with v and a digit never move.")
    assert len(json.loads(kfgcp("version", "list", "--json").out)) == 1


def test_a_missing_tag_is_one_line_with_similar_tags(kfgcp: Command, version: str) -> None:
    result = kfgcp("run", "sums@v1.0")

    assert result.code == 2
    error, hint = result.err.splitlines()
    assert error.startswith("error: sums has no tag 'v1.0' in ")
    assert hint == (
        "hint: Did you mean 'v1'? Its tags: v1. All versions: kfgcp version list sums --env local"
    )


def test_an_empty_registry_says_how_to_push(kfgcp: Command) -> None:
    result = kfgcp("version", "list")

    assert (result.code, result.out) == (0, "")
    assert "kfgcp push PIPELINE" in result.err
