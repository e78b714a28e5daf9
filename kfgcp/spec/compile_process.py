"""Compile one pipeline in a process of its own.

The file of a pipeline is a program. In a process of its own, it can import, change and print what
it wants without effects on the caller.

    python -P -m kfgcp.spec.compile_process PIPELINE OUTPUT ERROR

The process writes the compiled pipeline to OUTPUT, or an error to ERROR as a JSON object. It writes
neither when the file of the pipeline ends the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from kfgcp.errors import KfgcpError, SpecError
from kfgcp.spec.load import Spec, load
from kfgcp.spec.write import write

# The time limit for one compilation. Importing kfp takes several seconds on a slow machine, and the
# file of a pipeline may import more.
TIME_LIMIT_SECONDS: Final = 60

# The hint of an error shows at most this many of the last lines that the process wrote to stderr.
# `load` sends the output of `print` there too.
_MAX_LINES: Final = 20


def compile_elsewhere(pipeline: str, folder: Path, seconds: float = TIME_LIMIT_SECONDS) -> Spec:
    """Compile a pipeline in a process of its own, and return it.

    Args:
        pipeline: `file.py` or `file.py:function`, with an absolute path.
        folder: the folder in which the process runs.
        seconds: how long the process may take.

    Raises:
        SpecError: the pipeline does not compile. The hint begins with the last lines that the
            process wrote to stderr.
    """
    with tempfile.TemporaryDirectory(prefix="kfgcp-") as scratch:
        output = Path(scratch, "pipeline.yaml")
        error_file = Path(scratch, "error.json")
        # -P keeps the current folder off sys.path. A file there may be called json.py.
        command = [sys.executable, "-P", "-m", __name__, pipeline, str(output), str(error_file)]
        try:
            process = subprocess.run(
                command,
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                stdin=subprocess.DEVNULL,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise SpecError(f"{pipeline} did not compile within {seconds:g} s.") from None
        if output.exists():
            return replace(load(str(output)), origin=pipeline)
        error_fields: dict[str, str] = {}
        if error_file.exists():
            error_fields = json.loads(error_file.read_text(encoding="utf-8"))
        raise _build_error(pipeline, error_fields, process.stderr)


def main(arguments: Sequence[str]) -> int:
    """Compile a pipeline and return the exit code.

    Args:
        arguments: PIPELINE, OUTPUT and ERROR, as in the docstring of the module.
    """
    pipeline, output, error_file = arguments
    try:
        write(load(pipeline), Path(output))
    except KfgcpError as error:
        error_fields = {"message": error.message, "hint": error.hint}
        if isinstance(error, SpecError):
            error_fields["user_traceback"] = error.user_traceback
        Path(error_file).write_text(json.dumps(error_fields), encoding="utf-8")
        return error.exit_code
    return 0


def _build_error(pipeline: str, error_fields: Mapping[str, str], stderr: str) -> SpecError:
    """Return the error for a pipeline that did not compile.

    Args:
        pipeline: the pipeline.
        error_fields: the content of the file ERROR, {} without one.
        stderr: what the process wrote to stderr.
    """
    traceback_lines = error_fields.get("user_traceback", "").splitlines()
    lines = stderr.strip().splitlines() + traceback_lines
    hint_lines = lines[-_MAX_LINES:] + error_fields.get("hint", "").splitlines()
    message = error_fields.get("message") or f"{pipeline} does not compile."
    return SpecError(message, hint="\n".join(hint_lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
