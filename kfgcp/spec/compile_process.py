"""A process that compiles one pipeline: what its file imports, and whatever it does, stays out of
the caller.

    python -P -m kfgcp.spec.compile_process PIPELINE OUTPUT ERROR

It writes the compiled pipeline to OUTPUT, or its error to ERROR as a JSON object. It writes neither
when the file of the pipeline ends the process.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kfgcp.errors import KfgcpError, SpecError
from kfgcp.spec.load import Spec, load
from kfgcp.spec.write import write

SECONDS: Final = 60
_LINES: Final = 20
"""The last lines that a pipeline printed, which are shown with its error."""


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
        output, error = Path(scratch, "pipeline.yaml"), Path(scratch, "error.json")
        try:
            process = subprocess.run(
                [sys.executable, "-P", "-m", __name__, pipeline, str(output), str(error)],
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
        if not output.exists():
            written = json.loads(error.read_text(encoding="utf-8")) if error.exists() else {}
            raise _error(pipeline, written, process.stderr)
        return replace(load(str(output)), origin=pipeline)


def _error(pipeline: str, written: dict[str, Any], printed: str) -> SpecError:
    lines = [*printed.strip().splitlines(), *written.get("user_traceback", "").splitlines()]
    hint_lines = [*lines[-_LINES:], *written.get("hint", "").splitlines()]
    return SpecError(
        written.get("message") or f"{pipeline} does not compile.", hint="\n".join(hint_lines)
    )


def main(arguments: Sequence[str]) -> int:
    """Compile a pipeline. See the module for the arguments."""
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
