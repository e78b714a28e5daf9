"""Run lightweight components that need packages which this Python environment does not have.

uv builds a virtual environment, and a fork server in this environment runs the tasks. Environments
are in `<home>/envs/<key>`, and all runs share them. With a lock, only one process at a time builds
an environment. An environment without its `ready` file comes from an interrupted build, and is
built again.
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

# The hyphen excludes other packages, such as setuptools-scm.
_SETUPTOOLS: Final = re.compile(r"setuptools\b(?!-)", re.IGNORECASE)

_FRAME: Final = " \t\u00d7\u2570\u2500\u25b6\u2502"
"""The characters that uv draws around its messages."""

_LOCK_POLL_SECONDS: Final = 0.1
"""The time between two attempts to take the lock of an environment."""


class BuildError(Exception):
    """uv could not build an environment. The message is the end of uv's output."""


class VenvExecutor:
    """An executor that runs attempts in a virtual environment.

    The constructor starts a thread that builds the environment. Attempts wait until it is built.

    Args:
        emit: takes the end of each attempt.
        requirements: the packages of the environment.
        folder: the folder of all environments.
        libraries: modules that the processes import in advance, so that tasks start faster.
        submit_dir: the folder that relative paths in the requirements start from.
        run_id: the run. Its processes have this id as a variable, see `kfgcp.engine.orphans`.
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
        self._waiting_attempts: dict[int, Attempt] = {}
        # Runs the attempts after the environment is built.
        self._python_executor: PythonExecutor | None = None
        # Why the build failed, "" when it did not.
        self._failure = ""
        self._secret_texts = _secret_texts(requirements)
        self._packages = mask_credentials(", ".join(requirements.packages), self._secret_texts)
        # Seconds of `time.monotonic`, None when no package is installed.
        self._install_start: float | None = None
        self._builder = Builder(requirements, folder, submit_dir, run_id, self._log_install_start)
        self._thread = start_thread(self._build, "kfgcp-environment")

    def start(self, attempt: Attempt) -> None:
        """Start an attempt as soon as the environment is built, and return at once.

        The end of the attempt is emitted exactly once.
        """
        with self._lock:
            is_building = not self._failure and self._python_executor is None
            if not is_building:
                self._start_now(attempt)
                return
            self._waiting_attempts[attempt.id] = attempt
            if self._install_start is not None:
                self._write_log(attempt, self._installing_line())

    def signal(self, attempt_id: int, signal_number: int) -> None:
        """Send a signal to an attempt. If the attempt still waits for its environment, end it."""
        # Only the thread that removes the attempt from the dict emits its end. So the end is
        # emitted only once.
        with self._lock:
            waiting_attempt = self._waiting_attempts.pop(attempt_id, None)
        if waiting_attempt is not None:
            self._emit(AttemptEnded(attempt_id, "stopped before its virtual environment was ready"))
        elif self._python_executor is not None:
            self._python_executor.signal(attempt_id, signal_number)

    def kill(self, attempt_id: int) -> None:
        """Kill an attempt together with its fork server."""
        self.signal(attempt_id, signal.SIGKILL)
        if self._python_executor is not None:
            self._python_executor.kill(attempt_id)

    def close(self) -> None:
        """Stop the build, and end all processes."""
        self._builder.stop()
        self._thread.join()
        if self._python_executor is not None:
            self._python_executor.close()

    def _build(self) -> None:
        """Build the environment, then start the attempts that wait for it.

        This method runs in its own thread.
        """
        executor: PythonExecutor | None = None
        failure = ""
        try:
            python = str(self._builder.build())
            executor = PythonExecutor(self._emit, python, self._libraries, run_id=self._run_id)
        except Exception as error:
            # The attempts that wait must end after any error.
            reason = " ".join(str(error).split()) or type(error).__name__
            safe_reason = mask_credentials(reason, self._secret_texts)
            failure = f"its packages cannot be installed: {safe_reason}"
        # With the lock, an attempt that comes now starts after the attempts that have waited.
        with self._lock:
            self._python_executor = executor
            self._failure = failure
            for attempt in self._waiting_attempts.values():
                if self._install_start is not None and executor is not None:
                    seconds = time.monotonic() - self._install_start
                    self._write_log(attempt, _installed_line(seconds))
                    self._emit(PackagesInstalled(attempt.id))
                self._start_now(attempt)
            self._waiting_attempts.clear()

    def _log_install_start(self) -> None:
        """Write to the logs of waiting attempts that their packages are being installed."""
        with self._lock:
            self._install_start = time.monotonic()
            for attempt in self._waiting_attempts.values():
                self._write_log(attempt, self._installing_line())

    def _installing_line(self) -> str:
        packages = self._packages or "kfp"
        return (
            f"kfgcp: installing {packages} (once: later tasks and runs use the same virtual"
            " environment)"
        )

    def _write_log(self, attempt: Attempt, line: str) -> None:
        # An error is ignored, because the start of the attempt fails with the same error and
        # reports it.
        with suppress(OSError):
            _append_to_log(attempt, f"{line}\n")

    def _start_now(self, attempt: Attempt) -> None:
        """Start an attempt after the build. If the build has failed, emit the end instead."""
        try:
            if self._python_executor is not None:
                self._python_executor.start(attempt)
                return
            _append_to_log(attempt, self._builder.output)
            self._emit(AttemptEnded(attempt.id, self._failure))
        except OSError as error:
            problem = f"cannot prepare the task: {error.strerror or error}"
            self._emit(AttemptEnded(attempt.id, problem))


def _installed_line(seconds: float) -> str:
    return f"kfgcp: installed in {seconds:.1f} s (not part of the task's time)"


def _append_to_log(attempt: Attempt, text: str) -> None:
    private.make_folders(attempt.log.parent)
    with attempt.log.open("a", encoding="utf-8") as log:
        log.write(text)


class Builder:
    """The builder of one virtual environment.

    Args:
        requirements: the packages of the environment.
        folder: the folder of all environments.
        submit_dir: the folder that relative paths in the requirements start from.
        run_id: the run. The processes of uv have this id as a variable, see
            `kfgcp.engine.orphans`.
        on_install: a function that is called before packages are installed. It is not called when
            the environment exists already.

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
        """Build the environment if it does not exist, and return the path of its interpreter.

        Raises:
            BuildError: uv failed, or `stop` was called.
        """
        self._requirements = self._pin_requirements()
        self._folder = self._environments / self._requirements.key
        python = self._folder / "bin" / "python"
        # Nobody changes a complete environment, so no lock is needed to use it.
        if is_built(self._requirements, self._folder.parent):
            return python
        private.make_folders(self._folder.parent)
        with self._locked(self._folder.with_suffix(".lock")):
            # Another builder may have finished while this one waited for the lock.
            if not (self._folder / READY).exists():
                self._build_again(python)
        return python

    def stop(self) -> None:
        """End the build. Any thread may call this method."""
        # The order matters. This method sets `_stopped` and then reads `_process`. `_uv` sets
        # `_process` and then reads `_stopped`. So at least one of them kills the process.
        self._stopped = True
        process = self._process
        if process is not None:
            _kill(process)

    def _build_again(self, python: Path) -> None:
        """Build the environment in an empty folder, and mark it as complete at the end."""
        # A builder that was killed may have left an incomplete environment.
        shutil.rmtree(self._folder, ignore_errors=True)
        self._on_install()
        try:
            self._install(python)
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        # The file is made last, because it means that the environment is complete. If a folder or
        # branch has changed during the build, the environment may not match its key. Then the file
        # is not made, so only this run uses the environment.
        if self._pin_requirements() == self._requirements:
            (self._folder / READY).touch()

    def _pin_requirements(self) -> Requirements:
        if not can_change(self._requirements):
            return self._requirements
        return pin(self._requirements, self._submit_dir, self._environments / "refs")

    @contextmanager
    def _locked(self, file: Path) -> Iterator[None]:
        """Hold the environment's lock. Wait while another process holds it.

        Raises:
            BuildError: `stop` was called during the wait.
        """
        with file.open("w") as lock:
            # uv inherits the descriptor and with it the lock (flock(2): a lock belongs to the open
            # file, and is freed when the last copy of its descriptor is closed). So when this
            # process is killed, no other builder starts before uv has ended too.
            self._lock_fd = lock.fileno()
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    # A blocking call of `flock` would not notice `stop`.
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
            # This comes first, so that a package that needs a newer version can replace it. Some
            # package indexes do not have setuptools, so a failure is ignored.
            with suppress(BuildError):
                self._uv(install + [setuptools])
        if requirements.packages:
            packages = [_without_git_password(text) for text in requirements.packages]
            arguments, secret_lines = _arguments(packages)
            self._uv(install + arguments, secret_lines)
        if requirements.kfp:
            # The compiled command of a component also installs kfp without its dependencies.
            self._uv(install + ["--no-deps", requirements.kfp])

    def _uv(self, arguments: Sequence[str], secret_lines: str = "") -> None:
        """Run uv.

        Every user of the machine can read the arguments, so they must not contain secrets. Only
        this user can read the environment variables and the standard input.

        Args:
            arguments: the arguments of uv.
            secret_lines: the standard input of uv: lines of a requirements file.

        Raises:
            BuildError: uv failed, or `stop` was called.
        """
        self._check_stopped()
        command = [uv_program(), "--no-progress", "--color", "never"]
        command += arguments
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
            # A session is also a process group. So `stop` can kill uv with all processes that it
            # has started.
            start_new_session=True,
        ) as self._process:
            # `stop` may have been called before the process existed.
            if self._stopped:
                _kill(self._process)
            raw_output, _ = self._process.communicate(secret_lines)
        output = mask_credentials(raw_output, _secret_texts(self._requirements))
        self.output += output
        if self._process.returncode:
            raise BuildError(_summary(output))

    def _environ(self) -> dict[str, str]:
        """Return the environment variables of uv."""
        # By default uv uses its own certificates, but pip uses the certificates of the system. The
        # variables of the user come second, so that the user can change UV_SYSTEM_CERTS.
        environ = {"UV_SYSTEM_CERTS": "1"} | os.environ
        environ[orphans.RUN_ID_VARIABLE] = self._run_id
        environ |= _index_variables(self._requirements.index_options)
        repositories = [text for text in self._requirements.packages if is_git(text)]
        return environ | git_credentials.environment(repositories, environ)


