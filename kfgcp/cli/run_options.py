"""The options of `run` and `rerun`: those made from the fields of `RunOptions`, and
`--params-file`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from kfgcp.options import OptionField, OptionType, option_fields
from kfgcp.tracking.choose import parse_labels

if TYPE_CHECKING:
    from kfgcp.option_keywords import OptionKeywords

params_file = click.option(
    "--params-file", type=click.Path(path_type=Path), help="YAML or JSON with values; -p wins."
)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command `run` the options of a run. Its argument `changes` has those that are
    given."""
    return _take_options(command, {field.name: field.option.help for field in option_fields()})


def rerun_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command `rerun` the options of a run, as in `run_options`, with its own help."""
    helps = {field.name: field.option.rerun_help or field.option.help for field in option_fields()}
    return _take_options(command, helps)


def _take_options(command: Callable[..., Any], helps: dict[str, str]) -> Callable[..., Any]:
    @functools.wraps(command)
    def call(*args: Any, **values: Any) -> Any:
        changes: dict[str, Any] = {}
        for field in option_fields():
            value = _read(field, values.pop(field.name))
            if value is not None:
                changes[field.name] = value
        return command(*args, **values, changes=cast("OptionKeywords", changes))

    decorated: Callable[..., Any] = call
    # click shows the options in the reverse order of the decorators.
    for field in reversed(option_fields()):
        decorated = _click_option(field, helps[field.name])(decorated)
    return decorated


def _click_option(
    field: OptionField, help_text: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option of the command line. It has no default, so None says that it is not
    given."""
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


def _read(field: OptionField, value: Any) -> Any:
    """Return the value of an option from that of the command line, None when it is not given."""
    if field.type is OptionType.PAIRS:
        return parse_labels(value, field.flag) if value else None
    return value
