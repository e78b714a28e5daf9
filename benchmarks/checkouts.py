"""Two versions of the project to compare: existing folders, or git revisions in their own
worktrees."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from process_tree import CommandFailed, measure
from startup import clean_environment

MAKE_ENVIRONMENT = "make .venv/demo.stamp"
IDENTITY = (
    "import json, platform, kfgcp; print(json.dumps([kfgcp.__file__, platform.python_version()]))"
)

INTERPRETER = re.compile(r"""(/[^'"\n]*)/python""")
"""Finds the folder of the Python that a script of an environment runs with."""


class CannotCompare(Exception):
    """The comparison cannot be made; the message is one line that says what to do."""


@dataclass(frozen=True)
class Checkout:
    """A version of the project that can run.

    Attributes:
        name: a folder or a revision, as given on the command line.
        folder: the top folder of its files.
        bin: the folder of its commands.
    """

    name: str
    folder: Path
    bin: Path

    def command(self, words: Sequence[str]) -> list[str]:
        """Return a command line with this checkout's own program; the first word is `kfgcp` or
        `python`."""
        return [str(self.bin / words[0]), *words[1:]]


@contextlib.contextmanager
def open_checkout(name: str, worktree: Path) -> Iterator[Checkout]:
    """Yield the checkout of a folder or of a revision of the current repository.

    Args:
        name: the folder or the revision; the folder is used when both exist.
        worktree: where to put a revision; removed at the end.

    Raises:
        CannotCompare: there is no such checkout, or it cannot run.
    """
    if Path(name).is_dir():
        yield find_checkout(name, Path(name).resolve())
        return
    commit = find_commit(name)
    try:
        add_worktree(name, commit, worktree)
        yield find_checkout(name, worktree)
    finally:
        remove_worktree(worktree)


def find_checkout(name: str, folder: Path) -> Checkout:
    """Return the checkout in a folder, with bytecode compiled.

    Raises:
        CannotCompare: its environment is missing, or belongs to another folder.
    """
    checkout = Checkout(name, folder, folder / ".venv" / "bin")
    kfgcp = checkout.bin / "kfgcp"
    if not kfgcp.exists():
        raise CannotCompare(f"{name} has no environment. Make one there: {MAKE_ENVIRONMENT}")
    # Environments cannot be copied: the scripts of a copy still run the Python of the first folder.
    interpreter = INTERPRETER.search(kfgcp.read_text(encoding="utf-8", errors="replace"))
    leads_here = (
        interpreter is not None and Path(interpreter[1]).resolve() == checkout.bin.resolve()
    )
    module, _ = python_facts(checkout)
    if not leads_here or not module.is_relative_to(folder):
        raise CannotCompare(
            f"The environment of {name} belongs to another folder. Make its own: rm -r .venv &&"
            f" {MAKE_ENVIRONMENT}"
        )
    run_in(checkout, ["-m", "compileall", "-q", str(module.parent)])
    return checkout


def python_facts(checkout: Checkout) -> tuple[Path, str]:
    """Return the file that `import kfgcp` reads in a checkout, and the version of its Python."""
    module, version = json.loads(run_in(checkout, ["-c", IDENTITY]))
    return Path(module).resolve(), version


def run_in(checkout: Checkout, arguments: Sequence[str]) -> str:
    """Run the Python of a checkout in its top folder, and return what it printed.

    Raises:
        CannotCompare: it failed.
    """
    command = checkout.command(["python", *arguments])
    done = subprocess.run(
        command, cwd=checkout.folder, env=clean_environment(), capture_output=True, text=True
    )
    if done.returncode:
        last_line = (done.stderr.strip() or "it gave no reason").splitlines()[-1]
        raise CannotCompare(f"Python of {checkout.name} failed: {last_line}")
    return done.stdout


def find_commit(name: str) -> str:
    """Return the commit of a revision of the current repository.

    Raises:
        CannotCompare: there is no such revision.
    """
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CannotCompare(
            f"{name} is neither a folder nor a revision of the repository in {os.getcwd()}."
        )
    return done.stdout.strip()


def add_worktree(name: str, commit: str, worktree: Path) -> None:
    """Put a revision into a folder and make its environment there.

    Raises:
        CannotCompare: git or make failed.
    """
    print(f"making the environment of {name}", file=sys.stderr, flush=True)
    git, make, *targets = str(shutil.which("git")), *MAKE_ENVIRONMENT.split()
    environment = dict(os.environ)
    try:
        measure(
            [git, "worktree", "add", "--quiet", "--detach", str(worktree), commit],
            Path.cwd(),
            environment,
        )
        measure([str(shutil.which(make)), "--no-print-directory", *targets], worktree, environment)
    except CommandFailed as error:
        raise CannotCompare(f"{name}: {error}") from None


def remove_worktree(worktree: Path) -> None:
    """Remove a worktree, whatever state it is in."""
    # A second Ctrl-C must not leave a part of the worktree.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not worktree.exists():
        return
    done = subprocess.run(
        ["git", "worktree", "remove", "--force", "--force", str(worktree)], capture_output=True
    )
    if done.returncode:
        # Git was interrupted while it made the worktree, so it does not know it.
        shutil.rmtree(worktree, ignore_errors=True)
        subprocess.run(["git", "worktree", "prune"], capture_output=True)
