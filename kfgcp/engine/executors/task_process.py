"""A task's own process, from the fork to its end.

The functions that run a task never return to the code that forked the process. They end it with
`os._exit`, because the normal end of the interpreter would run the cleanup of the fork server.
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
FAILURE: Final = ".failure"
TEMPORARY: Final = ".tmp"

# Constants of <sys/prctl.h> on Linux.
_PR_SET_PDEATHSIG: Final = 1

# The set-group-ID bit and the right of the group to write: a folder that is shared with a group on
# purpose, see `kfgcp.private`.
_SHARED_FOLDER: Final = 0o2020

_LONGEST_MESSAGE: Final = 10_000
"""The longest message of an exception that is handed on, in characters."""

_HEAD: Final = compile(
    "import kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n",
    "<head>",
    "exec",
)
"""The imports that KFP puts before the source of a component."""


def preload(modules: Sequence[str]) -> None:
    """Import what tasks need, before the fork.

    Args:
        modules: modules beside KFP's executor. Some may not be installed.
    """
    import kfp.dsl.executor  # noqa: F401

    for name in modules:
        # The component that imports the module reports what is wrong with it.
        with suppress(Exception):
            importlib.import_module(name)

    if sys.platform == "linux":
        _libc()


def wait_and_run(message_pipe: int, server: int) -> NoReturn:
    """Wait for a start message and run the task; end when the server ends before it sends one.

    Meanwhile the process goes through the beginning of a task. After a fork each page of memory is
    copied when it is first written to, and that is most of the time of a small task (decision 9).

    Args:
        message_pipe: the descriptor to read the message from.
        server: the id of the process that forked this one.
    """
    try:
        _leave_server(server)
        # A future kfp may differ. Then the task starts without the rehearsal.
        with suppress(Exception):
            _rehearse()
        with open(message_pipe, "rb", buffering=0) as pipe:
            # When the server has ended, there is no data and the error ends this process.
            message = marshal.loads(pipe.readall())  # noqa: S302 - the server wrote it
    except BaseException:
        os._exit(1)
    _run(message)


def run(message: StartMessage, server: int) -> NoReturn:
    """Run the function of a start message in this process, which ends with it and with `server`.

    The exit status is 0 when the function returned and its outputs were written, the number of
    `sys.exit`, or 1. For 1 the file `.failure` of the working folder has the reason as JSON:
    `message`, one line, and `exception`, the fields of
    `kfgcp.engine.executors.base.TaskException` that are set.
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
        # `os._exit` below skips the end of the interpreter. These are its steps that a component
        # may rely on, in its order: wait for threads, call what `atexit` has, flush.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        _flush()
    except BaseException as error:
        status = 1
        _write_failure(message, _last_line(error))
    finally:
        os._exit(status)


def _leave_server(server: int) -> None:
    """Make this process independent of the server, except that it ends with the server."""
    # In a group of its own, the task and all that it starts can be signalled together.
    os.setpgid(0, 0)
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The server may have been killed before the call above, and then no signal comes. A process
        # whose parent has ended has another parent (prctl(2), PR_SET_PDEATHSIG).
        if os.getppid() != server:
            os._exit(1)
    # The server ignores the first three, and ignored signals stay ignored after a fork.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    # numpy drew its seed when the server imported it, so all tasks would draw the same numbers.
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def _rehearse() -> None:
    """Do what most components do before their own code. The task does all of it again."""
    from kfp.dsl.executor import Executor

    sys.stdout = _text_stream(1)
    sys.stderr = _text_stream(2)
    importlib.util.spec_from_file_location(MODULE, Path(os.devnull))
    exec(_HEAD, {})  # noqa: S102
    no_values = {"inputs": {}, "outputs": {"outputFile": ""}}
    Executor(executor_input=no_values, function_to_execute=_rehearse)


def _become_task(message: StartMessage) -> None:
    """Give this process the log, the working folder and the variables of its task."""
    _open_log(message["log"])
    scratch = message["scratch"]
    os.chdir(scratch)
    os.environ.update(message["env"], TMPDIR=f"{scratch}/{TEMPORARY}", PWD=scratch)
    # The C library reads TZ only at the start of a process and here.
    if "TZ" in message["env"]:
        time.tzset()


