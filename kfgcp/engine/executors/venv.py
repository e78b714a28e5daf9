"""Run lightweight components whose packages this environment lacks.

uv builds a virtual environment, and a fork server in it runs the tasks. Environments lie in
`<home>/envs/<key>` and are shared by all runs. A lock keeps two builders apart. An environment
without its `ready` file is the rest of an interrupted build and is built again.
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
from typing import Final
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

_SETUPTOOLS: Final = re.compile(r"setuptools\b(?!-)", re.IGNORECASE)
_FRAME: Final = " \t\u00d7\u2570\u2500\u25b6\u2502"
"""The characters that uv draws around its messages."""

_LOCK_POLL_SECONDS: Final = 0.1


class BuildError(Exception):
    """uv could not build an environment. The message is the end of uv's output."""


class VenvExecutor:
    """An executor in a virtual environment.

    It builds the environment in a thread as soon as it is made. Attempts wait for that.

    Args:
        emit: takes the end of each attempt.
        requirements: the packages of the environment.
        folder: the folder of environments.
        libraries: modules that processes have imported when a task starts.
        submit_dir: the folder that relative paths among the requirements start from.
        run_id: marks its processes, see `kfgcp.engine.orphans`.
    """

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
        # Texts that may contain passwords.
        self._secret = requirements.index_options + requirements.packages
        self._packages = mask_credentials(", ".join(requirements.packages), self._secret)
        self._installing_since: float | None = None
        self._builder = Builder(requirements, folder, submit_dir, run_id, self._announce)
        self._thread = start_thread(self._build, "kfgcp-environment")

    def start(self, attempt: Attempt) -> None:
        """Start an attempt when the environment is built. Its end is emitted exactly once."""
        with self._lock:
            is_building = not self._failure and self._inner is None
            if not is_building:
                self._start(attempt)
                return
            self._waiting[attempt.id] = attempt
            if self._installing_since is not None:
                self._log(attempt, self._installing_line())

    def signal(self, attempt_id: int, number: int) -> None:
        """Send a signal to an attempt; an attempt that waits ends, whatever the signal is."""
        # Whoever takes the attempt out of the dict emits its end, so the end is emitted only once.
        with self._lock:
            waiting = self._waiting.pop(attempt_id, None)
        if waiting is not None:
            self._emit(AttemptEnded(attempt_id, "stopped before its environment was built"))
        elif self._inner is not None:
            self._inner.signal(attempt_id, number)

    def kill(self, attempt_id: int) -> None:
        """Kill an attempt together with its server."""
        self.signal(attempt_id, signal.SIGKILL)
        if self._inner is not None:
            self._inner.kill(attempt_id)

    def close(self) -> None:
        """Stop the builder and end all processes."""
        self._builder.stop()
        self._thread.join()
        if self._inner is not None:
            self._inner.close()

    def _build(self) -> None:
        """Build the environment, and start the attempts that wait. This is a thread."""
        inner: PythonExecutor | None = None
        failure = ""
        try:
            python = str(self._builder.build())
            inner = PythonExecutor(self._emit, python, self._libraries, run_id=self._run_id)
        except Exception as error:
            # Whatever the error is, the attempts that wait must end.
            reason = " ".join(str(error).split()) or type(error).__name__
            failure = f"its packages cannot be installed: {mask_credentials(reason, self._secret)}"
        # Under the lock, an attempt that comes now starts after the attempts that wait.
        with self._lock:
            self._inner = inner
            self._failure = failure
            for attempt in self._waiting.values():
                if self._installing_since is not None and inner is not None:
                    seconds = time.monotonic() - self._installing_since
                    self._log(attempt, _installed_line(seconds))
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
        packages = self._packages or "kfp"
        return f"kfgcp: installing {packages} (once: later tasks and runs use the same environment)"

    def _log(self, attempt: Attempt, line: str) -> None:
        """Write a line to an attempt's log."""
        # When that fails, the start of the attempt fails for the same reason and reports it.
        with suppress(OSError):
            _append_to_log(attempt, f"{line}\n")

    def _start(self, attempt: Attempt) -> None:
        try:
            if self._inner is not None:
                self._inner.start(attempt)
                return
            _append_to_log(attempt, self._builder.output)
            self._emit(AttemptEnded(attempt.id, self._failure))
        except OSError as error:
            problem = f"cannot prepare the task: {error.strerror or error}"
            self._emit(AttemptEnded(attempt.id, problem))


