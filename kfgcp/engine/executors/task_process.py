"""A task's own process, from the fork to its end: never returns to the code that forked it."""

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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, NoReturn

MODULE = "ephemeral_component"
FAILURE = ".failure"
TEMPORARY = ".tmp"
_PR_SET_PDEATHSIG = 1
_HEAD = compile(
    "import kfp\nfrom kfp import dsl\nfrom kfp.dsl import *\nfrom typing import *\n",
    "<head>",
    "exec",
)
"""The imports that KFP puts before the source of a component."""


def preload(modules: Sequence[str]) -> None:
    """Imports what tasks need, before the fork: KFP's executor, and modules of which some may not
    be installed."""
    import kfp.dsl.executor  # noqa: F401

    for name in modules:
        with suppress(Exception):  # the component that imports it will say what is wrong
            importlib.import_module(name)

    if sys.platform == "linux":
        _libc()


def wait_and_run(orders: int, server: int) -> NoReturn:
    """Waits for a start message and runs it; ends when the server is gone before one came.

    Meanwhile it goes through the beginning of a task. After a fork each page of memory is copied
    when it is first written to, and that is most of the time of a small task.

    Args:
        orders: the descriptor to read the message from.
        server: the process that forked this one.
    """
    try:
        _leave_server(server)
        with suppress(Exception):  # of a kfp where this goes otherwise; the task will do without
            _rehearse()
        with open(orders, "rb", buffering=0) as pipe:
            message = marshal.loads(pipe.readall())  # noqa: S302 - the server wrote it
    except BaseException:
        os._exit(1)
    _run(message)


def run(message: dict[str, Any], server: int) -> NoReturn:
    """Runs the function of a start message in this process, which ends with it, and with `server`.

    The exit status is 0 when the function returned and its outputs were written, what `sys.exit`
    said, or 1. For 1 the file `.failure` of the working folder says why, as JSON: `message`, one
    line, and `exception`, the fields of `kfgcp.engine.executors.base.TaskException` that are known.
    """
    try:
        _leave_server(server)
    except BaseException:
        os._exit(1)
    _run(message)


def _run(message: dict[str, Any]) -> NoReturn:
    status = 1
    try:
        _become_task(message)
        status = _execute(message)
        threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as the interpreter's end does
        atexit._run_exitfuncs()
        _flush()
    except BaseException as error:
        status = 1
        _leave_message(message, _last_line(error))
    finally:
        os._exit(status)


