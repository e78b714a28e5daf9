"""The labels that every run carries."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kfgcp import labels
from kfgcp.deploy.schedules.labels import run_labels


def git(folder: Path, *args: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *args], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    (tmp_path / "pipe.py").write_text("x = 1\n")
    git(tmp_path, "add", "pipe.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def of(folder: Path, **fields: str) -> dict[str, str]:
    plain = {"pipeline": "train", "version": "sha256:" + "ab12" * 16, "env": "dev"}
    return labels.automatic_labels(folder=folder, **(plain | fields))


def test_a_run_is_labelled_with_what_it_came_from(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "Ann.Lee@Acme")

    assert of(repository) == {
        "pipeline": "train",
        "version": "ab12ab12ab12",
        "git": git(repository, "rev-parse", "HEAD"),
        "git-dirty": "false",
        "env": "dev",
        "user": "ann-lee-acme",
    }


def test_a_change_that_is_not_committed_is_dirty_and_a_new_file_is_not(repository: Path) -> None:
    (repository / "notes.txt").write_text("new")
    assert of(repository)["git-dirty"] == "false"
    (repository / "pipe.py").write_text("x = 2\n")
    assert of(repository)["git-dirty"] == "true"


def test_without_a_repository_there_are_no_git_labels(tmp_path: Path) -> None:
    assert not {"git", "git-dirty"} & set(of(tmp_path))
    assert not {"git", "git-dirty"} & set(of(tmp_path / "not-there"))


def test_a_repository_without_a_commit_has_none_either(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert "git" not in of(tmp_path)


def test_without_git_there_are_no_git_labels(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert "git" not in of(repository)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Train Model", "train-model"),
        ("größe", "gr-e"),
        ("a" * 80, "a" * 63),
        ("--x--", "x"),
        ("", ""),
        ("snake_case-1", "snake_case-1"),
    ],
)
def test_any_text_becomes_a_value_that_google_allows(text: str, value: str) -> None:
    assert labels.label_value(text) == value


def test_a_repetition_is_not_the_run_of_a_due_time() -> None:
    scheduled = run_labels("shop", "daily", datetime(2026, 3, 1, 6, tzinfo=UTC))

    assert labels.repeated_labels({**scheduled, "team": "blue"}) == {"team": "blue"}
