"""Requirements that name what may change: folders and files of this machine, branches of git
repositories.

An environment is kept by what it was made of. Of a folder that is the content of its files; of a
branch the commit that it leads to now, asked of the repository, or when that does not answer the
one that it last led to.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from kfgcp import private
from kfgcp.atomic import write_file
from kfgcp.engine import git_credentials
from kfgcp.engine.requirements import Requirements
from kfgcp.spec.credentials import has_password

GIT_SECONDS: Final = 15.0
READ_BYTES: Final = 64 << 20
"""How much of the files of a folder is read; size and time of change stand for the rest."""
_NAMED = re.compile(r"(?:-e\s+)?(?:[A-Za-z0-9][\w.-]*\s*(?:\[[^]]*\])?\s*@\s*)?(.*)", re.DOTALL)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ARCHIVES = (".whl", ".tar.gz", ".zip")
_MADE = frozenset(
    {
        *(".git", ".hg", ".svn", ".kfgcp", ".venv", ".tox", ".nox", "node_modules"),
        *("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"),
    }
)
_MADE_AT_TOP = frozenset({"build", "dist"})


def can_change(wanted: Requirements) -> bool:
    """Whether the requirements name something whose content may change."""
    return any(
        _is_git(target) or _path(target, Path()) is not None
        for target in map(_target, wanted.packages)
    )


def pin(wanted: Requirements, folder: Path, known: Path) -> Requirements:
    """The same requirements with a commit for each branch, and the state of each folder and file.

    Args:
        wanted: as the pipeline has them.
        folder: where relative paths lead from.
        known: a folder that keeps the commits that branches led to.
    """
    packages = tuple(_with_commit(text, known) for text in wanted.packages)
    paths = [path for text in packages if (path := _path(_target(text), folder)) is not None]
    return replace(
        wanted, packages=packages, contents=tuple(f"{path} {_digest(path)}" for path in paths)
    )


def _target(text: str) -> str:
    """What comes after the name: a path or address without marker, or the text itself."""
    match = _NAMED.fullmatch(re.split(r"\s;", text)[0].strip())
    return match[1] if match else text


def is_git(text: str) -> bool:
    """Return whether a requirement names a git repository."""
    return _is_git(_target(text))


def _is_git(target: str) -> bool:
    return target.startswith("git+")


def _path(target: str, folder: Path) -> Path | None:
    """The folder or file of this machine that a requirement names."""
    if target.startswith("file:"):
        return folder / unquote(urlsplit(target).path)
    plain = target.partition("[")[0]
    if "://" in target or not ("/" in plain or plain.startswith(".") or plain.endswith(_ARCHIVES)):
        return None
    return folder / plain


def _digest(path: Path) -> str:
    """Of the contents of a file, or of the files below a folder but for what tools make there."""
    found = hashlib.sha256()
    budget = READ_BYTES
    for file in _files(path):
        with suppress(OSError):  # it is gone meanwhile, or a link that leads nowhere
            state = os.stat(file)
            found.update(
                f"{os.path.relpath(file, path)}\0{state.st_size}\0".encode(
                    "utf-8", "surrogateescape"
                )
            )
            budget -= state.st_size
            if budget >= 0:
                found.update(Path(file).read_bytes())
            else:
                found.update(str(state.st_mtime_ns).encode())
    return found.hexdigest()


def _files(path: Path) -> Iterator[str]:
    if path.is_file():
        yield str(path)
    for parent, folders, files in os.walk(path):
        made = _MADE | _MADE_AT_TOP if parent == str(path) else _MADE
        folders[:] = sorted(
            name
            for name in folders
            if not (
                name in made
                or name.endswith(".egg-info")
                or os.path.exists(f"{parent}/{name}/pyvenv.cfg")
            )
        )
        yield from (
            os.path.join(parent, name) for name in sorted(files) if not name.endswith(".pyc")
        )


def _with_commit(text: str, known: Path) -> str:
    target = _target(text)
    if not _is_git(target):
        return text
    address, hash_mark, fragment = target.removeprefix("git+").partition("#")
    base, _, reference = (
        address.rpartition("@") if "@" in urlsplit(address).path else (address, "", "")
    )
    if _COMMIT.fullmatch(reference):
        return text
    file = known / hashlib.sha256(address.encode()).hexdigest()[:16]
    commit = _ask(base, reference or "HEAD")
    with suppress(OSError):
        if commit is not None:
            private.make_folders(known)
            write_file(file, commit.encode())
        else:
            commit = file.read_text(encoding="utf-8")
    return text.replace(target, f"git+{base}@{commit}{hash_mark}{fragment}") if commit else text


def _ask(address: str, reference: str) -> str | None:
    """The commit of a branch or tag of a repository, None when it does not answer or has none of
    the name."""
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
    plain_address = git_credentials.without_password(address)
    if has_password(f"git+{plain_address}"):  # it is not correct, and would be on the command line
        return None
    wanted = [reference, f"{reference}^{{}}"]  # the second: what an annotated tag stands on
    try:
        done = subprocess.run(
            ["git", "ls-remote", plain_address, *wanted],
            env=quiet | os.environ | git_credentials.environment([address], os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    commits = {
        name: commit
        for commit, _, name in (line.partition("\t") for line in done.stdout.splitlines())
    }
    names = (
        f"refs/tags/{reference}^{{}}",
        f"refs/tags/{reference}",
        f"refs/heads/{reference}",
        reference,
    )
    return next((commits[name] for name in names if name in commits), None)
