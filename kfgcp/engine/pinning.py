"""Requirements whose content may change: folders and files of this machine, and git branches.

An environment is found again by what it was made of. For a folder that is the content of its files.
For a branch it is the commit that the branch names now, which the repository tells. When the
repository does not answer, it is the commit that the branch named the last time.
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
"""How long a repository may take to answer."""

READ_BYTES: Final = 64 << 20
"""How much of the files of a folder is read; size and time of change stand for the rest."""

# An option and a name before the target: `-e name[extra] @ target`.
_TARGET: Final = re.compile(
    r"(?:-e\s+)?(?:[A-Za-z0-9][\w.-]*\s*(?:\[[^]]*\])?\s*@\s*)?(.*)", re.DOTALL
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_ARCHIVES: Final = (".whl", ".tar.gz", ".zip")

# fmt: off
# Folders that tools make. Their content does not change the package.
_TOOL_FOLDERS: Final = frozenset({
    ".git", ".hg", ".svn", ".kfgcp", ".venv", ".tox", ".nox", "node_modules", "__pycache__",
    ".mypy_cache", ".ruff_cache", ".pytest_cache",
})
# fmt: on
_TOOL_FOLDERS_AT_TOP: Final = frozenset({"build", "dist"})


def can_change(requirements: Requirements) -> bool:
    """Return whether requirements name something whose content may change."""
    targets = [_target(text) for text in requirements.packages]
    return any(_is_git_target(target) or _path(target, Path()) is not None for target in targets)


def pin(requirements: Requirements, folder: Path, commits: Path) -> Requirements:
    """Return the same requirements with commits instead of branches, and the states of files.

    Args:
        requirements: the requirements as the pipeline has them.
        folder: the folder that relative paths start from.
        commits: a folder that keeps the commits that branches named.
    """
    packages = tuple(_with_commit(text, commits) for text in requirements.packages)
    contents: list[str] = []
    for text in packages:
        path = _path(_target(text), folder)
        if path is not None:
            contents.append(f"{path} {_digest(path)}")
    return replace(requirements, packages=packages, contents=tuple(contents))


def is_git(text: str) -> bool:
    """Return whether a requirement names a git repository."""
    return _is_git_target(_target(text))


def _target(text: str) -> str:
    """Return what comes after the name: a path or address without marker, or the text itself."""
    without_marker = re.split(r"\s;", text)[0].strip()
    match = _TARGET.fullmatch(without_marker)
    return match[1] if match else text


def _is_git_target(target: str) -> bool:
    return target.startswith("git+")


def _path(target: str, folder: Path) -> Path | None:
    """Return the folder or file of this machine that a requirement names."""
    if target.startswith("file:"):
        return folder / unquote(urlsplit(target).path)
    if "://" in target:
        return None
    path = target.partition("[")[0]
    if "/" in path or path.startswith(".") or path.endswith(_ARCHIVES):
        return folder / path
    return None


def _digest(path: Path) -> str:
    """Return the digest of a file, or of the files in a folder without those that tools make."""
    total = hashlib.sha256()
    budget = READ_BYTES
    for file in _files(path):
        # The file was removed meanwhile, or is a link that leads nowhere.
        with suppress(OSError):
            state = os.stat(file)
            header = f"{os.path.relpath(file, path)}\0{state.st_size}\0"
            total.update(header.encode("utf-8", "surrogateescape"))
            budget -= state.st_size
            if budget >= 0:
                total.update(Path(file).read_bytes())
            else:
                total.update(str(state.st_mtime_ns).encode())
    return total.hexdigest()


def _files(path: Path) -> Iterator[str]:
    """Yield a file, or the files in a folder, always in the same order."""
    if path.is_file():
        yield str(path)
    for parent, folders, files in os.walk(path):
        is_top = parent == str(path)
        # `os.walk` visits the folders that remain in this list.
        folders[:] = sorted(name for name in folders if not _is_tool_folder(parent, name, is_top))
        for name in sorted(files):
            if not name.endswith(".pyc"):
                yield os.path.join(parent, name)


def _is_tool_folder(parent: str, name: str, is_top: bool) -> bool:
    if name in _TOOL_FOLDERS or name.endswith(".egg-info"):
        return True
    if is_top and name in _TOOL_FOLDERS_AT_TOP:
        return True
    # A virtual environment, whatever its name is.
    return os.path.exists(f"{parent}/{name}/pyvenv.cfg")


def _with_commit(text: str, commits: Path) -> str:
    """Return a requirement with the commit that its branch or tag names now."""
    target = _target(text)
    if not _is_git_target(target):
        return text
    address, hash_mark, fragment = target.removeprefix("git+").partition("#")
    repository, reference = _split_reference(address)
    if _COMMIT.fullmatch(reference):
        return text
    commit = _find_commit(repository, reference or "HEAD")
    file = commits / hashlib.sha256(address.encode()).hexdigest()[:16]
    with suppress(OSError):
        if commit is not None:
            private.make_folders(commits)
            write_file(file, commit.encode())
        else:
            # Without network, the environment of the last run still serves.
            commit = file.read_text(encoding="utf-8")
    if not commit:
        return text
    return text.replace(target, f"git+{repository}@{commit}{hash_mark}{fragment}")


def _split_reference(address: str) -> tuple[str, str]:
    """Return an address without its branch, tag or commit, and that; "" when it has none."""
    # An "@" before the path belongs to the user.
    if "@" not in urlsplit(address).path:
        return address, ""
    repository, _, reference = address.rpartition("@")
    return repository, reference


def _find_commit(address: str, reference: str) -> str | None:
    """Return the commit of a branch or tag of a repository.

    Returns:
        None when the repository does not answer or has no such branch or tag.
    """
    plain_address = git_credentials.without_password(address)
    if has_password(f"git+{plain_address}"):
        # The address is not correct, and every user can read the command line.
        return None
    # git must not wait for a user who types a password.
    environ = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"} | os.environ
    environ |= git_credentials.environment([address], os.environ)
    # `tag^{}` is the commit of an annotated tag, which is an object of its own.
    tag_commit = f"{reference}^{{}}"
    try:
        process = subprocess.run(
            ["git", "ls-remote", plain_address, reference, tag_commit],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    commits: dict[str, str] = {}
    for line in process.stdout.splitlines():
        commit, _, name = line.partition("\t")
        commits[name] = commit
    # Tags come before branches, as in git itself (gitrevisions(7)).
    for name in (f"refs/tags/{tag_commit}", f"refs/tags/{reference}", f"refs/heads/{reference}"):
        if name in commits:
            return commits[name]
    return commits.get(reference)
