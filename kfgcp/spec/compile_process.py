"""Compile one pipeline in a process of its own.

The file of a pipeline is a program. What it imports, changes or prints stays out of the caller.

    python -P -m kfgcp.spec.compile_process PIPELINE OUTPUT ERROR

It writes the compiled pipeline to OUTPUT, or its error to ERROR as a JSON object. It writes neither
when the file of the pipeline ends the process.
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

# Seconds. Importing kfp takes several seconds on a slow machine, and the file of a pipeline may
# import more.
SECONDS: Final = 60

# An error shows at most this many of the last lines that a pipeline printed.
_MAX_LINES: Final = 20


def compile_elsewhere(pipeline: str, folder: Path, seconds: float = SECONDS) -> Spec:
    """Return a pipeline that was compiled in a process of its own.

    Args:
        pipeline: `file.py` or `file.py:function`, an absolute path.
        folder: where the process runs.
        seconds: how long it may take.

    Raises:
        SpecError: the pipeline does not compile. The hint begins with the last lines that it
            printed.
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
        error: dict[str, str] = {}
        if error_file.exists():
            error = json.loads(error_file.read_text(encoding="utf-8"))
        raise _build_error(pipeline, error, process.stderr)


def main(arguments: Sequence[str]) -> int:
    """Compile a pipeline and return the exit code. See the module for the arguments."""
    pipeline, output, error_file = arguments
    try:
        write(load(pipeline), Path(output))
    except KfgcpError as error:
        description = {"message": error.message, "hint": error.hint}
        if isinstance(error, SpecError):
            description["user_traceback"] = error.user_traceback
        Path(error_file).write_text(json.dumps(description), encoding="utf-8")
        return error.exit_code
    return 0


def _build_error(pipeline: str, error: Mapping[str, str], printed: str) -> SpecError:
    lines = printed.strip().splitlines() + error.get("user_traceback", "").splitlines()
    hint_lines = lines[-_MAX_LINES:] + error.get("hint", "").splitlines()
    message = error.get("message") or f"{pipeline} does not compile."
    return SpecError(message, hint="\n".join(hint_lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
