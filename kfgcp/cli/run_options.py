"""The options of `run` and `rerun`.

Most of these options are made from the fields of `RunOptions`, so that each is declared once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from kfgcp.model import JsonValue
from kfgcp.options import OptionField, OptionType, option_fields
from kfgcp.spec import params as spec_params
from kfgcp.spec.records import ParamSpec
from kfgcp.tracking.choose import parse_labels

if TYPE_CHECKING:
    from kfgcp.option_keywords import OptionKeywords

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ParamOptions:
    """The values of the options that set parameters.

    Attributes:
        assignments: the texts `NAME=VALUE` of `-p`.
        file: the file of `--params-file`, None when the option is not given.
    """

    assignments: Sequence[str]
    file: Path | None

    @property
    def are_given(self) -> bool:
        """Whether at least one of the options is given."""
        return bool(self.assignments) or self.file is not None

    def read(self, declared_params: Mapping[str, ParamSpec]) -> dict[str, JsonValue]:
        """Return the value of each parameter that an option sets. `-p` overrides the file.

        Args:
            declared_params: the parameters of the pipeline. Their types say how to read a text.

        Raises:
            ParamError: the file cannot be read, or a parameter is unknown or of the wrong type.
        """
        values: dict[str, JsonValue] = {}
        if self.file is not None:
            values = spec_params.read_file(self.file)
        return values | spec_params.parse_assignments(declared_params, self.assignments)


def param_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options that set parameters, as its argument `params`."""
    help_text = "The value of a parameter; may be given several times."
    return _add_param_options(command, help_text)


def run_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give the command `run` the options of a run.

    Its argument `params` gets the options that set parameters, and `changes` a dict of the other
    options that are given.
    """
    helps = {field.name: field.option.help for field in option_fields()}
    return _add_options(command, "The value of a parameter; may be given several times.", helps)


def rerun_options(command: Callable[..., R]) -> Callable[..., R]:
    """Give the command `rerun` the same options as `run_options`, with other help texts."""
    helps = {field.name: field.option.rerun_help or field.option.help for field in option_fields()}
    return _add_options(command, "Change a parameter; may be given several times.", helps)


def _add_options(
    command: Callable[..., R], param_help: str, helps: Mapping[str, str]
) -> Callable[..., R]:
    """Give a command the options of a run.

    Args:
        command: the command, with the arguments `params` and `changes`.
        param_help: the help of `-p`.
        helps: name of a field of `RunOptions` -> help of its option.
    """

    @functools.wraps(command)
    def call(*args: object, **values: object) -> R:
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
    return _add_param_options(decorated, param_help)


def _add_param_options(command: Callable[..., R], help_text: str) -> Callable[..., R]:
    @functools.wraps(command)
    def call(
        *args: Any, assignments: tuple[str, ...], params_file: Path | None, **values: Any
    ) -> R:
        return command(*args, **values, params=ParamOptions(assignments, params_file))

    add_param = click.option(
        "-p", "--param", "assignments", multiple=True, metavar="NAME=VALUE", help=help_text
    )
    return add_param(_params_file(call))


_params_file = click.option(
    "--params-file",
    type=click.Path(path_type=Path),
    help="A YAML or JSON file with parameters; -p overrides the file.",
)


def _click_option(
    field: OptionField, help_text: str
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Return the option of the command line for a field. Its default None means "not given"."""
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
    """Convert the value that click passes to the value of the field. None means "not given"."""
    if field.type is not OptionType.PAIRS:
        return value
    # click passes an empty tuple for an option that may be given several times and is not given.
    return parse_labels(value, field.flag) if value else None
