"""The options of `run` and `rerun`, made from the fields of `RunOptions`, and what both take beside them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from kfgcp.options import OptionField, OptionType, option_fields
from kfgcp.tracking.choose import labels_of

if TYPE_CHECKING:
    from kfgcp.option_keywords import OptionKeywords

params_file = click.option("--params-file", type=click.Path(path_type=Path), help="YAML or JSON with values; -p wins.")


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command `run` the options of a run. Its argument `changes` has those that are given."""
    return _take_options(command, {option.name: option.option.help for option in option_fields()})


def rerun_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command `rerun` the options of a run, as in `run_options`, with its own help."""
    helps = {option.name: option.option.rerun_help or option.option.help for option in option_fields()}
    return _take_options(command, helps)


def _take_options(command: Callable[..., Any], helps: dict[str, str]) -> Callable[..., Any]:
    @functools.wraps(command)
    def call(*args: Any, **values: Any) -> Any:
        changes: dict[str, Any] = {}
        for option in option_fields():
            value = _read(option, values.pop(option.name))
            if value is not None:
                changes[option.name] = value
        return command(*args, **values, changes=cast("OptionKeywords", changes))

    decorated: Callable[..., Any] = call
    # click shows the options in the reverse order of the decorators.
    for option in reversed(option_fields()):
        decorated = _click_option(option, helps[option.name])(decorated)
    return decorated


def _click_option(option: OptionField, help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the option of the command line. It has no default, so None says that it is not given."""
    if option.option.local_only:
        help_text = f"{help_text} Local runs only."
    settings: dict[str, Any] = {"default": None, "metavar": option.option.metavar, "help": help_text}
    declaration = option.flag
    match option.type:
        case OptionType.FLAG:
            settings["is_flag"] = True
        case OptionType.SWITCH:
            declaration = f"{option.flag}/--no-{option.flag.removeprefix('--')}"
        case OptionType.NUMBER:
            settings["type"] = click.IntRange(min=option.option.minimum)
        case OptionType.CHOICE:
            settings["type"] = click.Choice(option.choices)
        case OptionType.PAIRS:
            settings["multiple"] = True
        case OptionType.TEXT:
            settings["type"] = str
    return click.option(declaration, option.name, **settings)


def _read(option: OptionField, value: Any) -> Any:
    """Return the value of an option from that of the command line, None when it is not given."""
    if option.type is OptionType.PAIRS:
        return labels_of(value, option.flag) if value else None
    return value
