"""Run components in child processes that are forked after the slow imports.

This is the program that `component_processes.ComponentServer` starts. It reads requests from
standard input, a line of JSON each, and answers with a line of JSON on standard output:

* an order is an object. The answer is the id of the child that runs the component.
* null asks for the exit code of that child. The answer is null while the child runs.
"""

from __future__ import annotations

import dis
import json
import os
import resource
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from kfp import dsl

import kfgcp_components


def main() -> None:
    """Answer requests until standard input ends. In a child, return when its component ends."""
    _import_ahead()
    _answer("ready")
    child = 0
    for line in sys.stdin:
        order = json.loads(line)
        if order is None:
            pid, status = os.waitpid(child, os.WNOHANG)
            _answer(os.waitstatus_to_exitcode(status) if pid else None)
            continue
        child = os.fork()
        if child == 0:
            # Python ends the child as any program: an error is printed and the exit code is 1.
            _run(order)
            return
        _answer(child)


def _import_ahead() -> None:
    """Import the modules that components import in their functions."""
    for component in kfgcp_components.__all__:
        function = getattr(kfgcp_components, component).python_func
        for instruction in dis.get_instructions(function):
            if instruction.opname == "IMPORT_NAME":
                import_module(str(instruction.argval))


def _answer(value: object) -> None:
    print(json.dumps(value), flush=True)


def _run(order: dict[str, Any]) -> None:
    """Run a component. The process waits when it gives the output with a number its name."""
    # Standard output is for answers. A file for the output would be under the limit of max_bytes.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    arguments = dict(order["arguments"])
    for name, type_name in order["artifacts"].items():
        uri = arguments.get(name) or order["outputs"] + "/" + name
        arguments[name] = getattr(dsl, type_name)(name=name, uri=uri)
    function = getattr(kfgcp_components, order["component"]).python_func
    renamed = 0

    def stop(event: str, details: tuple[object, ...]) -> None:
        nonlocal renamed
        if event == "os.rename" and str(details[0]).endswith(".kfgcp-part"):
            renamed += 1
            if renamed == order["stop_at"]:
                Path(order["marker"]).touch()
                signal.pause()

    sys.addaudithook(stop)
    if order["max_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["max_bytes"], resource.RLIM_INFINITY))
    function(**arguments)


if __name__ == "__main__":
    main()
