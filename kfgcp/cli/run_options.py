"""The options of `run` and `rerun`.

Most are made from the fields of `RunOptions`, so that an option is declared once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from kfgcp.options import OptionField, OptionType, option_fields
from kfgcp.spec import params as spec_params
from kfgcp.spec.records import ParamSpec
from kfgcp.tracking.choose import parse_labels

if TYPE_CHECKING:
    from kfgcp.option_keywords import OptionKeywords

R = TypeVar("R")

params_file = click.option(
    "--params-file",
    type=click.Path(path_type=Path),
    help="YAML or JSON with parameters; -p overrides the file.",
)


def read_params(
    declared: Mapping[str, ParamSpec],
    params_file: Path | None,
    assignments: Sequence[str],
) -> dict[str, Any]:
    """Return the values of `--params-file` and `-p`. Those of `-p` win.

    Args:
        declared: the parameters of the pipeline, which say how values are read.
        params_file: the file, None when the option is not given.
        assignments: the texts `NAME=VALUE` of `-p`.

    Raises:
        ParamError: the file cannot be read, or a parameter is unknown or of the wrong type.
    """
    values: dict[str, Any] = {}
    if params_file is not None:
        values = spec_params.read_file(params_file)
    return values | spec_params.parse_assignments(declared, assignments)


def run_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give the command `run` the options of a run. Its argument `changes` gets the given ones."""
    helps = {field.name: field.option.help for field in option_fields()}
    return _add_options(command, helps)


def rerun_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give the command `rerun` the options of a run, as in `run_options`, with its own help."""
    helps = {field.name: field.option.rerun_help or field.option.help for field in option_fields()}
    return _add_options(command, helps)


def _add_options(command: Callable[..., R], helps: Mapping[str, str]) -> Callable[..., R]:
    @functools.wraps(command)
    def call(*args: Any, **values: Any) -> R:
        changes: dict[str, object] = {}
        for field in option_fields():
            value = _read_value(field, values.pop(field.name))
            if value is not None:
                changes[field.name] = value
        return command(*args, **values, changes=cast("OptionKeywords", changes))

    decorated: Callable[..., R] = call
    # click shows the options in the reverse order of the decorators.
    for field in reversed(option_fields()):
        decorated = _click_option(field, helps[field.name])(decorated)
    return decorated


def _click_option(
    field: OptionField, help_text: str
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Return the option of the command line. Its default is None: the option is not given."""
    if field.option.local_only:
        help_text = f"{help_text} Local runs only."
    settings: dict[str, Any] = {"default": None, "metavar": field.option.metavar, "help": help_text}
    declaration = field.flag
    match field.type:
        case OptionType.FLAG:
            settings["is_flag"] = True
        case OptionType.SWITCH:
            declaration = f"{field.flag}/--no-{field.flag.removeprefix('--')}"
        case OptionType.NUMBER:
            settings["type"] = click.IntRange(min=field.option.minimum)
        case OptionType.CHOICE:
            settings["type"] = click.Choice(field.choices)
        case OptionType.PAIRS:
            settings["multiple"] = True
        case OptionType.TEXT:
            settings["type"] = str
    return click.option(declaration, field.name, **settings)


def _read_value(field: OptionField, value: Any) -> object:
    """Return the value of an option from that of the command line, None when it is not given."""
    if field.type is not OptionType.PAIRS:
        return value
    # An option that may be given several times is an empty tuple when it is not given.
    return parse_labels(value, field.flag) if value else None
