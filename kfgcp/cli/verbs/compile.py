"""Compile and validate a pipeline."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from kfgcp.cli import options, output
from kfgcp.spec.params import TYPES
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp compile examples/train_classifier.py -o train.yaml")
@click.argument("pipeline")
@click.option(
    "-o", "--output", "file", type=click.Path(path_type=Path), help="Write it here: .yaml or .json."
)
@options.as_json
def command(pipeline: str, file: Path | None, as_json: bool) -> None:
    """Compile and validate a pipeline.

    PIPELINE is file.py, file.py:function, or a compiled .yaml or .json. Prints its name, version
    and parameters.
    """
    spec = Workspace.compile(pipeline, file)
    if as_json:
        output.print_json(
            {
                "pipeline": spec.name,
                "version": spec.version,
                "output": str(file) if file else None,
                "params": [
                    {
                        "name": param.name,
                        "type": param.type,
                        "optional": param.optional,
                        "default": param.default if param.has_default else None,
                        "description": param.description,
                    }
                    for param in spec.params.values()
                ],
            }
        )
        return
    click.echo(f"{output.plain(spec.name)}  {spec.version}")
    if spec.params:
        rows = [
            (
                p.name,
                TYPES.get(p.type, p.type),
                output.value_text(p.default) if p.has_default else _needed(p.optional),
                p.description,
            )
            for p in spec.params.values()
        ]
        output.print_table(output.table(("PARAMETER", "TYPE", "DEFAULT", "DESCRIPTION"), rows))
    if file:
        click.echo(f"written to {file}", err=True)
    else:
        quoted, stem = shlex.quote(pipeline), Path(pipeline.partition(":")[0]).stem
        output.hint(f"kfgcp run {quoted}   kfgcp compile {quoted} -o {shlex.quote(stem)}.yaml")


def _needed(optional: bool) -> str:
    return "(none)" if optional else "(required)"
