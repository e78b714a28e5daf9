"""Compile and validate a pipeline."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from kfgcp.cli import options, output
from kfgcp.model import JsonValue
from kfgcp.spec.load import Spec
from kfgcp.spec.params import ANNOTATION_BY_TYPE
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp compile examples/train_classifier.py -o train.yaml")
@click.argument("pipeline")
@click.option(
    "-o",
    "--output",
    "output_file",
    type=click.Path(path_type=Path),
    help="Write the compiled pipeline to this .yaml or .json file.",
)
@click.option("--env", metavar="NAME", help="The environment whose registry has NAME@TAG.")
@options.as_json
@options.workspace
def command(
    workspace: Workspace, pipeline: str, output_file: Path | None, env: str | None, as_json: bool
) -> None:
    """Compile and validate a pipeline.

    PIPELINE is the name of a pipeline in kfgcp.toml, file.py, file.py:function, a compiled .yaml or
    .json, or a version in a registry (NAME@TAG). Prints the name, the version and the parameters of
    the pipeline.
    """
    spec = workspace.compile(pipeline, output_file, env)
    if as_json:
        output.print_json(_to_json(spec, output_file))
        return
    click.echo(f"{output.plain(spec.name)}  {spec.version}")
    if spec.params:
        _print_params(spec)
    if output_file:
        click.echo(f"written to {output_file}", err=True)
        return
    quoted = shlex.quote(pipeline)
    target = shlex.quote(Path(pipeline.partition(":")[0]).stem)
    output.hint(f"kfgcp run {quoted}   kfgcp compile {quoted} -o {target}.yaml")


def _to_json(spec: Spec, output_file: Path | None) -> JsonValue:
    params: list[JsonValue] = []
    for param in spec.params.values():
        default = param.default if param.has_default else None
        params.append(
            {
                "name": param.name,
                "type": param.type,
                "optional": param.optional,
                "default": default,
                "description": param.description,
            }
        )
    return {
        "pipeline": spec.name,
        "version": spec.version,
        "output": str(output_file) if output_file else None,
        "params": params,
    }


def _print_params(spec: Spec) -> None:
    rows = []
    for param in spec.params.values():
        if param.has_default:
            default = output.value_text(param.default)
        elif param.optional:
            default = "(none)"
        else:
            default = "(required)"
        annotation = ANNOTATION_BY_TYPE.get(param.type, param.type)
        rows.append((param.name, annotation, default, param.description))
    output.print_table(output.table(("PARAMETER", "TYPE", "DEFAULT", "DESCRIPTION"), rows))