def wants_setuptools(requirements: Requirements) -> str | None:
    """Return the requirement of setuptools that must be installed first.

    Returns:
        None when setuptools is not needed, or is one of the packages.
    """
    if any(_SETUPTOOLS.match(text) for text in requirements.packages):
        return None
    return requirements.setuptools


def _secret_texts(requirements: Requirements) -> tuple[str, ...]:
    """Return the texts of requirements that may contain passwords."""
    return requirements.index_options + requirements.packages


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill uv and all processes that it has started, for example to build a package."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _trusted_host(option: str) -> tuple[str, ...]:
    """Return uv's arguments for pip's option `--trusted-host`; empty for any other option.

    KFP writes whole URLs as trusted hosts. uv accepts only a host and port.
    """
    name, _, value = option.partition(" ")
    if name != "--trusted-host":
        return ()
    _, at_sign, host_and_path = value.rpartition("@")
    if at_sign:
        # The user and password end at the last "@". A password may contain any character.
        value = f"//{host_and_path}"
    elif has_credentials(value):
        return ()
    host = urlsplit(value).netloc if "//" in value else value
    return "--allow-insecure-host", host


def _index_variables(index_options: Sequence[str]) -> dict[str, str]:
    """Return the environment variables with which uv gets the package indexes.

    The URLs of indexes may contain passwords, so they are not arguments. If `--index-url` occurs
    several times, the last one counts, as in pip.
    """
    variables: dict[str, str] = {}
    extra_urls: list[str] = []
    for option in index_options:
        name, _, value = option.partition(" ")
        if name in ("--index-url", "-i"):
            variables["UV_DEFAULT_INDEX"] = value
        elif name == "--extra-index-url":
            extra_urls.append(value)
    if extra_urls:
        variables["UV_EXTRA_INDEX_URL"] = " ".join(extra_urls)
    return variables


def _without_git_password(text: str) -> str:
    """Return a requirement without the password of a git repository.

    uv passes the address of the repository to git. git gets the password from its environment
    variables, see `kfgcp.engine.git_credentials`.
    """
    return git_credentials.without_password(text) if is_git(text) else text


def _arguments(packages: Sequence[str]) -> tuple[list[str], str]:
    """Return uv's arguments for requirements, and uv's standard input.

    Requirements that contain a password are in the standard input, all others in the arguments.
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
    """Return the error message in the output of uv, as one line."""
    lines = [line.strip(_FRAME) for line in output.splitlines() if line.strip()]
    for index, line in enumerate(lines):
        if line.startswith("error"):
            lines = lines[index:]
            break
    return " ".join(lines) or "uv gave no reason"
