"""Lightweight components whose packages this environment lacks: a virtual environment by uv, and a
fork server in it.

Environments lie in `<home>/envs/<key>` and are shared by all runs. A lock keeps two builders apart;
an environment without its `ready` file was interrupted and is built anew. uv holds the lock too, as
it may outlive a builder that is killed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from kfgcp import private
from kfgcp.engine import git_credentials, orphans
from kfgcp.engine.executors.base import Attempt, AttemptEnded, Emit, PackagesInstalled
from kfgcp.engine.executors.python import PythonExecutor
from kfgcp.engine.pinning import can_change, is_git, pin
from kfgcp.engine.requirements import READY, Requirements, is_built
from kfgcp.engine.uv_program import uv_program
from kfgcp.machine import start_thread
from kfgcp.spec.credentials import has_credentials, mask_credentials

_SETUPTOOLS = re.compile(r"setuptools\b(?!-)", re.IGNORECASE)
_FRAME = " \t\u00d7\u2570\u2500\u25b6\u2502"  # what uv draws around its messages


class BuildError(Exception):
    """uv could not build an environment; the message is the end of what it said."""


class VenvExecutor:
    """Builds the environment in a thread as soon as it is made; attempts wait for it."""

    def __init__(
        self,
        emit: Emit,
        requirements: Requirements,
        folder: Path,
        libraries: Sequence[str] = (),
        submit_dir: Path = Path(),
        run_id: str = "",
    ) -> None:
        self._emit = emit
        self._run_id = run_id
        self._libraries = libraries
        self._lock = threading.Lock()
        self._waiting: dict[int, Attempt] = {}
        self._inner: PythonExecutor | None = None
        self._failure = ""
        self._secret = (
            *requirements.index_options,
            *requirements.packages,
        )  # texts that may contain passwords
        self._packages = mask_credentials(", ".join(requirements.packages), self._secret)
        self._installing_since: float | None = None
        self._builder = Builder(requirements, folder, submit_dir, run_id, self._announce)
        self._thread = start_thread(self._build, "kfgcp-environment")

    def start(self, attempt: Attempt) -> None:
        with self._lock:
            if not self._failure and self._inner is None:
                self._waiting[attempt.id] = attempt
                if self._installing_since is not None:
                    self._log(attempt, self._installing_line())
            else:
                self._start(attempt)

    def signal(self, attempt_id: int, number: int) -> None:
        with self._lock:
            waiting = self._waiting.pop(attempt_id, None)
        if waiting is not None:
            self._emit(AttemptEnded(attempt_id, "stopped before its environment was built"))
        elif self._inner is not None:
            self._inner.signal(attempt_id, number)

    def kill(self, attempt_id: int) -> None:
        self.signal(attempt_id, signal.SIGKILL)
        if self._inner is not None:
            self._inner.kill(attempt_id)

    def close(self) -> None:
        self._builder.stop()
        self._thread.join()
        if self._inner is not None:
            self._inner.close()

    def _build(self) -> None:
        inner, failure = None, ""
        try:
            python = str(self._builder.build())
            inner = PythonExecutor(self._emit, python, self._libraries, run_id=self._run_id)
        except Exception as error:  # whatever it is, the attempts that wait must end
            reason = " ".join(str(error).split()) or type(error).__name__
            failure = f"its packages cannot be installed: {mask_credentials(reason, self._secret)}"
        with self._lock:  # an attempt that comes now waits until those before it are started
            self._inner, self._failure = inner, failure
            for attempt in self._waiting.values():
                if self._installing_since is not None and inner is not None:
                    took = time.monotonic() - self._installing_since
                    self._log(
                        attempt,
                        f"kfgcp: installed in {took:.1f} s, which the time of the task does not"
                        " include",
                    )
                    self._emit(PackagesInstalled(attempt.id))
                self._start(attempt)
            self._waiting.clear()

    def _announce(self) -> None:
        """Say in the logs of the attempts that wait that their packages are being installed."""
        with self._lock:
            self._installing_since = time.monotonic()
            for attempt in self._waiting.values():
                self._log(attempt, self._installing_line())

    def _installing_line(self) -> str:
        return (
            f"kfgcp: installing {self._packages or 'kfp'} (once: later tasks and runs use the same"
            " environment)"
        )

    def _log(self, attempt: Attempt, line: str) -> None:
        """Write a line to an attempt's log; where that fails, the start of the attempt fails too
        and says so."""
        with suppress(OSError):
            private.make_folders(attempt.log.parent)
            with attempt.log.open("a", encoding="utf-8") as log:
                log.write(f"{line}\n")

    def _start(self, attempt: Attempt) -> None:
        try:
            if self._inner is not None:
                return self._inner.start(attempt)
            private.make_folders(attempt.log.parent)
            with attempt.log.open("a", encoding="utf-8") as log:
                log.write(self._builder.output)
            self._emit(AttemptEnded(attempt.id, self._failure))
        except OSError as error:
            self._emit(
                AttemptEnded(attempt.id, f"cannot prepare the task: {error.strerror or error}")
            )


class Builder:
    """Builds one environment in a folder of them; `stop` from another thread ends it.

    Args:
        requirements: what it must hold.
        folder: the folder of environments.
        submit_dir: where relative paths among the requirements lead from.
        run_id: marks its processes.
        on_install: is called when the environment is not there and is about to be built.
    """

    def __init__(
        self,
        requirements: Requirements,
        folder: Path,
        submit_dir: Path = Path(),
        run_id: str = "",
        on_install: Callable[[], None] = lambda: None,
    ) -> None:
        self.output = ""
        self._on_install = on_install
        self._run_id = run_id
        self._requirements = requirements
        self._environments = folder
        self._submit_dir = submit_dir
        self._folder = folder / requirements.key
        self._process: subprocess.Popen[str] | None = None
        self._lock_fd = -1
        self._stopped = False

    def build(self) -> Path:
        """The environment's interpreter; built only when it is not there.

        Raises:
            BuildError: uv said no, or `stop` was called.
        """
        self._requirements = self._pinned()
        self._folder = self._environments / self._requirements.key
        python = self._folder / "bin" / "python"
        if is_built(self._requirements, self._folder.parent):
            return python
        private.make_folders(self._folder.parent)
        with self._locked(self._folder.with_suffix(".lock")):
            if not (self._folder / READY).exists():
                shutil.rmtree(self._folder, ignore_errors=True)
                self._on_install()
                try:
                    self._install(python)
                except BaseException:
                    shutil.rmtree(self._folder, ignore_errors=True)
                    raise
                if (
                    self._pinned() == self._requirements
                ):  # else something changed meanwhile: for this run only
                    (self._folder / READY).touch()
        return python

    def _pinned(self) -> Requirements:
        wanted = self._requirements
        return (
            pin(wanted, self._submit_dir, self._environments / "refs")
            if can_change(wanted)
            else wanted
        )

    @contextmanager
    def _locked(self, file: Path) -> Iterator[None]:
        """Holds the environment's lock; waits for another builder, but not longer than until
        `stop`."""
        with file.open("w") as held:
            self._lock_fd = held.fileno()
            while True:
                try:
                    fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    self._check_stopped()
                    time.sleep(0.1)
            yield

    def _check_stopped(self) -> None:
        if self._stopped:
            raise BuildError("the run was stopped")

    def stop(self) -> None:
        self._stopped = True
        process = self._process
        if process is not None:
            _kill(process)

    def _install(self, python: Path) -> None:
        wanted = self._requirements
        self._uv("venv", "--python", sys.executable, str(self._folder))
        hosts = [word for option in wanted.index_options for word in _trusted_host(option)]
        install = ("pip", "install", "--python", str(python), "--compile-bytecode", *hosts)
        setuptools = wants_setuptools(wanted)
        if setuptools is not None:
            # First, so that a package that needs a newer one still gets it. An index may not have
            # it.
            with suppress(BuildError):
                self._uv(*install, setuptools)
        if wanted.packages:
            packages = [_without_git_password(text) for text in wanted.packages]
            words, secret_lines = _arguments(packages)
            self._uv(*install, *words, secret_lines=secret_lines)
        if wanted.kfp:
            self._uv(*install, "--no-deps", wanted.kfp)

    def _uv(self, *arguments: str, secret_lines: str = "") -> None:
        """Run uv.

        Every user of the machine can read the arguments, so they contain no secrets. Only this user
        can read the environment and the input.

        Args:
            arguments: the arguments of uv.
            secret_lines: the input of uv, in the form of a file of requirements.

        Raises:
            BuildError: uv failed.
        """
        self._check_stopped()
        environ = {
            "UV_SYSTEM_CERTS": "1",
            **os.environ,
            orphans.MARK: self._run_id,
        }  # trusts whom pip trusts
        environ |= _index_variables(self._requirements.index_options)
        repositories = [text for text in self._requirements.packages if is_git(text)]
        environ |= git_credentials.environment(repositories, environ)
        command = [uv_program(), "--no-progress", "--color", "never", *arguments]
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=self._submit_dir if self._requirements.contents else None,
            pass_fds=(self._lock_fd,),
            env=environ,
            start_new_session=True,
        ) as self._process:
            if self._stopped:  # `stop` came before there was a process to kill
                _kill(self._process)
            output, _ = self._process.communicate(secret_lines)
        output = mask_credentials(
            output, (*self._requirements.index_options, *self._requirements.packages)
        )
        self.output += output
        if self._process.returncode:
            raise BuildError(_summary(output))


def wants_setuptools(requirements: Requirements) -> str | None:
    """Return the requirement of setuptools to install first, None when the packages name one
    themselves."""
    is_named = any(_SETUPTOOLS.match(text) for text in requirements.packages)
    return None if is_named else requirements.setuptools


def _kill(process: subprocess.Popen[str]) -> None:
    """uv, and what it builds packages with."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _trusted_host(option: str) -> tuple[str, ...]:
    """Return pip's option `--trusted-host` as uv has it, nothing for another option.

    KFP gives whole URLs as trusted hosts. uv takes only the host and port.
    """
    name, _, value = option.partition(" ")
    if name != "--trusted-host":
        return ()
    _, at, end = value.rpartition("@")
    if at:  # a password before it may contain any character
        value = f"//{end}"
    elif has_credentials(value):
        return ()
    host = urlsplit(value).netloc if "//" in value else value
    return "--allow-insecure-host", host


