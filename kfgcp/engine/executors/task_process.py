"""Run a task in its own process, from the fork to the end of the process.

The functions that run a task never return to the code that forked the process. They end the process
with `os._exit`, because the normal end of the interpreter would run the cleanup of the fork server.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import io
import json
import marshal
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from kfgcp.engine.executors.process_messages import StartMessage

if TYPE_CHECKING:
    import ctypes

MODULE: Final = "ephemeral_component"
"""The name of the module with the component's source, as in the commands that KFP compiles."""

FAILURE: Final = ".failure"
"""The file in the working folder with the reason why the task failed, see `run`."""

TEMPORARY: Final = ".tmp"
"""The folder for temporary files in the working folder."""

# From <sys/prctl.h> on Linux.
_PR_SET_PDEATHSIG: Final = 1

# The set-group-ID bit, and the right of the group to write. A folder with both is shared with a
# group on purpose, see `kfgcp.private`.
_SHARED_FOLDER: Final = 0o2020

_LONGEST_MESSAGE: Final = 10_000
"""The longest message of an exception that the engine gets, in characters."""

_COMPONENT_IMPORTS: Final = compile(
    "import kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n",
    "<head>",
    "exec",
)
"""The imports that KFP puts before the source of a component."""


def preload(modules: Sequence[str]) -> None:
    """Import KFP's executor and other modules, so that tasks find them already imported.

    The fork server calls this before it forks the first task.

    Args:
        modules: the other modules. Some may not be installed.
    """
    import kfp.dsl.executor  # noqa: F401

    for name in modules:
        # If a module cannot be imported, the component that imports it reports the error.
        with suppress(Exception):
            importlib.import_module(name)

    if sys.platform == "linux":
        _libc()


def wait_and_run(message_pipe: int, server: int) -> NoReturn:
    """Wait for a start message and run the task in this process, the spare of the fork server.

    Before it waits, the process rehearses the beginning of a task. After a fork, each page of
    memory is copied when it is first written to, and a small task spends most of its time on these
    copies (decision 9).

    When the server ends before it sends a message, this process ends too.

    Args:
        message_pipe: the descriptor to read the message from.
        server: the process id of the server.
    """
    try:
        _leave_server(server)
        # With a future version of kfp, the rehearsal may fail. Then the task starts without it.
        with suppress(Exception):
            _rehearse()
        with open(message_pipe, "rb", buffering=0) as pipe:
            # When the server has ended, there is no data. Then `loads` raises an error, which ends
            # this process.
            message = marshal.loads(pipe.readall())  # noqa: S302 - the server wrote it
    except BaseException:
        os._exit(1)
    _run(message)


def run(message: StartMessage, server: int) -> NoReturn:
    """Run the task of a start message, and end this process.

    The exit status is 0 when the function has returned and its outputs were written. After
    `sys.exit(N)` it is N. Otherwise it is 1, and the file `.failure` in the working folder has the
    reason as JSON: `message`, one line, and `exception`, the fields of
    `kfgcp.engine.executors.base.TaskException` that are set.

    Args:
        message: the start message.
        server: the process id of the fork server. When the server ends, this process ends too.
    """
    try:
        _leave_server(server)
    except BaseException:
        os._exit(1)
    _run(message)


def _run(message: StartMessage) -> NoReturn:
    status = 1
    try:
        _become_task(message)
        status = _execute(message)
        # `os._exit` below skips the normal end of the interpreter. A component may rely on three
        # steps of it: wait for threads, call the functions of `atexit`, and flush. The interpreter
        # does them in this order.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        _flush()
    except BaseException as error:
        status = 1
        _write_failure(message, _describe_error(error))
    finally:
        os._exit(status)