def _installed_line(seconds: float) -> str:
    return f"kfgcp: installed in {seconds:.1f} s, which the time of the task does not include"


def _append_to_log(attempt: Attempt, text: str) -> None:
    private.make_folders(attempt.log.parent)
    with attempt.log.open("a", encoding="utf-8") as log:
        log.write(text)


class Builder:
    """Builds one environment. `stop` from another thread ends the build.

    Args:
        requirements: the packages of the environment.
        folder: the folder of environments.
        submit_dir: the folder that relative paths among the requirements start from.
        run_id: marks its processes, see `kfgcp.engine.orphans`.
        on_install: is called when the environment is not there and is about to be built.

    Attributes:
        output: the output of uv, without passwords.
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
        """Return the environment's interpreter. The environment is built when it is not there.

        Raises:
            BuildError: uv failed, or `stop` was called.
        """
        self._requirements = self._pinned()
        self._folder = self._environments / self._requirements.key
        python = self._folder / "bin" / "python"
        # Nobody changes a complete environment, so it is used without the lock.
        if is_built(self._requirements, self._folder.parent):
            return python
        private.make_folders(self._folder.parent)
        with self._locked(self._folder.with_suffix(".lock")):
            # Another builder may have finished while this one waited for the lock.
            if not (self._folder / READY).exists():
                self._build_again(python)
        return python

    def stop(self) -> None:
        """End the build. Any thread may call this."""
        # The order matters: `_uv` sets the process and then reads `_stopped`. So one of the two
        # sides always sees the other.
        self._stopped = True
        process = self._process
        if process is not None:
            _kill(process)

    def _build_again(self, python: Path) -> None:
        """Build the environment in an empty folder, and mark it as complete at the end."""
        # A killed builder may have left half an environment.
        shutil.rmtree(self._folder, ignore_errors=True)
        self._on_install()
        try:
            self._install(python)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        # The mark comes last: without it an interrupted build would count as complete. When a
        # folder or branch has changed during the build, the content may not be what the key says.
        # Then the environment serves this run only.
        if self._pinned() == self._requirements:
            (self._folder / READY).touch()

    def _pinned(self) -> Requirements:
        if not can_change(self._requirements):
            return self._requirements
        return pin(self._requirements, self._submit_dir, self._environments / "refs")

    @contextmanager
    def _locked(self, file: Path) -> Iterator[None]:
        """Hold the environment's lock. Wait for another builder, but not after `stop`."""
        with file.open("w") as lock:
            # uv inherits the descriptor and with it the lock (flock(2): it belongs to the open
            # file, and is freed when the last copy is closed). So when this process is killed, no
            # other builder starts before uv has ended too.
            self._lock_fd = lock.fileno()
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    # A call that waits could not be ended by `stop`.
                    self._check_stopped()
                    time.sleep(_LOCK_POLL_SECONDS)
            yield

    def _check_stopped(self) -> None:
        if self._stopped:
            raise BuildError("the run was stopped")

    def _install(self, python: Path) -> None:
        requirements = self._requirements
        self._uv(["venv", "--python", sys.executable, str(self._folder)])
        install = ["pip", "install", "--python", str(python), "--compile-bytecode"]
        for option in requirements.index_options:
            install += _trusted_host(option)
        setuptools = wants_setuptools(requirements)
        if setuptools is not None:
            # First, so that a package that needs a newer one still gets it. An index may not have
            # it.
            with suppress(BuildError):
                self._uv([*install, setuptools])
        if requirements.packages:
            packages = [_without_git_password(text) for text in requirements.packages]
            arguments, secret_lines = _arguments(packages)
            self._uv(install + arguments, secret_lines)
        if requirements.kfp:
            # The compiled command of a component installs kfp without its dependencies too.
            self._uv([*install, "--no-deps", requirements.kfp])

    def _uv(self, arguments: Sequence[str], secret_lines: str = "") -> None:
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
            env=self._environ(),
            # A session is a process group too: `stop` kills uv and all that it started.
            start_new_session=True,
        ) as self._process:
            # `stop` may have been called before there was a process to kill.
            if self._stopped:
                _kill(self._process)
            raw_output, _ = self._process.communicate(secret_lines)
        secret = self._requirements.index_options + self._requirements.packages
        output = mask_credentials(raw_output, secret)
        self.output += output
        if self._process.returncode:
            raise BuildError(_summary(output))

    def _environ(self) -> dict[str, str]:
        """Return the variables of uv."""
        # uv has certificates of its own, but pip trusts those of the system. A user may switch that
        # off, so the user's variables come second.
        environ = {"UV_SYSTEM_CERTS": "1"} | os.environ
        environ[orphans.RUN_ID_VARIABLE] = self._run_id
        environ |= _index_variables(self._requirements.index_options)
        repositories = [text for text in self._requirements.packages if is_git(text)]
        return environ | git_credentials.environment(repositories, environ)


