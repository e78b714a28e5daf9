"""Add a version of a pipeline to a registry."""

from __future__ import annotations

import shlex

import click

from kfgcp.cli import options, output
from kfgcp.deploy.versions.push import UPLOADED, Pushed
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp push pipelines/churn.py --env dev --tag v1.4.0")
@click.argument("pipeline")
@click.option("--env", metavar="NAME", help="The environment. Default: the default environment.")
@click.option(
    "--tag",
    "tags",
    multiple=True,
    metavar="TAG",
    help="Let TAG point to the version; may be given several times.",
)
@options.as_json
@options.workspace
def command(
    workspace: Workspace, pipeline: str, env: str | None, tags: tuple[str, ...], as_json: bool
) -> None:
    """Add a version of a pipeline to a registry.

    PIPELINE is the name of a pipeline in kfgcp.toml, file.py, file.py:function, or a compiled .yaml
    or .json. The name in the registry is that of the pipeline itself.

    The registry is that of the environment: a repository of Artifact Registry, the server of
    Kubeflow Pipelines, or a folder. When it has the version already, nothing is written.

    A tag is a name of a version, such as `stable`. It moves when another version gets it. Tags that
    begin with v and a digit, such as v1.4.0, never move.
    """
    pushed = workspace.push(pipeline, env, tags)
    for note in pushed.notes:
        output.note(note)
    if as_json:
        output.print_json(pushed.to_dict())
        return
    _print(pushed)


def _print(pushed: Pushed) -> None:
    click.echo(output.plain(f"{pushed.pipeline}  {pushed.version}"))
    action = "added to" if pushed.action == UPLOADED else "already in"
    click.echo(output.plain(f"{action} {pushed.registry}"))
    if pushed.new_tags:
        click.echo(output.plain(f"tags set: {', '.join(pushed.new_tags)}"))
    value = pushed.new_tags[0] if pushed.new_tags else pushed.version[: len("sha256:") + 12]
    name = shlex.quote(f"{pushed.pipeline}@{value}")
    params = "".join(f" -p {param}=VALUE" for param in pushed.required_params)
    output.hint(f"kfgcp run {name} --env {shlex.quote(pushed.env)}{params}")
