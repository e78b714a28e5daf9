"""`kfgcp init`: a project that runs at once, and nothing overwritten."""

import tomllib
from pathlib import Path
from typing import Any

import pytest


def test_a_new_project_runs_at_once(kfgcp: Any, home: Path) -> None:
    made = kfgcp("init")

    assert (made.code, made.out.splitlines()) == (
        0,
        ["kfgcp.toml", "pipelines/long_words.py", ".gitignore"],
    )
    assert made.err == "next: kfgcp run pipelines/long_words.py\n"
    done = kfgcp(*made.err.split()[2:], "--json")
    assert done.code == 0, done.err
    run = done.json
    assert run["outputs"] == {"Output": pytest.approx(3 / 9)}  # quick, brown, jumps
    assert {metric["name"]: metric["value"] for metric in run["metrics"]} == {
        "share_of_long_words": pytest.approx(3 / 9),
        "mean_length": pytest.approx(35 / 9),
    }
    assert "Warning" not in done.err
    assert [run["state"] for run in kfgcp("list", "--json").json] == ["SUCCEEDED"]
    assert "kfgcp" not in (home / "pipelines/long_words.py").read_text().partition("\n")[2]


def test_a_project_in_another_folder(kfgcp: Any, home: Path) -> None:
    made = kfgcp("init", "a/new one")

    assert made.code == 0
    assert made.err == "next: cd 'a/new one' && kfgcp run pipelines/long_words.py\n"
    assert (
        tomllib.loads((home / "a/new one/kfgcp.toml").read_text())["project"]["name"] == "new one"
    )
    assert kfgcp("list", cwd=home / "a/new one").code == 0


@pytest.mark.parametrize("taken", ["kfgcp.toml", "pipelines/long_words.py"])
def test_a_file_that_is_there_stays_and_nothing_is_written(
    kfgcp: Any, home: Path, taken: str
) -> None:
    (home / taken).parent.mkdir(exist_ok=True)
    (home / taken).write_text("mine")

    done = kfgcp("init")

    assert (done.code, done.out) == (2, "")
    assert f"{taken} already exists. Nothing was written." in done.err
    assert [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()] == [taken]
    assert (home / taken).read_text() == "mine"


def test_other_files_and_a_gitignore_are_left_alone(kfgcp: Any, home: Path) -> None:
    (home / ".gitignore").write_text("mine\n")
    (home / "pipelines").mkdir()
    (home / "pipelines/other.py").write_text("x = 1\n")

    made = kfgcp("init")

    assert (made.code, made.out.splitlines()) == (0, ["kfgcp.toml", "pipelines/long_words.py"])
    assert (home / ".gitignore").read_text() == "mine\n"
    assert (home / "pipelines/other.py").read_text() == "x = 1\n"


@pytest.mark.parametrize(
    "name",
    ['say "hi"', "back\\slash", "new\nline", "Grüße 世界", "tab\tbell\x07", "{name}", "\u202e"],
)
def test_any_name_of_a_folder_makes_a_valid_file(kfgcp: Any, home: Path, name: str) -> None:
    assert kfgcp("init", name).code == 0
    assert tomllib.loads((home / name / "kfgcp.toml").read_text(encoding="utf-8"))["env"] == {
        "local": {"backend": "local"}
    }


def test_a_folder_that_cannot_be_made_is_an_error_and_leaves_nothing(
    kfgcp: Any, home: Path
) -> None:
    (home / "pipelines").write_text("a file in the way")
    (home / "file").write_text("")

    for folder in (".", "file/below"):
        done = kfgcp("init", folder)
        assert (done.code, done.out) == (5, "")
        assert "cannot be written" in done.err
    assert sorted(path.name for path in home.iterdir()) == ["file", "pipelines"]
