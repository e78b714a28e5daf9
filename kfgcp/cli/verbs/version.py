"""List, show, compare, tag and download versions of pipelines in registries."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from kfgcp.backends.versions import RegisteredVersion, short_version
from kfgcp.cli import options, output
from kfgcp.cli.verbs.diff import print_diff
from kfgcp.errors import CheckFailed
from kfgcp.workspace import Workspace

_env = click.option(
    "--env", metavar="NAME", help="The environment. Default: the default environment."
)
_name = click.argument("name", metavar="NAME@TAG")

# `2026-01-31T08:00:00`, without milliseconds.
_TIME_LENGTH = 19


@click.group(epilog="Example: kfgcp version list churn --env dev")
def command() -> None:
    """List, show, compare, tag and download versions of pipelines in registries.

    A version in a registry has the name NAME@TAG, NAME@latest (the newest one), or NAME@sha256:
    and at least 8 digits. `kfgcp push` adds versions. `kfgcp run NAME@TAG` runs one.
    """


@command.command(
    "list",
    short_help="List the versions of a pipeline.",
    epilog="Example: kfgcp version list churn --env dev",
)
@click.argument("pipeline", required=False)
@_env
@options.as_json
@options.workspace
def list_(workspace: Workspace, pipeline: str | None, env: str | None, as_json: bool) -> None:
    """List the versions of PIPELINE, the newest first; without PIPELINE, those of all pipelines.

    (foreign) is a version that kfgcp did not push.
    """
    entries = workspace.versions.list(pipeline, env)
    if as_json:
        output.print_json([entry.to_dict() for entry in entries])
        return
    if not entries:
        note = "the registry is empty"
        if pipeline:
            note = f"the registry has no version of a pipeline {pipeline}"
        output.note(note)
        output.hint("kfgcp push PIPELINE" + (f" --env {shlex.quote(env)}" if env else ""))
        return
    _print_entries(entries)


def _print_entries(entries: Sequence[RegisteredVersion]) -> None:
    rows = []
    for entry in entries:
        created = entry.created_at[:_TIME_LENGTH] + "Z" if entry.created_at else ""
        rows.append((entry.pipeline, short_version(entry), created, " ".join(entry.tags)))
    headers = ("PIPELINE", "VERSION", "CREATED", "TAGS")
    output.print_table(output.table(headers, rows, short=(0, 3)))


@command.command(short_help="Show a version.", epilog="Example: kfgcp version show churn@v1.4.0")
@_name
@_env
@options.as_json
@options.workspace
def show(workspace: Workspace, name: str, env: str | None, as_json: bool) -> None:
    """Show a version: its digest, its tags and its address."""
    entry = workspace.versions.get(name, env)
    if as_json:
        output.print_json(entry.to_dict())
        return
    _print_entry(entry)


def _print_entry(entry: RegisteredVersion) -> None:
    rows = [
        ("pipeline", entry.pipeline),
        ("version", entry.version or short_version(entry)),
        ("tags", " ".join(entry.tags)),
        ("created", entry.created_at),
        ("project", entry.project),
        ("ref", entry.ref),
        ("address", entry.address),
    ]
    # Not a table, which would fold addresses and digests. They are often copied.
    for label, value in rows:
        if value:
            click.echo(output.plain(f"{label:10}{value}"))


@command.command(
    short_help="Show what differs between two versions.",
    epilog="Example: kfgcp version diff churn@v1.4.0 churn@latest",
)
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@_env
@click.option("--exit-code", "exit_code", is_flag=True, help="Exit with 4 when A and B differ.")
@options.as_json
@options.workspace
def diff(
    workspace: Workspace, before: str, after: str, env: str | None, exit_code: bool, as_json: bool
) -> int:
    """Show what differs between two versions, task by task.

    A or B can also be a file, the name of a pipeline in kfgcp.toml, or a run.
    """
    difference = workspace.versions.diff(before, after, env)
    if as_json:
        output.print_json(difference.to_dict())
    else:
        print_diff(difference)
    if difference.changes and exit_code:
        return CheckFailed.exit_code
    return 0


@command.command(
    short_help="Let a tag point to a version.",
    epilog="Example: kfgcp version tag churn@v1.4.0 stable",
)
@_name
@click.argument("tag")
@_env
@click.option("--remove", is_flag=True, help="Remove the tag from the version.")
@options.as_json
@options.workspace
def tag(
    workspace: Workspace, name: str, tag: str, env: str | None, remove: bool, as_json: bool
) -> None:
    """Let TAG point to a version.

    When TAG points to another version, it moves. Tags that begin with v and a digit, such as
    v1.4.0, never move.
    """
    entry = workspace.versions.tag(name, tag, env, remove=remove)
    if as_json:
        output.print_json(entry.to_dict())
        return
    _print_entries([entry])


@command.command(
    short_help="Write the text of a version to a file.",
    epilog="Example: kfgcp version download churn@v1.4.0 -o churn.yaml",
)
@_name
@_env
@click.option(
    "-o",
    "--output",
    "output_file",
    type=click.Path(path_type=Path),
    help="The file. Default: NAME-DIGITS.yaml in the current folder.",
)
@options.as_json
@options.workspace
def download(
    workspace: Workspace, name: str, env: str | None, output_file: Path | None, as_json: bool
) -> None:
    """Write the text of a version to a file, exactly as the registry has it."""
    file = workspace.versions.download(name, output_file, env)
    if as_json:
        output.print_json({"file": str(file)})
        return
    click.echo(output.plain(str(file)))
    output.hint(f"kfgcp run {shlex.quote(str(file))}")
