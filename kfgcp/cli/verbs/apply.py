"""Bring an environment to what kfgcp.toml declares."""

from __future__ import annotations

from pathlib import Path

import click

from kfgcp.cli import options, output
from kfgcp.cli.verbs.plan import note_default, print_plan
from kfgcp.deploy.plan.commands import apply_command, file_argument
from kfgcp.deploy.plan.plan import Applied, ApplyStep
from kfgcp.errors import UsageError
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp apply --env dev --yes")
@click.argument("names", nargs=-1, metavar="[FILE | NAME...]")
@click.option("--env", metavar="NAME", help="The environment. Default: the default environment.")
@click.option("--yes", is_flag=True, help="Apply without asking.")
@options.as_json
@options.workspace
def command(
    workspace: Workspace, names: tuple[str, ...], env: str | None, yes: bool, as_json: bool
) -> None:
    """Bring an environment to what kfgcp.toml declares.

    FILE is a plan that `kfgcp plan --out FILE` wrote. It is applied when neither the project nor
    the services have changed since, and without a question. Without FILE, a new plan is made, and
    shown before the question. With --yes, only the steps are shown. NAME is a pipeline or a
    schedule, as in `kfgcp plan`.

    Pipelines are pushed first. Then each schedule is created, updated or deleted. At any moment, at
    most one schedule of a name starts runs, and no due time is lost. When a change fails, the
    others are still made. Another apply continues.
    """
    file = _plan_file(workspace, names)
    if file is not None:
        if env is not None:
            raise UsageError(
                "A plan in a file already names its environment.",
                hint=f"Leave out --env: kfgcp apply {file_argument(file)}",
            )
        print_result(workspace.plan_of_file(file).apply(print_step), as_json)
        return
    note_default(workspace.project, env)
    if yes:
        print_result(workspace.apply(*names, env=env, notice=print_step), as_json)
        return
    if as_json:
        raise UsageError(
            "With --json, kfgcp cannot ask before it applies.",
            hint="Look at the plan first, then add --yes: kfgcp plan --json",
        )
    plan = workspace.plan(*names, env=env)
    print_plan(plan)
    if not plan.changes:
        return
    if not output.confirm(f"Apply to {plan.env}?"):
        output.note("Nothing was written.")
        return
    print_result(plan.apply(print_step), as_json)


def _plan_file(workspace: Workspace, names: tuple[str, ...]) -> Path | None:
    """Return the file with a plan, None when the arguments are names.

    Raises:
        UsageError: there is a file, and other arguments.
    """
    files = [Path(name) for name in names if _is_file(workspace, name)]
    if not files:
        return None
    if len(names) > 1:
        raise UsageError(
            f"{files[0]} is a file with a plan, which is applied as a whole.",
            hint=f"Leave out the other arguments: {apply_command('', [], files[0])}",
        )
    return files[0]


def _is_file(workspace: Workspace, name: str) -> bool:
    """Return whether an argument is a file, and not the name of a pipeline or schedule."""
    # The names of pipelines and schedules have no dot and no slash.
    if any(mark in name for mark in "./\\"):
        return True
    project = workspace.project
    is_declared = name in project.pipelines or name in project.schedules
    return Path(name).is_file() and not is_declared


def print_step(step: ApplyStep) -> None:
    """Print what was done, on stderr."""
    text = output.plain(f"{step.kind.value} {step.name}: {step.text}")
    click.echo(click.style(text, fg="red" if step.failed else None), err=True, color=output.color())


def print_result(applied: Applied, as_json: bool, *, without_changes: str = "") -> None:
    """Print how many changes were made, or everything as JSON.

    Args:
        applied: what was done.
        as_json: whether to print JSON.
        without_changes: what to print instead when nothing was changed.
    """
    if as_json:
        output.print_json(applied.to_dict())
        return
    count = len(applied.changes)
    if not count:
        text = without_changes or f"No changes: {applied.env} is as kfgcp.toml says."
        click.echo(output.plain(text))
        return
    noun = "change" if count == 1 else "changes"
    click.echo(output.plain(f"{count} {noun} in {applied.env}"))
