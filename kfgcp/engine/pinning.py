"""Pin requirements whose content may change: folders and files of this machine, and git branches.

Virtual environments are shared by all runs with the same requirements. So a requirement must also
show its content. For a folder, that is the content of its files. For a branch, it is the commit at
its end, which the repository reports. When the repository does not answer, the commit that it
reported the last time is used.
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
"""How many bytes of the files in a folder are read. For the other files, the size and the time of
the last change replace the content."""

# The target is the path or address in a requirement. An option and a name may come before it:
# `-e name[extra] @ target`.
_TARGET: Final = re.compile(
    r"(?:-e\s+)?(?:[A-Za-z0-9][\w.-]*\s*(?:\[[^]]*\])?\s*@\s*)?(.*)", re.DOTALL
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_ARCHIVES: Final = (".whl", ".tar.gz", ".zip")

# fmt: off
# Folders that tools make. Their content is not part of a package.
_TOOL_FOLDERS: Final = frozenset({
    ".git", ".hg", ".svn", ".kfgcp", ".venv", ".tox", ".nox", "node_modules", "__pycache__",
    ".mypy_cache", ".ruff_cache", ".pytest_cache",
})
# fmt: on
_TOOL_FOLDERS_AT_TOP: Final = frozenset({"build", "dist"})


def can_change(requirements: Requirements) -> bool:
    """Return whether one of the requirements is a path of this machine or a git repository."""
    targets = [_target(text) for text in requirements.packages]
    return any(_is_git_target(target) or _path(target, Path()) is not None for target in targets)


def pin(requirements: Requirements, folder: Path, commits: Path) -> Requirements:
    """Return requirements with commits instead of branches, and with the content of files.

    Args:
        requirements: the requirements as the pipeline has them.
        folder: the folder that relative paths start from.
        commits: a folder with the last known commit of each branch. This function updates it.
    """
    packages = tuple(_with_commit(text, commits) for text in requirements.packages)
    contents: list[str] = []
    for text in packages:
        path = _path(_target(text), folder)
        if path is not None:
            contents.append(f"{path} {_digest_files(path)}")
    return replace(requirements, packages=packages, contents=tuple(contents))


def is_git(text: str) -> bool:
    """Return whether a requirement names a git repository."""
    return _is_git_target(_target(text))


def _target(text: str) -> str:
    """Return the path or address in a requirement, without the option, name and marker.

    A requirement such as `six==1.17` has no path or address. It is returned as it is, without the
    marker.
    """
    without_marker = re.split(r"\s;", text)[0].strip()
    match = _TARGET.fullmatch(without_marker)
    return match[1] if match else text


def _is_git_target(target: str) -> bool:
    return target.startswith("git+")


def _path(target: str, folder: Path) -> Path | None:
    """Return the folder or file of this machine that a target means, None for another target."""
    if target.startswith("file:"):
        return folder / unquote(urlsplit(target).path)
    if "://" in target:
        return None
    path = target.partition("[")[0]
    if "/" in path or path.startswith(".") or path.endswith(_ARCHIVES):
        return folder / path
    return None


def _digest_files(path: Path) -> str:
    """Return the digest of a file, or of the files in a folder."""
    digest = hashlib.sha256()
    bytes_left = READ_BYTES
    for file in _list_files(path):
        # An OSError means that the file was removed meanwhile, or is a link that leads nowhere.
        with suppress(OSError):
            status = os.stat(file)
            header = f"{os.path.relpath(file, path)}\0{status.st_size}\0"
            digest.update(header.encode("utf-8", "surrogateescape"))
            bytes_left -= status.st_size
            if bytes_left >= 0:
                digest.update(Path(file).read_bytes())
            else:
                digest.update(str(status.st_mtime_ns).encode())
    return digest.hexdigest()


def _list_files(path: Path) -> Iterator[str]:
    """Yield a file itself, or the files in a folder, always in the same order.

    Files that tools make are left out.
    """
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
    # Every virtual environment has this file.
    return os.path.exists(f"{parent}/{name}/pyvenv.cfg")


def _with_commit(text: str, commits: Path) -> str:
    """Return a requirement with the current commit of its branch or tag.

    Other requirements, and a requirement whose commit is unknown, are returned unchanged.
    """
    target = _target(text)
    if not _is_git_target(target):
        return text
    address, hash_mark, fragment = target.removeprefix("git+").partition("#")
    repository, reference = _split_reference(address)
    if _COMMIT.fullmatch(reference):
        return text
    commit = _find_commit(repository, reference or "HEAD")
    commit_file = commits / hashlib.sha256(address.encode()).hexdigest()[:16]
    with suppress(OSError):
        if commit is not None:
            private.make_folders(commits)
            write_file(commit_file, commit.encode())
        else:
            # So a run without network can use the environment of an earlier run.
            commit = commit_file.read_text(encoding="utf-8")
    if not commit:
        return text
    return text.replace(target, f"git+{repository}@{commit}{hash_mark}{fragment}")


def _split_reference(address: str) -> tuple[str, str]:
    """Split an address into the repository and its branch, tag or commit, "" without one."""
    # An "@" before the path belongs to the user: `https://user@host/path`.
    if "@" not in urlsplit(address).path:
        return address, ""
    repository, _, reference = address.rpartition("@")
    return repository, reference


def _find_commit(address: str, reference: str) -> str | None:
    """Ask a repository for the commit of a branch or tag.

    Returns:
        The commit. None when the repository does not answer or has no such branch or tag.
    """
    plain_address = git_credentials.without_password(address)
    if has_password(f"git+{plain_address}"):
        # The address is not correct, so its password was not removed. Every user of the machine can
        # read the command line, so git gets no such address.
        return None
    # With these variables, git and ssh fail instead of asking a user for a password.
    environ = {"GIT_TERMINAL_PROMPT": "0", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"} | os.environ
    environ |= git_credentials.environment([address], os.environ)
    # An annotated tag is an object of its own. `tag^{}` means the commit that the tag belongs to.
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
