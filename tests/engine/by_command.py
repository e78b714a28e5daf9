"""Pipelines through `kfgcp run SPEC --json`, for a run of these tests with
KFGCP_TESTS_BY_COMMAND=1."""

import json
import subprocess
import sys
from pathlib import Path

from kfgcp.errors import BackendError, ParamError
from kfgcp.model import Run
from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec
from patience import PROCESS

ERRORS = {ParamError.exit_code: ParamError, BackendError.exit_code: BackendError}
SWITCHES = {
    "cache": ("--cache", "--no-cache"),
    "fail_fast": ("--fail-fast", ""),
    "strict_env": ("--strict-env", ""),
}


def run(spec: Spec, params: JsonObject, folder: Path, options: JsonObject) -> Run:
    """The run that the command printed; its errors as those of Python. folder: where the files for
    it go."""
    number = len(list(folder.glob("spec-*.json")))
    file, values = folder / f"spec-{number}.json", folder / f"values-{number}.json"
    file.write_text(json.dumps(spec.pipeline_spec))
    values.write_text(json.dumps(dict(params)))
    command = [
        Path(sys.executable).with_name("kfgcp"),
        "run",
        file,
        "--params-file",
        values,
        "--json",
    ]
    for name, value in options.items():
        if name in SWITCHES:
            command += [
                switch for switch in (SWITCHES[name][not value],) if switch and value is not None
            ]
        else:
            command += [f"--{name.replace('_', '-')}", str(value)]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PROCESS)
    if process.returncode in ERRORS:
        raise ERRORS[process.returncode](process.stderr)
    assert process.returncode in (0, 6), process.stderr
    return Run.from_dict(json.loads(process.stdout))
