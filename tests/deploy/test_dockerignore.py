"""Which files .dockerignore leaves out. The cases are those of Docker's documentation
("Dockerignore files", "Build context")."""

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
