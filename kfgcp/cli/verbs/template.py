"""List the templates of new projects."""

from __future__ import annotations

import click

from kfgcp.cli import options, output
from kfgcp.project_templates import find_template
from kfgcp.workspace import Workspace


@click.group(epilog="Example: kfgcp template list")
def command() -> None:
    """List the templates of new projects."""


@command.command("list", epilog="Example: kfgcp template list")
@options.as_json
def list_(as_json: bool) -> None:
    """List all templates."""
    templates = Workspace.templates()
    if as_json:
        output.print_json([{"name": one.name, "summary": one.summary} for one in templates])
        return
    rows = [(one.name, one.summary) for one in templates]
    output.print_table(output.table(("TEMPLATE", "WHAT IT DOES"), rows))
    output.hint(f"kfgcp init my-project --template {templates[0].name}")


@command.command(epilog="Example: kfgcp template show train-gate-register")
@click.argument("name")
def show(name: str) -> None:
    """Show the files of a template and its README."""
    template = find_template(name)
    click.echo(f"{template.name}: {template.summary}\n")
    for file in template.files:
        click.echo(file)
    click.echo()
    click.echo(template.readme.replace("{project}", template.name))
    output.hint(f"kfgcp init {template.name} --template {template.name}")