def _open_log(file: str) -> None:
    """Let output and errors go to a log, in the order they are written."""
    folder = os.path.dirname(file)
    os.makedirs(folder, exist_ok=True)
    is_shared = os.stat(folder).st_mode & _SHARED_FOLDER == _SHARED_FOLDER
    mode = 0o660 if is_shared else 0o600
    # O_APPEND: other processes write to the log too, and none may overwrite the lines of another.
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
    """Write what Python and C libraries still hold in buffers. `os._exit` does not do that."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    if sys.platform == "linux":
        _libc().fflush(None)


def _text_stream(fd: int) -> io.TextIOWrapper:
    """Return a stream that writes whole lines at once.

    So output and errors keep their order, and can be read while the task runs.
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
        module = _load(program)
        function = getattr(module, message["function"])
        Executor(executor_input=message["executor_input"], function_to_execute=function).execute()
    except SystemExit as stop:
        return _exit_status(stop, message)
    except BaseException as error:
        _print_user_traceback(error, program)
        _write_failure(message, _last_line(error), _describe_exception(error, program))
        return 1
    return 0


def _use_copies_of_buckets(folder: str) -> None:
    """Let `Artifact.path` lead to copies instead of mounts, for the buckets that were copied."""
    from kfp.dsl.types import artifact_types

    for name, mount in (("_GCS", "gcs"), ("_S3", "s3"), ("_MINIO", "minio")):
        if os.path.isdir(f"{folder}/{mount}"):
            setattr(artifact_types, f"{name}_LOCAL_MOUNT_PREFIX", f"{folder}/{mount}/")


def _load(program: Path) -> ModuleType:
    sys.path.insert(0, str(program.parent))
    spec = importlib.util.spec_from_file_location(MODULE, program)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Before the code runs, because pickle and dataclasses look the module up.
    sys.modules[MODULE] = module
    spec.loader.exec_module(module)
    return module


def _exit_status(stop: SystemExit, message: StartMessage) -> int:
    """Return the exit status of `sys.exit`, as Python itself would."""
    if stop.code is None:
        return 0
    if isinstance(stop.code, int):
        # A status has 8 bits (_exit(2)).
        return stop.code & 0xFF
    print(stop.code, file=sys.stderr)
    _write_failure(message, str(stop.code).strip().rpartition("\n")[2])
    return 1


def _print_user_traceback(error: BaseException, program: Path) -> None:
    """Print the traceback, beginning with the component's own code.

    The frames of this file and of KFP above it do not help the author of the component.
    """
    frame: TracebackType | None = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename != str(program):
        frame = frame.tb_next
    traceback.print_exception(type(error), error, frame or error.__traceback__)


def _last_line(error: BaseException) -> str:
    """Return an exception as one line: `ValueError: the first line of its message`."""
    if isinstance(error, SyntaxError):
        return traceback.format_exception_only(type(error), error)[-1].strip()
    # nbclient raises an error with these attributes when a cell of a notebook fails.
    cell: Any = error.__cause__
    if hasattr(cell, "ename") and hasattr(cell, "evalue"):
        return f"{cell.ename}: {cell.evalue}".strip().partition("\n")[0]
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__", MODULE):
        name = f"{kind.__module__}.{name}"
    for line in str(error).splitlines():
        if line.strip():
            return f"{name}: {line.strip()}"
    return name


def _describe_exception(error: BaseException, program: Path) -> dict[str, str | bool]:
    """Return the fields of a TaskException for an exception, or for one of its causes."""
    cause = _known_cause(error)
    if cause is None:
        return {}
    fields = _describe_place(cause, program)
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
        # An UnboundLocalError is a NameError too, but a rest of the file that KFP does not ship
        # cannot be its cause.
        fields["undefined_name"] = ""
    return fields


def _known_cause(error: BaseException) -> BaseException | None:
    """Return the first exception in the chain of causes that has a hint for the user."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (ModuleNotFoundError, NameError, FileNotFoundError)):
            return cause
        cause = cause.__cause__
    return None


def _describe_place(error: BaseException, program: Path) -> dict[str, str | bool]:
    """Return which code raised an exception, as fields of a TaskException."""
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
    message: StartMessage, line: str, exception: Mapping[str, str | bool] | None = None
) -> None:
    """Write why the task failed, for the engine."""
    file = f"{message['scratch']}/{FAILURE}"
    with open(file, "w", encoding="utf-8", errors="backslashreplace") as stream:
        json.dump({"message": line, "exception": exception or {}}, stream)


def _libc() -> ctypes.CDLL:
    """Return the C library. The server loads it before the fork, once for all tasks."""
    global _loaded_libc
    if _loaded_libc is None:
        import ctypes

        _loaded_libc = ctypes.CDLL(None, use_errno=True)
    return _loaded_libc


_loaded_libc: ctypes.CDLL | None = None
