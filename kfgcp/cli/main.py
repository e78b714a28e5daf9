"""The command `kfgcp`: runs a verb, and turns errors into a line, a hint and an exit code."""

from __future__ import annotations

import io
import os
import sys
import threading
import warnings
from typing import Final, TextIO

import click

from kfgcp.cli import streams
from kfgcp.cli.verbs import load_command, read_summary, verb_names
from kfgcp.errors import KfgcpError, SpecError

# The exit codes of a shell for a program that SIGINT or SIGPIPE ended: 128 and the number of the
# signal.
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141

# An error is printed above its hint when the hint has at most this many lines. With more lines, the
# error would scroll out of a small terminal, so it is printed below.
_MAX_HINT_LINES: Final = 10

_show_warning_of_python: Final = warnings.showwarning


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
        """Return the command that the arguments name.

        The error for an unknown name suggests a similar name.
        """
        if args and args[0] not in verb_names():
            from difflib import get_close_matches

            close = get_close_matches(args[0], verb_names(), n=1)
            suggestion = f" Did you mean '{close[0]}'?" if close else ""
            ctx.fail(f"No such command '{args[0]}'.{suggestion}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs. Unlike the method of click, do not import their modules."""
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
    """Run Kubeflow pipelines unchanged on your machine, Vertex AI or your own Kubeflow.

    All runs are in one table, where you can compare them.
    """


def _print_version(context: click.Context, is_requested: bool) -> None:
    if not is_requested or context.resilient_parsing:
        return
    # Imported only here: it reads the metadata of installed packages, which takes time.
    from kfgcp.installation import describe_versions

    click.echo(describe_versions())
    context.exit()


def main(arguments: list[str] | None = None) -> None:
    """Run the command line, and exit with its code.

    Args:
        arguments: the arguments after the name of the program. None takes those of the process.
    """
    streams.prepare()
    threading.excepthook = _show_failed_thread
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(_exit_code(arguments))


def _exit_code(arguments: list[str] | None) -> int:
    """Run a command, show warnings with `_show_warning`, and return the exit code."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        return _run(arguments)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show a warning of kfgcp as a note, and any other warning as Python does."""
    if category.__module__.partition(".")[0] == "kfgcp":
        from kfgcp.cli.output import note

        note(str(message))
    else:
        _show_warning_of_python(message, category, filename, lineno, file, line)


def _run(arguments: list[str] | None) -> int:
    """Run a command, print the error that ends it, and return the exit code."""
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
    except (BrokenPipeError, SystemExit):
        # click calls sys.exit when the program that reads our output has ended. When Python exits,
        # it writes the rest of its buffer to stdout, which would fail. So stdout becomes /dev/null.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except Exception as error:
        if os.environ.get("KFGCP_DEBUG"):
            raise
        return _report_unexpected(error)


def _report_unexpected(error: Exception) -> int:
    """Print an error that is not a KfgcpError, and return the exit code."""
    from kfgcp.machine import machine_error

    problem = machine_error(error)
    if problem is None:
        problem = KfgcpError(
            f"kfgcp has an internal error: {type(error).__name__}: {error}",
            hint="This is a bug: please report it. To see the traceback, set KFGCP_DEBUG=1.",
        )
    _print_error(problem)
    return problem.exit_code


def _show_failed_thread(failure: threading.ExceptHookArgs) -> None:
    """Show in one line that a thread failed. The command continues; its exit code is the same."""
    error = failure.exc_value
    if error is None or isinstance(error, (BrokenPipeError, SystemExit)):
        return
    if os.environ.get("KFGCP_DEBUG"):
        threading.__excepthook__(failure)
        return
    from kfgcp.cli.output import note
    from kfgcp.machine import machine_error

    problem = machine_error(error)
    reason = f"{type(error).__name__}: {error}" if problem is None else problem.message
    thread = "a thread" if failure.thread is None else failure.thread.name
    note(f"{thread} failed: {reason}")


def _print_error(error: KfgcpError) -> None:
    from kfgcp.cli.output import color, plain, print_hint

    if isinstance(error, SpecError) and error.user_traceback:
        click.echo(error.user_traceback.rstrip("\n"), err=True)
    label = click.style("error:", fg="red", bold=True)
    line = f"{label} {plain(error.message)}"
    if _has_long_hint(error):
        print_hint(error.hint)
        click.echo(line, err=True, color=color())
    else:
        click.echo(line, err=True, color=color())
        print_hint(error.hint)


def _has_long_hint(error: KfgcpError) -> bool:
    """Return whether the hint is so long that an error above it would scroll away."""
    # The hint of a ParamError can be the table of all parameters.
    return error.hint.count("\n") + 1 > _MAX_HINT_LINES
