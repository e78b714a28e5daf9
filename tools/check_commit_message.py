"""Check the message of a commit. git runs this program before it makes the commit.

    python tools/check_commit_message.py .git/COMMIT_EDITMSG

The rules are those of CONTRIBUTING.md: Conventional Commits
(https://www.conventionalcommits.org/en/v1.0.0/), and a subject of at most 72 characters, because
`git log --oneline` and review tools cut longer ones.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

LONGEST_SUBJECT: Final = 72
TYPES: Final = (
    "build",
    "chore",
    "ci",
    "docs",
    "feat",
    "fix",
    "perf",
    "refactor",
    "revert",
    "style",
    "test",
)
_SUBJECT: Final = re.compile(r"(?P<type>\w+)(\([^()]+\))?!?: (?P<text>.*)")

# git writes these subjects itself, and `git rebase --autosquash` reads the last two.
_PREFIXES_OF_GIT: Final = ("Merge ", "Revert ", "fixup! ", "squash! ")


def problems(message: str) -> list[str]:
    """Return what is wrong with the message of a commit, each with what to do.

    Example:
        >>> problems("feat: cancel a run by its name")
        []
        >>> problems("Cancel a run")
        ['Begin the subject with a type, such as "fix: " or "feat(engine): ".']
    """
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    while lines and not lines[0].strip():
        del lines[0]
    if not lines:
        return ["The message is empty."]
    subject = lines[0]
    if subject.startswith(_PREFIXES_OF_GIT):
        return []
    result = []
    if len(subject) > LONGEST_SUBJECT:
        result.append(
            f"The subject has {len(subject)} characters. It may have at most {LONGEST_SUBJECT}."
            " Move the reason into the body."
        )
    match = _SUBJECT.fullmatch(subject)
    if match is None:
        result.append('Begin the subject with a type, such as "fix: " or "feat(engine): ".')
    else:
        result += _problems_of_text(match["type"], match["text"])
    if len(lines) > 1 and lines[1].strip():
        result.append("Leave the second line empty: it separates the subject from the body.")
    return result


def _problems_of_text(type_name: str, text: str) -> list[str]:
    result = []
    if type_name not in TYPES:
        result.append(f'"{type_name}" is not a type. Use one of: {", ".join(TYPES)}.')
    if not text.strip():
        result.append("Write what the commit does after the type.")
    if text.endswith("."):
        result.append("Remove the full stop at the end of the subject.")
    return result


def main(arguments: list[str]) -> int:
    """Print the problems of the message in a file, and return the exit status."""
    if len(arguments) != 1:
        print("usage: check_commit_message.py FILE", file=sys.stderr)
        return 2
    message_problems = problems(Path(arguments[0]).read_text(encoding="utf-8"))
    for problem in message_problems:
        print(problem, file=sys.stderr)
    return 1 if message_problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
