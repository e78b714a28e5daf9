"""Fixtures for the tests of documents: their code blocks, and shells that run the commands."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shells import Shell, Terminal


@pytest.fixture(scope="session")
def blocks() -> Callable[[str, str], list[str]]:
    """Return a function that finds the fenced blocks of a language in a text, also inside lists."""

    def find(text: str, language: str) -> list[str]:
        fence = re.compile(rf"^( *)```{language}\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
        return [
            re.sub(rf"^{indent}", "", block, flags=re.MULTILINE)
            for indent, block in fence.findall(text)
        ]

    return find


@pytest.fixture(scope="session")
def section() -> Callable[[str, str], str]:
    """Return a function that finds the text below a heading such as `## Logs`.

    The text ends before the next heading of the same or a higher level.
    """

    def find(text: str, heading: str) -> str:
        lines = text.splitlines(keepends=True)
        start = lines.index(f"{heading}\n") + 1
        end = re.compile(f"#{{1,{heading.partition(' ')[0].count('#')}}} ")
        section_lines: list[str] = []
        fenced = False
        for line in lines[start:]:
            fenced ^= line.startswith("```")
            if not fenced and end.match(line):
                break
            section_lines.append(line)
        return "".join(section_lines)

    return find


@pytest.fixture
def shell_environment(environment: Callable[..., dict[str, str]]) -> dict[str, str]:
    """Return the environment of a user who has `kfgcp` on the PATH."""
    return environment(
        {
            "PATH": os.pathsep.join(
                [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
            )
        }
    )


@pytest.fixture
def shell(tmp_path: Path, shell_environment: dict[str, str]) -> Shell:
    return Shell(tmp_path, shell_environment)


@pytest.fixture
def terminal(tmp_path: Path, shell_environment: dict[str, str]) -> Terminal:
    return Terminal(tmp_path, shell_environment)
