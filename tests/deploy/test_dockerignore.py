"""Which files .dockerignore leaves out. The cases are those of Docker's documentation
("Dockerignore files", "Build context"), and of moby/patternmatcher 0.6.1: a program with `ReadAll`
and `MatchesUsingParentResults` gave the answers of `REFERENCE_CASES`."""

import re

import pytest

from kfgcp.deploy.images.dockerignore import Dockerignore


@pytest.mark.parametrize(
    ("lines", "path", "is_ignored"),
    [
        (["# comment"], "# comment", False),
        (["*/temp*"], "somedir/temporary.txt", True),
        (["*/temp*"], "somedir/temp/a.txt", True),
        (["*/temp*"], "temporary.txt", False),
        (["*/*/temp*"], "somedir/subdir/temporary.txt", True),
        (["*/*/temp*"], "somedir/temporary.txt", False),
        (["temp?"], "tempa", True),
        (["temp?"], "temp", False),
        (["**/*.go"], "a.go", True),
        (["**/*.go"], "a/b/c.go", True),
        (["*.md", "!README.md"], "README.md", False),
        (["*.md", "!README.md"], "notes.md", True),
        (["*.md", "!README*.md", "README-secret.md"], "README-secret.md", True),
        (["*.md", "README-secret.md", "!README*.md"], "README-secret.md", False),
        (["/foo/bar"], "foo/bar", True),
        (["foo/bar/"], "foo/bar/a", True),
        (["foo"], "a/foo", False),
        (["*"], "a/b", True),
        (["*", "!a"], "a/b", False),
        (["[ab].txt"], "b.txt", True),
        (["[ab].txt"], "c.txt", False),
        (["a+b"], "aab", False),
        (["", "  ", "."], "a", False),
    ],
)
def test_a_pattern(lines: list[str], path: str, is_ignored: bool) -> None:
    assert Dockerignore(lines).matches(path) is is_ignored


REFERENCE_CASES = [
    # An exception for a folder does not bring back a file that is ignored by its own pattern.
    (["a/x.txt", "!a"], "a/x.txt", True),
    (["a", "!a"], "a/x.txt", False),
    (["a/*", "!a/x.txt"], "a/x.txt", False),
    (["*", "!a/b"], "a/b/c", False),
    (["*", "!**/*.py"], "a/b/c.py", False),
    (["!a", "*"], "a", True),
    # `**` ends with a slash or is empty, but not at the end of a pattern.
    (["**"], "a/b", True),
    (["a/**"], "a", False),
    (["a/**"], "a/b/c", True),
    (["a/**/b"], "a/b", True),
    (["a/**/b"], "a/c/d/b", True),
    (["a**b"], "axb", False),
    (["a**b"], "ax/b", True),
    (["**.log"], "a/b.log", True),
    (["**b*"], "ab1", False),
    (["**/logs"], "a/b/logs/c", True),
    (["***"], "a/b", True),
    # Paths are cleaned.
    (["a/../b"], "b", True),
    (["./a//b/"], "a/b", True),
    (["../a"], "a", False),
    (["! b", "c"], "c", True),
    (["*", "!/a"], "a", False),
    (["*", "! a "], "a", False),
    (["  a  \r"], "a", True),
    ([" # a"], "# a", True),
    (["\\#a"], "#a", True),
    (["\\!a"], "!a", True),
    (["!!a"], "!a", False),
    # Sets, escapes and characters that have a meaning in a regular expression.
    (["[a-c]x"], "bx", True),
    (["[^a]x"], "bx", True),
    (["[^a]x"], "ax", False),
    (["[!a]x"], "!x", True),
    (["[\\]]x"], "]x", True),
    (["\\*x"], "*x", True),
    (["\\*x"], "ax", False),
    (["a]"], "a]", True),
    (["a.b"], "axb", False),
    (["a$(b)"], "a$(b)", True),
    (["?"], "ä", True),
    (["a?b"], "a/b", False),
]


@pytest.mark.parametrize(("lines", "path", "is_ignored"), REFERENCE_CASES)
def test_a_pattern_means_what_it_means_to_docker(
    lines: list[str], path: str, is_ignored: bool
) -> None:
    assert Dockerignore(lines).matches(path) is is_ignored


@pytest.mark.parametrize("line", ["[a", "[]", "[b-a]", "a\\", "!", "! ", "!/"])
def test_a_pattern_that_docker_refuses_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line)):
        Dockerignore([line])
