"""The command `kfgcp`: finds the verb's module on first use, and turns errors into a line, a hint
and an exit code."""

from __future__ import annotations

import io
import os
import sys
import threading
import warnings
from typing import Any, Final

import click

from kfgcp.cli import streams
from kfgcp.cli.verbs import load_command, read_summary, verb_names
from kfgcp.errors import KfgcpError, ParamError, SpecError

INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141
_LONG_HINT: Final = 10
"""Below a hint of more lines the error is printed, not above it."""
_PYTHONS: Final = warnings.showwarning


class LazyGroup(click.Group):
    """The group of all verbs, which imports the module of a verb when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all verbs, in the order of the help."""
        return list(verb_names())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command of a verb, or None when there is no such verb."""
        if name not in verb_names():
            return None
        return load_command(name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name, or suggest one in the error."""
        if args and args[0] not in verb_names():
            from difflib import get_close_matches

            close = get_close_matches(args[0], verb_names(), n=1)
            suggestion = f" Did you mean '{close[0]}'?" if close else ""
            ctx.fail(f"No such command '{args[0]}'.{suggestion}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs without importing them, which click would do."""
        rows = [(verb, read_summary(verb)) for verb in verb_names()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Example: kfgcp run examples/train_classifier.py -p model=random_forest",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda context, option, value: _print_version(context, value),
    help="Show the versions of kfgcp, Python and kfp.",
)
def cli() -> None:
    """One Kubeflow pipeline, unchanged, on your laptop, Vertex AI or your own Kubeflow; every run
    in one table."""


def _print_version(context: click.Context, value: bool) -> None:
    if not value or context.resilient_parsing:
        return
    # Only here: reading metadata of distributions takes time.
    from kfgcp.installation import describe_versions

    click.echo(describe_versions())
    context.exit()


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits with its code."""
    streams.prepare()
    threading.excepthook = _show_failed_thread
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(_exit_code(arguments))


def _exit_code(arguments: list[str] | None) -> int:
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(arguments)


def _show_warning(
    message: Warning | str, category: type[Warning], *where: Any, **more: Any
) -> None:
    """Our warnings are notes; those of others are printed as Python does."""
    if category.__module__.partition(".")[0] == "kfgcp":
        from kfgcp.cli.output import note

        note(str(message))
    else:
        _PYTHONS(message, category, *where, **more)


def _run(arguments: list[str] | None) -> int:
    try:
        result = cli.main(arguments, prog_name="kfgcp", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except KfgcpError as error:
        _print_error(error)
        return error.exit_code
    except click.exceptions.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # click exits when the reader of a pipe has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception as error:
        if os.environ.get("KFGCP_DEBUG"):
            raise
        from kfgcp.machine import machine_error

        if (problem := machine_error(error)) is not None:
            _print_error(problem)
            return problem.exit_code
        name = type(error).__name__
        _print_error(
            KfgcpError(
                f"kfgcp failed inside: {name}: {error}",
                hint="This is a bug. KFGCP_DEBUG=1 shows the traceback; please report it.",
            )
        )
        return 1


def _show_failed_thread(failure: threading.ExceptHookArgs) -> None:
    """Show in one line that a thread failed. The command continues and has its own result."""
    error = failure.exc_value
    if error is None or isinstance(error, (BrokenPipeError, SystemExit)):
        return
    if os.environ.get("KFGCP_DEBUG"):
        threading.__excepthook__(failure)
        return
    from kfgcp.cli.output import note
    from kfgcp.machine import machine_error

    problem = machine_error(error)
    name = failure.thread.name if failure.thread is not None else "a thread"
    note(f"{name} failed: {problem.message if problem else f'{type(error).__name__}: {error}'}")


def _print_error(error: KfgcpError) -> None:
    from kfgcp.cli.output import color, plain, print_hint

    if isinstance(error, SpecError) and error.user_traceback:
        click.echo(error.user_traceback.rstrip("\n"), err=True)
    line = f"{click.style('error:', fg='red', bold=True)} {plain(error.message)}"
    if _is_list(error):
        print_hint(error.hint)
        click.echo(line, err=True, color=color())
    else:
        click.echo(line, err=True, color=color())
        print_hint(error.hint)


def _is_list(error: KfgcpError) -> bool:
    """Return whether the hint lists so much that the error above it would scroll away."""
    lines = error.hint.count("\n") + 1
    return lines > _LONG_HINT or (isinstance(error, ParamError) and lines > 1)
