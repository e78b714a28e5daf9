"""Prepare a version of the project for a comparison: an existing folder, or a git revision.

A revision gets its own worktree and environment, which are removed at the end.
"""

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

ENVIRONMENT_TARGET = ".venv/demo.stamp"
MAKE_ENVIRONMENT = f"make {ENVIRONMENT_TARGET}"

# Prints the file of the imported kfgcp and the version of Python, as JSON.
PRINT_PYTHON_FACTS = (
    "import json, platform, kfgcp; print(json.dumps([kfgcp.__file__, platform.python_version()]))"
)

# Finds the folder of Python in the text of a script that pip or uv installed.
INTERPRETER = re.compile(r"""(/[^'"\n]*)/python""")


class CannotCompare(Exception):
    """A comparison that cannot be made. The message is one line that says what to do."""


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
        """Return a command line that runs this checkout's own program.

        Args:
            words: the first word is `kfgcp` or `python`.
        """
        return [str(self.bin / words[0]), *words[1:]]


@contextlib.contextmanager
def open_checkout(name: str, worktree: Path) -> Iterator[Checkout]:
    """Yield the checkout of a folder or of a revision of the current repository.

    Args:
        name: a folder or a revision. When both have this name, the folder is used.
        worktree: the folder for the files of a revision, which is removed at the end.

    Raises:
        CannotCompare: neither a folder nor a revision has this name, or its version cannot run.
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
    """Return the checkout in a folder, after compiling its bytecode.

    Raises:
        CannotCompare: the environment of the folder is missing, or belongs to another folder.
    """
    checkout = Checkout(name, folder, folder / ".venv" / "bin")
    kfgcp = checkout.bin / "kfgcp"
    if not kfgcp.exists():
        raise CannotCompare(f"{name} has no environment. Make one there: {MAKE_ENVIRONMENT}")
    # Environments cannot be copied: the scripts of a copy still run the Python of the first folder.
    interpreter = INTERPRETER.search(kfgcp.read_text(encoding="utf-8", errors="replace"))
    runs_own_python = (
        interpreter is not None and Path(interpreter[1]).resolve() == checkout.bin.resolve()
    )
    module, _ = python_facts(checkout)
    if not runs_own_python or not module.is_relative_to(folder):
        raise CannotCompare(
            f"The environment of {name} belongs to another folder. Make its own: rm -r .venv &&"
            f" {MAKE_ENVIRONMENT}"
        )
    run_in(checkout, ["-m", "compileall", "-q", str(module.parent)])
    return checkout


def python_facts(checkout: Checkout) -> tuple[Path, str]:
    """Return the file that `import kfgcp` reads in a checkout, and the version of its Python."""
    module, version = json.loads(run_in(checkout, ["-c", PRINT_PYTHON_FACTS]))
    return Path(module).resolve(), version


def run_in(checkout: Checkout, arguments: Sequence[str]) -> str:
    """Run the Python of a checkout in its top folder, and return what Python printed.

    Raises:
        CannotCompare: Python failed.
    """
    command = checkout.command(["python", *arguments])
    process = subprocess.run(
        command, cwd=checkout.folder, env=clean_environment(), capture_output=True, text=True
    )
    if process.returncode:
        last_line = (process.stderr.strip() or "it gave no reason").splitlines()[-1]
        raise CannotCompare(f"Python of {checkout.name} failed: {last_line}")
    return process.stdout


def find_commit(name: str) -> str:
    """Return the commit of a revision of the current repository.

    Raises:
        CannotCompare: no revision has this name.
    """
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
    process = subprocess.run(command, capture_output=True, text=True)
    if process.returncode:
        raise CannotCompare(
            f"{name} is neither a folder nor a revision of the repository in {os.getcwd()}."
        )
    return process.stdout.strip()


def add_worktree(name: str, commit: str, worktree: Path) -> None:
    """Write the files of a commit into a folder, and make its environment there.

    Raises:
        CannotCompare: git or make failed.
    """
    print(f"making the environment of {name}", file=sys.stderr, flush=True)
    git = str(shutil.which("git"))
    make = str(shutil.which("make"))
    add_command = [git, "worktree", "add", "--quiet", "--detach", str(worktree), commit]
    make_command = [make, "--no-print-directory", ENVIRONMENT_TARGET]
    environment = dict(os.environ)
    try:
        # `measure` leaves no process behind, also after Ctrl-C.
        measure(add_command, Path.cwd(), environment)
        measure(make_command, worktree, environment)
    except CommandFailed as error:
        raise CannotCompare(f"{name}: {error}") from None


def remove_worktree(worktree: Path) -> None:
    """Remove a worktree, also one that is incomplete."""
    # A second Ctrl-C must not leave a part of the worktree.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if not worktree.exists():
        return
    # The second --force also removes a locked worktree.
    process = subprocess.run(
        ["git", "worktree", "remove", "--force", "--force", str(worktree)], capture_output=True
    )
    if process.returncode:
        # `git worktree add` was interrupted, so git has no record of the worktree.
        shutil.rmtree(worktree, ignore_errors=True)
        subprocess.run(["git", "worktree", "prune"], capture_output=True)