def _leave_server(server: int) -> None:
    """Make this process independent of the server, but let it end when the server ends."""
    # With a process group of its own, a signal reaches the task and all processes that it starts.
    os.setpgid(0, 0)
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # If the server was killed before this call, no signal comes. But then this process has
        # another parent (prctl(2), PR_SET_PDEATHSIG).
        if os.getppid() != server:
            os._exit(1)
    # The server ignores the first three signals and handles SIGCHLD. A fork copies these settings.
    for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(signal_number, signal.SIG_DFL)
    # numpy chose its seed when the server imported it. With this seed, all tasks would get the same
    # random numbers.
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def _rehearse() -> None:
    """Do what most components do before their own code.

    The real start of the task repeats all of this. It is faster then, because the pages of memory
    that it writes to are copied already.
    """
    from kfp.dsl.executor import Executor

    sys.stdout = _text_stream(1)
    sys.stderr = _text_stream(2)
    importlib.util.spec_from_file_location(MODULE, Path(os.devnull))
    exec(_COMPONENT_IMPORTS, {})  # noqa: S102
    no_values = {"inputs": {}, "outputs": {"outputFile": ""}}
    Executor(executor_input=no_values, function_to_execute=_rehearse)


def _become_task(message: StartMessage) -> None:
    """Give this process the log, the working folder and the variables of its task."""
    _open_log(message["log"])
    scratch = message["scratch"]
    os.chdir(scratch)
    os.environ.update(message["env"], TMPDIR=f"{scratch}/{TEMPORARY}", PWD=scratch)
    # The C library reads TZ only when a process starts and when `tzset` is called.
    if "TZ" in message["env"]:
        time.tzset()


def _open_log(file: str) -> None:
    """Send standard output and standard error to a log, in the order in which they are written."""
    folder = os.path.dirname(file)
    os.makedirs(folder, exist_ok=True)
    is_shared = os.stat(folder).st_mode & _SHARED_FOLDER == _SHARED_FOLDER
    mode = 0o660 if is_shared else 0o600
    # Several processes write to the log. With O_APPEND, none overwrites the lines of another.
    log = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    os.close(null)
    sys.stdout = _text_stream(1)
    sys.stderr = _text_stream(2)


def _flush() -> None:
    """Write the contents of the buffers of Python and of C libraries, as `os._exit` does not."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    if sys.platform == "linux":
        _libc().fflush(None)


def _text_stream(fd: int) -> io.TextIOWrapper:
    """Return a stream that writes each line as soon as it is complete.

    So the lines of standard output and standard error keep their order, and can be read while the
    task runs. With PYTHONUNBUFFERED, the stream writes every text at once.
    """
    if os.environ.get("PYTHONUNBUFFERED"):
        raw: Any = io.FileIO(fd, "w", closefd=False)
        return io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _execute(message: StartMessage) -> int:
    """Run the component and return the exit status."""
    from kfp.dsl.executor import Executor

    if message["copies_folder"] is not None:
        _use_copies_of_buckets(message["copies_folder"])
    program = Path(message["program"])
    try:
        module = _load_program(program)
        function = getattr(module, message["function"])
        Executor(executor_input=message["executor_input"], function_to_execute=function).execute()
    except SystemExit as stop:
        return _exit_status(stop, message)
    except BaseException as error:
        _print_user_traceback(error, program)
        fields = _exception_fields(error, program)
        _write_failure(message, _describe_error(error), fields)
        return 1
    return 0


def _use_copies_of_buckets(folder: str) -> None:
    """Let `Artifact.path` return paths of copies, for each scheme whose files were copied.

    Args:
        folder: the folder with copies of files in buckets.
    """
    from kfp.dsl.types import artifact_types

    for name, mount in (("_GCS", "gcs"), ("_S3", "s3"), ("_MINIO", "minio")):
        if os.path.isdir(f"{folder}/{mount}"):
            setattr(artifact_types, f"{name}_LOCAL_MOUNT_PREFIX", f"{folder}/{mount}/")


def _load_program(program: Path) -> ModuleType:
    """Return the module of the component's source file."""
    sys.path.insert(0, str(program.parent))
    spec = importlib.util.spec_from_file_location(MODULE, program)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # This comes before the code runs, because pickle and dataclasses look the module up.
    sys.modules[MODULE] = module
    spec.loader.exec_module(module)
    return module