def wants_setuptools(requirements: Requirements) -> str | None:
    """Return the requirement of setuptools to install first.

    Returns:
        None when the packages name one themselves.
    """
    if any(_SETUPTOOLS.match(text) for text in requirements.packages):
        return None
    return requirements.setuptools


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill uv and the programs with which it builds packages."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _trusted_host(option: str) -> tuple[str, ...]:
    """Return pip's option `--trusted-host` in the form of uv, nothing for another option.

    KFP gives whole URLs as trusted hosts. uv takes only the host and port.
    """
    name, _, value = option.partition(" ")
    if name != "--trusted-host":
        return ()
    _, at_sign, end = value.rpartition("@")
    if at_sign:
        # The password before the last "@" may contain any character.
        value = f"//{end}"
    elif has_credentials(value):
        return ()
    host = urlsplit(value).netloc if "//" in value else value
    return "--allow-insecure-host", host


def _index_variables(index_options: Sequence[str]) -> dict[str, str]:
    """Return the environment variables that give uv the indexes, whose URLs may have passwords.

    Of several `--index-url` the last one counts, as it does for pip.
    """
    variables: dict[str, str] = {}
    extra: list[str] = []
    for option in index_options:
        name, _, value = option.partition(" ")
        if name in ("--index-url", "-i"):
            variables["UV_DEFAULT_INDEX"] = value
        elif name == "--extra-index-url":
            extra.append(value)
    if extra:
        variables["UV_EXTRA_INDEX_URL"] = " ".join(extra)
    return variables


def _without_git_password(text: str) -> str:
    """Return a requirement as uv gets it.

    uv passes the address of a repository to git, which has the password in its environment.
    """
    return git_credentials.without_password(text) if is_git(text) else text


def _arguments(packages: Sequence[str]) -> tuple[list[str], str]:
    """Return uv's arguments for requirements, and the input of uv.

    The input has the requirements that may contain a password.
    """
    arguments: list[str] = []
    secret_lines = ""
    for text in packages:
        if has_credentials(text):
            secret_lines += f"{text}\n"
        elif text.startswith("-"):
            # An option such as `-e PATH` is two arguments.
            arguments += text.split(" ", 1)
        else:
            arguments.append(text)
    if secret_lines:
        arguments += ["-r", "-"]
    return arguments, secret_lines


def _summary(output: str) -> str:
    """Return the cause in the output of uv, as one line."""
    lines = [line.strip(_FRAME) for line in output.splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if line.startswith("error"):
            lines = lines[number:]
            break
    return " ".join(lines) or "uv gave no reason"
