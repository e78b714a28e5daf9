"""Show a run: its tasks, metrics, artifacts and error."""

from __future__ import annotations

import os
from typing import Any

import click

from kfgcp import file_uris
from kfgcp.cli import options, output
from kfgcp.model import Artifact, Run, RunState
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp show a1b2")
@options.run_argument
@options.as_json
@options.workspace
def command(workspace: Workspace, run: str, as_json: bool) -> None:
    """Show a run: its tasks, metrics, artifacts and error.

    RUN is an id, the beginning of one, a name, or `latest` (the default).
    """
    handle = workspace.show(run)
    deleted = workspace.deleted_artifacts(handle)
    if as_json:
        output.print_json(_marked(handle.to_dict(), deleted))
        return
    found = handle.snapshot
    _print_facts(found)
    _print_section(
        ("PARAMETER", "VALUE"),
        [(name, output.value_text(value)) for name, value in found.params.items()],
    )
    _print_section(
        ("TASK", "STATE", "TOOK", "ATTEMPTS"),
        [
            (task.path, task.state, output.seconds(task.seconds), str(task.attempts or ""))
            for task in found.tasks
        ],
        right=[2, 3],
    )
    print_results(found)
    _print_artifacts(found, deleted)
    if found.state is not RunState.SUCCEEDED:
        output.print_failure(found)


def _marked(run: dict[str, Any], deleted: set[str]) -> dict[str, Any]:
    """The run JSON, with `deleted: true` on each artifact whose file was deleted."""
    for artifact in run["artifacts"]:
        if artifact["uri"] in deleted:
            artifact["deleted"] = True
    return run


def _print_artifacts(run: Run, deleted: set[str]) -> None:
    """A line each, never folded: an address that is copied from a terminal must be whole."""
    rows = [
        ("ARTIFACT", "TYPE", "URI"),
        *(_artifact(artifact, deleted) for artifact in run.artifacts),
    ]
    if len(rows) == 1:
        return
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    click.echo()
    for number, (name, kind, uri) in enumerate(rows):
        line = (
            f"{output.plain(name).ljust(widths[0])}  {output.plain(kind).ljust(widths[1])} "
            f" {output.plain(uri)}"
        )
        click.echo(line if number else click.style(line, bold=True), color=output.color())


def _artifact(artifact: Artifact, deleted: set[str]) -> tuple[str, str, str]:
    """Name, type and place; metrics and their like live in the metadata, and no file need be at
    their URI."""
    uri = artifact.uri
    if uri in deleted:
        uri = "deleted"
    elif not uri or (file_uris.is_file_uri(uri) and not os.path.exists(file_uris.to_path(uri))):
        uri = "metadata-only" if artifact.metadata else "no-file"
    return f"{artifact.task}/{artifact.name}", artifact.type, uri


def print_results(run: Run) -> None:
    """The run's metrics and outputs on stdout, each section only when there is something in it."""
    _print_section(
        ("METRIC", "VALUE"),
        [(metric.key, output.number(metric.value)) for metric in run.metrics],
        right=[1],
    )
    _print_section(
        ("OUTPUT", "VALUE"), [(name, output.value_text(v, 200)) for name, v in run.outputs.items()]
    )


def _print_facts(run: Run) -> None:
    rows: list[tuple[str, Any]] = [
        ("run", run.run_id),
        ("state", run.state),
        ("name", run.name),
        ("pipeline", run.pipeline),
        ("version", run.version),
        ("experiment", run.experiment),
        ("environment", f"{run.env} ({run.backend})"),
        ("created", run.created_at or ""),
        ("took", output.seconds(run.seconds)),
    ]
    if run.labels:
        rows.append(("labels", " ".join(f"{name}={value}" for name, value in run.labels.items())))
    if run.tags:
        rows.append(("tags", " ".join(run.tags)))
    if run.note:
        rows.append(("note", run.note))
    made = output.table(("", ""), rows)
    made.show_header = False
    output.print_table(made)
    if run.url:
        click.echo(
            f"{'console':13}{output.plain(run.url)}"
        )  # outside of the table, which would break it in two


def _print_section(
    headers: tuple[str, ...], rows: list[tuple[Any, ...]], right: list[int] | None = None
) -> None:
    if rows:
        click.echo()
        output.print_table(output.table(headers, rows, right=right or ()))
