"""The check of commit messages, and the hook that calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from check_commit_message import problems
from patience import PROCESS

CHECK = Path(__file__).parents[2] / "tools" / "check_commit_message.py"


@pytest.mark.parametrize(
    "message",
    [
        "feat: cancel a run by its name",
        "fix(engine)!: keep the log of a killed task\n\nThe file was removed too early.\n",
        "# written by git\n\nfeat: keep comments of git apart\n# Please enter the message.\n",
        "Merge branch 'main' into runs",
        "fixup! feat: cancel a run by its name",
        "feat: " + "x" * 66,
    ],
)
def test_a_good_message(message: str) -> None:
    assert problems(message) == []


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("", "The message is empty."),
        ("# only a comment of git\n", "The message is empty."),
        ("Cancel a run", 'Begin the subject with a type, such as "fix: " or "feat(engine): ".'),
        ("feat:cancel a run", 'Begin the subject with a type, such as "fix: "'),
        ("feature: cancel a run", '"feature" is not a type. Use one of: build, chore, ci, docs'),
        ("fix: ", "Write what the commit does after the type."),
        ("fix: cancel a run.", "Remove the full stop at the end of the subject."),
        ("feat: " + "x" * 67, "The subject has 73 characters. It may have at most 72."),
        ("feat: cancel\nby name", "Leave the second line empty"),
    ],
)
def test_a_message_with_a_problem(message: str, problem: str) -> None:
    (only,) = problems(message)
    assert only.startswith(problem)


def test_git_refuses_a_commit_with_such_a_message(tmp_path: Path) -> None:
    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        identity = ("-c", "user.name=Ann", "-c", "user.email=ann@acme.example")
        return subprocess.run(
            ["git", *identity, *arguments],
            cwd=tmp_path,
            env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},
            capture_output=True,
            text=True,
            timeout=PROCESS,
        )

    git("init", "--quiet")
    hook = tmp_path / ".git" / "hooks" / "commit-msg"
    hook.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{CHECK}" "$1"\n')
    hook.chmod(0o755)

    refused = git("commit", "--allow-empty", "-m", "Changed some things")
    commit = git("commit", "--allow-empty", "-m", "fix: keep the log of a killed task")

    assert refused.returncode != 0
    assert "Begin the subject with a type" in refused.stderr
    assert commit.returncode == 0, commit.stderr
    assert git("log", "--format=%s").stdout == "fix: keep the log of a killed task\n"
