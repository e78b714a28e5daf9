"""Show a run: its tasks, metrics, artifacts and error."""

from __future__ import annotations

import os
from collections.abc import Collection

import click

from kfgcp import file_uris
from kfgcp.cli import options, output
from kfgcp.cli.results import print_results
from kfgcp.model import Artifact, JsonValue, Run, RunState
from kfgcp.tracking.handle import RunHandle
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp show a1b2")
@options.run_argument
@options.as_json
@options.workspace
def command(workspace: Workspace, run: str, as_json: bool) -> None:
    """Show a run: its tasks, metrics, artifacts and error.

    RUN is an id, the beginning of an id, a name, or `latest` (the default).
    """
    handle = workspace.show(run)
    deleted_uris = workspace.deleted_artifacts(handle)
    if as_json:
        output.print_json(_to_json(handle, deleted_uris))
        return
    snapshot = handle.snapshot
    _print_facts(snapshot)
    _print_params(snapshot)
    _print_translation(handle)
    _print_tasks(snapshot)
    print_results(snapshot)
    _print_artifacts(snapshot, deleted_uris)
    if snapshot.state is not RunState.SUCCEEDED:
        output.print_failure(snapshot)


def _to_json(handle: RunHandle, deleted_uris: Collection[str]) -> dict[str, JsonValue]:
    """Return the run as JSON. An artifact whose file was deleted has `deleted: true`.

    `translation` is there only when something was translated.
    """
    run = handle.to_dict()
    artifacts: list[JsonValue] = []
    for artifact in handle.snapshot.artifacts:
        artifact_json = artifact.to_dict()
        if artifact.uri in deleted_uris:
            artifact_json["deleted"] = True
        artifacts.append(artifact_json)
    run["artifacts"] = artifacts
    if handle.translation:
        run["translation"] = [dict(change) for change in handle.translation]
    return run


def _print_facts(run: Run) -> None:
    rows: list[tuple[str, str | RunState]] = [
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
        labels = " ".join(f"{name}={value}" for name, value in run.labels.items())
        rows.append(("labels", labels))
    if run.tags:
        rows.append(("tags", " ".join(run.tags)))
    if run.note:
        rows.append(("note", run.note))
    table = output.table(("", ""), rows)
    table.show_header = False
    output.print_table(table)
    if run.url:
        # Not in the table, which would fold the address. It is often copied or clicked.
        click.echo(f"{'console':13}{output.plain(run.url)}")


def _print_params(run: Run) -> None:
    rows = [(name, output.value_text(value)) for name, value in run.params.items()]
    output.print_section(("PARAMETER", "VALUE"), rows)


def _print_translation(handle: RunHandle) -> None:
    """Print the GPUs and secrets that were translated for the backend of the run."""
    rows = []
    for change in handle.translation:
        component, variable = str(change["component"]), change["variable"]
        owner = f"{variable} of {component}" if variable else component
        rows.append((owner, str(change["before"]), str(change["after"])))
    output.print_section(("TRANSLATED", "FROM", "TO"), rows)


def _print_tasks(run: Run) -> None:
    rows = [
        (task.path, task.state, output.seconds(task.seconds), str(task.attempts or ""))
        for task in run.tasks
    ]
    output.print_section(("TASK", "STATE", "TOOK", "ATTEMPTS"), rows, right=(2, 3))


def _print_artifacts(run: Run, deleted_uris: Collection[str]) -> None:
    """Print one line for each artifact. Lines are never folded, so that addresses can be copied."""
    if not run.artifacts:
        return
    rows = [("ARTIFACT", "TYPE", "URI")]
    for artifact in run.artifacts:
        name = f"{artifact.task}/{artifact.name}"
        rows.append((name, artifact.type, _format_place(artifact, deleted_uris)))
    name_width = max(len(name) for name, _, _ in rows)
    type_width = max(len(artifact_type) for _, artifact_type, _ in rows)
    click.echo()
    for number, (name, artifact_type, place) in enumerate(rows):
        name_cell = output.plain(name).ljust(name_width)
        type_cell = output.plain(artifact_type).ljust(type_width)
        line = f"{name_cell}  {type_cell}  {output.plain(place)}"
        is_header = number == 0
        click.echo(click.style(line, bold=True) if is_header else line, color=output.color())


def _format_place(artifact: Artifact, deleted_uris: Collection[str]) -> str:
    """Return the URI of an artifact, or a word that says why it has no file."""
    uri = artifact.uri
    if uri in deleted_uris:
        return "deleted"
    is_missing_file = file_uris.is_file_uri(uri) and not os.path.exists(file_uris.to_path(uri))
    if uri and not is_missing_file:
        return uri
    # Metrics and similar artifacts have their values in the metadata, and need no file.
    return "metadata-only" if artifact.metadata else "no-file"
