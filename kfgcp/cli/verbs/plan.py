"""Show what apply would change in an environment."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from kfgcp.cli import options, output
from kfgcp.config import Project
from kfgcp.deploy.plan.changes import PlanAction
from kfgcp.deploy.plan.commands import apply_command
from kfgcp.deploy.plan.plan import Plan
from kfgcp.deploy.plan.plan_file import write_plan
from kfgcp.errors import CheckFailed
from kfgcp.workspace import Workspace

COLORS: Final = {
    PlanAction.CREATE: "green",
    PlanAction.UPDATE: "yellow",
    PlanAction.DELETE: "red",
    PlanAction.DRIFT: "magenta",
}


@click.command(epilog="Example: kfgcp plan --env dev")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--env", metavar="NAME", help="The environment. Default: the default environment.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the plan to FILE, for `kfgcp apply FILE`.",
)
@click.option("--exit-code", "exit_code", is_flag=True, help="Exit with 4 when there are changes.")
@options.as_json
@options.workspace
def command(
    workspace: Workspace,
    names: tuple[str, ...],
    env: str | None,
    out: Path | None,
    exit_code: bool,
    as_json: bool,
) -> int:
    """Show what apply would change in an environment.

    NAME is a pipeline or a schedule of kfgcp.toml. Without names, the plan is about the pipelines
    whose key `envs` names the environment, the schedules of the environment, and the pipelines that
    these schedules run.

    The signs: + is created, ~ is updated, - is deleted, and ! was changed by hand and is set back.
    Objects that kfgcp did not make are never changed.
    """
    note_default(workspace.project, env)
    plan = workspace.plan(*names, env=env)
    if out is not None:
        write_plan(plan, out)
    if as_json:
        output.print_json(plan.to_dict())
    else:
        print_plan(plan)
        if plan.changes:
            output.hint(apply_command(plan.env, plan.names, out))
    if plan.changes and exit_code:
        return CheckFailed.exit_code
    return 0


def note_default(project: Project, env: str | None) -> None:
    """Say which environment a command is about when the user names none."""
    others = sorted(project.environments.keys() - {project.default_env})
    if env is not None or not others:
        return
    output.note(
        f"Without --env, the environment is {project.default_env}: {project.default_env_origin}."
        f" Others: {', '.join(others)}."
    )


def print_plan(plan: Plan) -> None:
    """Print the changes of a plan, and how many there are."""
    output.print_notes(plan.notes)
    for change in plan.changes:
        title = click.style(output.plain(change.title), fg=COLORS[change.action])
        click.echo(title, color=output.color())
        for line in change.lines:
            click.echo(output.plain(f"    {line}"))
    click.echo(output.plain(plan.summary))
