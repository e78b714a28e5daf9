"""Write docs/reference/cli.md from the help of every verb.

`make reference` runs it, and a test compares the result with the file.
"""

from __future__ import annotations

from pathlib import Path

import click

from kfgcp.cli.main import cli
from kfgcp.cli.verbs import verb_names

WIDTH = 100
FILE = Path(__file__).with_name("cli.md")


def render() -> str:
    """Return the reference as Markdown."""
    top = click.Context(cli, info_name="kfgcp", terminal_width=WIDTH, **cli.context_settings)
    parts = [
        "# Command line",
        "Written by `make reference` from the help of each verb; change it there.\n"
        "The exit codes are in the [README](../../README.md#exit-codes).",
        _code_block(cli.get_help(top)),
    ]
    for verb in verb_names():
        command = cli.get_command(top, verb)
        assert command is not None
        context = click.Context(command, info_name=verb, parent=top, terminal_width=WIDTH)
        parts += _sections(command, context)
    return "\n\n".join(parts) + "\n"


def _sections(command: click.Command, context: click.Context) -> list[str]:
    """Return the section of a command, and those of the commands below it."""
    parts = [f"## {context.command_path}", _code_block(command.get_help(context))]
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            child_context = click.Context(
                child, info_name=name, parent=context, terminal_width=WIDTH
            )
            parts += _sections(child, child_context)
    return parts


def _code_block(text: str) -> str:
    lines = [line.rstrip() for line in text.strip().splitlines()]
    return "\n".join(["```text", *lines, "```"])


if __name__ == "__main__":
    FILE.write_text(render(), encoding="utf-8")
    print(f"written: {FILE}")
