"""`kfgcp init`: a project that runs at once, and nothing overwritten."""

import tomllib
from pathlib import Path

import pytest

from kfgcp_command import Command


def test_a_new_project_runs_at_once(kfgcp: Command, home: Path) -> None:
    init_result = kfgcp("init")

    assert (init_result.code, init_result.out.splitlines()) == (
        0,
        ["kfgcp.toml", "pipelines/long_words.py", ".gitignore"],
    )
    assert init_result.err == "next: kfgcp run pipelines/long_words.py\n"
    result = kfgcp(*init_result.err.split()[2:], "--json")
    assert result.code == 0, result.err
    run = result.json
    assert run["outputs"] == {"Output": pytest.approx(3 / 9)}  # quick, brown, jumps
    assert {metric["name"]: metric["value"] for metric in run["metrics"]} == {
        "share_of_long_words": pytest.approx(3 / 9),
        "mean_length": pytest.approx(35 / 9),
    }
    assert "Warning" not in result.err
    assert [run["state"] for run in kfgcp("list", "--json").json] == ["SUCCEEDED"]
    assert "kfgcp" not in (home / "pipelines/long_words.py").read_text().partition("\n")[2]


def test_a_project_in_another_folder(kfgcp: Command, home: Path) -> None:
    init_result = kfgcp("init", "a/new one")

    assert init_result.code == 0
    assert init_result.err == "next: cd 'a/new one' && kfgcp run pipelines/long_words.py\n"
    assert (
        tomllib.loads((home / "a/new one/kfgcp.toml").read_text())["project"]["name"] == "new one"
    )
    assert kfgcp("list", cwd=home / "a/new one").code == 0


@pytest.mark.parametrize("existing_file", ["kfgcp.toml", "pipelines/long_words.py"])
def test_a_file_that_is_there_stays_and_nothing_is_written(
    kfgcp: Command, home: Path, existing_file: str
) -> None:
    (home / existing_file).parent.mkdir(exist_ok=True)
    (home / existing_file).write_text("mine")

    result = kfgcp("init")

    assert (result.code, result.out) == (2, "")
    assert f"{existing_file} already exists. Nothing was written." in result.err
    assert [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()] == [
        existing_file
    ]
    assert (home / existing_file).read_text() == "mine"


def test_other_files_and_a_gitignore_are_left_alone(kfgcp: Command, home: Path) -> None:
    (home / ".gitignore").write_text("mine\n")
    (home / "pipelines").mkdir()
    (home / "pipelines/other.py").write_text("x = 1\n")

    init_result = kfgcp("init")

    assert (init_result.code, init_result.out.splitlines()) == (
        0,
        ["kfgcp.toml", "pipelines/long_words.py"],
    )
    assert (home / ".gitignore").read_text() == "mine\n"
    assert (home / "pipelines/other.py").read_text() == "x = 1\n"


@pytest.mark.parametrize(
    "name",
    ['say "hi"', "back\\slash", "new\nline", "Grüße 世界", "tab\tbell\x07", "{name}", "\u202e"],
)
def test_any_name_of_a_folder_makes_a_valid_file(kfgcp: Command, home: Path, name: str) -> None:
    assert kfgcp("init", name).code == 0
    assert tomllib.loads((home / name / "kfgcp.toml").read_text(encoding="utf-8"))["env"] == {
        "local": {"backend": "local"}
    }


def test_a_folder_that_cannot_be_made_is_an_error_and_leaves_nothing(
    kfgcp: Command, home: Path
) -> None:
    (home / "pipelines").write_text("a file in the way")
    (home / "file").write_text("")

    for folder in (".", "file/below"):
        result = kfgcp("init", folder)
        assert (result.code, result.out) == (5, "")
        assert "cannot be written" in result.err
    assert sorted(path.name for path in home.iterdir()) == ["file", "pipelines"]