def _index_variables(index_options: Sequence[str]) -> dict[str, str]:
    """Return the environment variables that give uv the indexes, whose URLs may have passwords.

    Of several `--index-url` the last one counts, as it does for pip.
    """
    options = [option.partition(" ") for option in index_options]
    default = [value for name, _, value in options if name in ("--index-url", "-i")]
    extra = [value for name, _, value in options if name == "--extra-index-url"]
    variables: dict[str, str] = {}
    if default:
        variables["UV_DEFAULT_INDEX"] = default[-1]
    if extra:
        variables["UV_EXTRA_INDEX_URL"] = " ".join(extra)
    return variables


def _without_git_password(text: str) -> str:
    """Return a requirement as uv gets it. uv passes the address to git, which has the password in
    its environment."""
    return git_credentials.without_password(text) if is_git(text) else text


def _arguments(packages: Sequence[str]) -> tuple[list[str], str]:
    """Return uv's arguments for requirements, and the input of uv: the requirements that may have a
    password."""
    words: list[str] = []
    secret = [text for text in packages if has_credentials(text)]
    for text in packages:
        if text not in secret:
            words += text.split(" ", 1) if text.startswith("-") else [text]
    if not secret:
        return words, ""
    return [*words, "-r", "-"], "".join(f"{text}\n" for text in secret)


def _summary(said: str) -> str:
    """What uv says of the cause, in one line."""
    lines = [line.strip(_FRAME) for line in said.splitlines() if line.strip()]
    first = next((number for number, line in enumerate(lines) if line.startswith("error")), 0)
    return " ".join(lines[first:]) or "uv said nothing"
