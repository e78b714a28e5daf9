"""Writes docs/reference/cli.md from the help of every verb. Run by `make reference`; a test
compares."""

from __future__ import annotations

from pathlib import Path

import click

from kfgcp.cli.main import cli
from kfgcp.cli.verbs import verb_names

WIDTH = 100
FILE = Path(__file__).with_name("cli.md")


def render() -> str:
    """The reference as Markdown."""
    top = click.Context(cli, info_name="kfgcp", terminal_width=WIDTH, **cli.context_settings)
    parts = [
        "# Command line",
        "Written by `make reference` from the help of each verb; change it there.\n"
        "The exit codes are in the [README](../../README.md#exit-codes).",
        _block(cli.get_help(top)),
    ]
    for verb in verb_names():
        command = cli.get_command(top, verb)
        assert command is not None
        context = click.Context(command, info_name=verb, parent=top, terminal_width=WIDTH)
        parts += _command(command, context)
    return "\n\n".join(parts) + "\n"


def _command(command: click.Command, context: click.Context) -> list[str]:
    """The part of a command, and those of the commands below it."""
    parts = [f"## {context.command_path}", _block(command.get_help(context))]
    for name, inner in command.commands.items() if isinstance(command, click.Group) else ():
        parts += _command(
            inner, click.Context(inner, info_name=name, parent=context, terminal_width=WIDTH)
        )
    return parts


def _block(text: str) -> str:
    return "\n".join(["```text", *(line.rstrip() for line in text.strip().splitlines()), "```"])


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
    print(f"written: {FILE}")