def _exit_status(stop: SystemExit, message: StartMessage) -> int:
    """Return the exit status for an exception of `sys.exit`, as Python itself does.

    When the argument of `sys.exit` is a text, print it and write it as the reason of the failure.
    """
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        # A status has 8 bits (_exit(2)).
        return stop.code & 0xFF
    print(stop.code, file=sys.stderr)
    _write_failure(message, str(stop.code).strip().rpartition("\n")[2])
    return 1


def _print_user_traceback(error: BaseException, program: Path) -> None:
    """Print the traceback from the first frame of the component's own code.

    Before this frame, there are frames of this file and of KFP. They do not help the author of the
    component.
    """
    frame: TracebackType | None = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename != str(program):
        frame = frame.tb_next
    traceback.print_exception(type(error), error, frame or error.__traceback__)


def _describe_error(error: BaseException) -> str:
    """Return an exception as one line: `ValueError: the first line of its message`."""
    if isinstance(error, SyntaxError):
        return traceback.format_exception_only(type(error), error)[-1].strip()
    # nbclient raises an error with these attributes when a cell of a notebook fails.
    cell_error: Any = error.__cause__
    if hasattr(cell_error, "ename") and hasattr(cell_error, "evalue"):
        return f"{cell_error.ename}: {cell_error.evalue}".strip().partition("\n")[0]
    error_type = type(error)
    name = error_type.__qualname__
    if error_type.__module__ not in ("builtins", "__main__", MODULE):
        name = f"{error_type.__module__}.{name}"
    for line in str(error).splitlines():
        if line.strip():
            return f"{name}: {line.strip()}"
    return name


def _exception_fields(error: BaseException, program: Path) -> dict[str, str | bool]:
    """Return the fields of a TaskException for an exception or for one of its causes.

    Returns:
        The fields; {} when no hint exists for the exception and its causes.
    """
    cause = _find_cause_with_hint(error)
    if cause is None:
        return {}
    fields = _place_fields(cause, program)
    if isinstance(cause, ModuleNotFoundError):
        fields["missing_module"] = cause.name or ""
    elif isinstance(cause, FileNotFoundError):
        fields["is_missing_file"] = True
        if cause.filename is None:
            fields["message"] = str(cause)[:_LONGEST_MESSAGE]
        else:
            fields["missing_file"] = os.fsdecode(cause.filename)
    elif type(cause) is NameError:
        fields["undefined_name"] = cause.name or ""
    else:
        # This is an UnboundLocalError, a subclass of NameError. The hint for NameError is that KFP
        # ships only the function. That cannot be the cause of this error.
        fields["undefined_name"] = ""
    return fields


def _find_cause_with_hint(error: BaseException) -> BaseException | None:
    """Return the first exception in the chain of causes for which a hint exists."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (ModuleNotFoundError, NameError, FileNotFoundError)):
            return cause
        cause = cause.__cause__
    return None


def _place_fields(error: BaseException, program: Path) -> dict[str, str | bool]:
    """Return the fields of a TaskException that say which code raised an exception."""
    frame = error.__traceback__
    if frame is None:
        return {}
    while frame.tb_next is not None:
        frame = frame.tb_next
    module = str(frame.tb_frame.f_globals.get("__name__", ""))
    return {
        "in_component": frame.tb_frame.f_code.co_filename == str(program),
        "raised_in": module.partition(".")[0],
    }


def _write_failure(
    message: StartMessage, reason: str, exception: Mapping[str, str | bool] | None = None
) -> None:
    """Write the reason why the task failed to a file, which the engine reads."""
    file = f"{message['scratch']}/{FAILURE}"
    with open(file, "w", encoding="utf-8", errors="backslashreplace") as stream:
        json.dump({"message": reason, "exception": exception or {}}, stream)


def _libc() -> ctypes.CDLL:
    """Return the C library. The fork server loads it once, before it forks tasks."""
    global _loaded_libc
    if _loaded_libc is None:
        import ctypes

        _loaded_libc = ctypes.CDLL(None, use_errno=True)
    return _loaded_libc


_loaded_libc: ctypes.CDLL | None = None
