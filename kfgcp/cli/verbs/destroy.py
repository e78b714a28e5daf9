"""Delete the schedules of this project in an environment."""

from __future__ import annotations

import click

from kfgcp.cli import options, output
from kfgcp.cli.verbs.apply import print_result, print_step
from kfgcp.cli.verbs.plan import note_default, print_plan
from kfgcp.errors import UsageError
from kfgcp.workspace import Workspace


@click.command(epilog="Example: kfgcp destroy --env dev --yes")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--env", metavar="NAME", help="The environment. Default: the default environment.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@options.as_json
@options.workspace
def command(
    workspace: Workspace, names: tuple[str, ...], env: str | None, yes: bool, as_json: bool
) -> None:
    """Delete the schedules of this project in an environment.

    NAME is a schedule. Without names, all schedules with the marker of this project are deleted,
    and the tags use-… of their versions. Versions and runs stay. The next `kfgcp apply`
    creates the schedules of kfgcp.toml again.
    """
    note_default(workspace.project, env)
    if as_json and not yes:
        raise UsageError("With --json, kfgcp cannot ask before it deletes.", hint="Add --yes.")
    plan = workspace.plan_to_destroy(*names, env=env)
    nothing = f"{plan.env} has no schedules of this project."
    if yes:
        output.print_notes(plan.notes)
        print_result(plan.apply(print_step), as_json, without_changes=nothing)
        return
    if not plan.changes:
        output.print_notes(plan.notes)
        click.echo(output.plain(nothing))
        return
    print_plan(plan)
    if not output.confirm(f"Delete them from {plan.env}?"):
        output.note("Nothing was deleted.")
        return
    print_result(plan.apply(print_step), as_json)