def _leave_server(server: int) -> None:
    os.setpgid(0, 0)
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:  # it was killed before this process could ask to go with it
            os._exit(1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()  # else all tasks would draw the numbers that the server would


def _rehearse() -> None:
    """What most components do before their own code, in memory only; the task does all of it
    again."""
    from kfp.dsl.executor import Executor

    sys.stdout, sys.stderr = _text_stream(1), _text_stream(2)
    importlib.util.spec_from_file_location(MODULE, Path(os.devnull))
    exec(_HEAD, {})  # noqa: S102
    Executor(
        executor_input={"inputs": {}, "outputs": {"outputFile": ""}}, function_to_execute=_rehearse
    )


def _become_task(message: dict[str, Any]) -> None:
    folder = os.path.dirname(message["log"])
    os.makedirs(folder, exist_ok=True)
    is_shared = os.stat(folder).st_mode & 0o2020 == 0o2020  # with a group, see kfgcp.private
    log = os.open(
        message["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o660 if is_shared else 0o600
    )
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(log)
    os.close(null)
    sys.stdout = _text_stream(1)
    sys.stderr = _text_stream(2)
    scratch = message["scratch"]
    os.chdir(scratch)
    os.environ.update(message["env"], TMPDIR=f"{scratch}/{TEMPORARY}", PWD=scratch)
    if "TZ" in message["env"]:
        time.tzset()


def _flush() -> None:
    """Writes out what Python and C libraries hold back; the process ends without doing that
    itself."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    if sys.platform == "linux":
        _libc().fflush(None)


def _text_stream(fd: int) -> io.TextIOWrapper:
    """Line by line, so that output and errors keep their order and can be read while the task
    runs."""
    if os.environ.get("PYTHONUNBUFFERED"):
        raw: Any = io.FileIO(fd, "w", closefd=False)
        return io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)
    return open(fd, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _execute(message: dict[str, Any]) -> int:
    from kfp.dsl.executor import Executor

    if message["remote"] is not None:
        _look_for_buckets_in(message["remote"])
    file = Path(message["program"])
    try:
        module = _load(file)
        function = getattr(module, message["function"])
        Executor(executor_input=message["executor_input"], function_to_execute=function).execute()
    except SystemExit as stop:
        return _exit_status(stop, message)
    except BaseException as error:
        _print_user_traceback(error, file)
        _leave_message(message, _last_line(error), _described(error, file))
        return 1
    return 0


def _look_for_buckets_in(folder: str) -> None:
    """Lets `Artifact.path` lead to copies instead of mounts, for the buckets that were copied."""
    from kfp.dsl.types import artifact_types

    for name, mount in (("_GCS", "gcs"), ("_S3", "s3"), ("_MINIO", "minio")):
        if os.path.isdir(f"{folder}/{mount}"):
            setattr(artifact_types, f"{name}_LOCAL_MOUNT_PREFIX", f"{folder}/{mount}/")


def _load(file: Path) -> ModuleType:
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(MODULE, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    spec.loader.exec_module(module)
    return module


def _exit_status(stop: SystemExit, message: dict[str, Any]) -> int:
    if stop.code is None or isinstance(stop.code, int):
        return (stop.code or 0) & 0xFF
    print(stop.code, file=sys.stderr)
    _leave_message(message, str(stop.code).strip().rpartition("\n")[2])
    return 1


def _print_user_traceback(error: BaseException, file: Path) -> None:
    """The traceback from the component's own code on; ours and KFP's frames above it say nothing to
    its author."""
    frame: TracebackType | None = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename != str(file):
        frame = frame.tb_next
    traceback.print_exception(type(error), error, frame or error.__traceback__)


def _last_line(error: BaseException) -> str:
    """`ValueError: the first line of its message`."""
    if isinstance(error, SyntaxError):
        return traceback.format_exception_only(type(error), error)[-1].strip()
    cell: Any = error.__cause__
    if hasattr(cell, "ename") and hasattr(
        cell, "evalue"
    ):  # what nbclient raises when a cell of a notebook fails
        return f"{cell.ename}: {cell.evalue}".strip().partition("\n")[0]
    kind = type(error)
    name = (
        kind.__qualname__
        if kind.__module__ in ("builtins", "__main__", MODULE)
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{name}: {lines[0]}" if lines else name


def _described(error: BaseException, program: Path) -> dict[str, Any]:
    """The fields of a TaskException for an exception, or for the one that it was raised from."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(
        cause, (ModuleNotFoundError, NameError, FileNotFoundError)
    ):
        cause = cause.__cause__
    if cause is None:
        return {}
    frame = cause.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    fields: dict[str, Any] = {}
    if frame is not None:
        fields["in_component"] = frame.tb_frame.f_code.co_filename == str(program)
        fields["raised_in"] = str(frame.tb_frame.f_globals.get("__name__", "")).partition(".")[0]
    if isinstance(cause, ModuleNotFoundError):
        return fields | {"missing_module": cause.name or ""}
    if isinstance(cause, FileNotFoundError):
        fields["is_missing_file"] = True
        if cause.filename is None:
            return fields | {"message": str(cause)[:10_000]}
        return fields | {"missing_file": os.fsdecode(cause.filename)}
    # An UnboundLocalError is a NameError too, and has nothing to do with what KFP ships.
    return fields | {"undefined_name": (cause.name or "") if type(cause) is NameError else ""}


def _leave_message(
    message: dict[str, Any], line: str, exception: dict[str, Any] | None = None
) -> None:
    with open(
        f"{message['scratch']}/{FAILURE}", "w", encoding="utf-8", errors="backslashreplace"
    ) as file:
        json.dump({"message": line, "exception": exception or {}}, file)


def _libc() -> Any:
    global _loaded_libc
    if _loaded_libc is None:
        import ctypes

        _loaded_libc = ctypes.CDLL(None, use_errno=True)
    return _loaded_libc


_loaded_libc: Any = None
