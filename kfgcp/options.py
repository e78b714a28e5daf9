"""Declare the options of a run, each as one field of `RunOptions`.

To add an option, add a field and use its value. Everything else follows from the field:

    keyword     `kfgcp.submit(pipeline, fail_fast=True)`, and the checks and errors of its value
    flag        `kfgcp run --fail-fast`, the same for `rerun`, with its help (`cli/run_options.py`)
    JSON        what the store keeps of a run, `RunOptions.to_dict`
    engine      `options.fail_fast`, also in the executors
    note        a remote backend names the given options that it ignores (`local_flags`)

`make reference` writes the reference and `option_keywords.py`, which type checkers read.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import typing
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, Unpack

from kfgcp.errors import StateError, UsageError
from kfgcp.model import JsonValue

if TYPE_CHECKING:
    from kfgcp.option_keywords import OptionKeywords

# The version of the JSON of `RunOptions`. Increase it when a field gets another name or meaning,
# but not for a new field. When you increase it, also increase the version of the store's schema:
# an earlier kfgcp then refuses the whole store with one error, and does not fail at each run.
VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Option:
    """What a field of `RunOptions` declares besides its name, type and default.

    Attributes:
        help: the text for `kfgcp run --help`.
        rerun_help: the text for `kfgcp rerun --help`. When empty, this is the text of `help`.
        flag: the flag on the command line. When empty, it is made from the name of the field.
        metavar: what the help calls the value, such as `NAME`.
        minimum: the smallest allowed number.
        expected: what a value must be, for errors. When empty, it is made from the type.
        local_only: the option has an effect only for runs on this machine.
    """

    help: str
    rerun_help: str = ""
    flag: str = ""
    metavar: str | None = None
    minimum: int | None = None
    expected: str = ""
    local_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of a run.

    The defaults "", {} and None mean that an option is not given. Then the project or the pipeline
    decides. `kfgcp run --help` describes each option.

    Raises:
        UsageError: an option has a wrong value. The message names the option.

    Example:
        >>> nightly = RunOptions(env="dev", experiment="nightly", fail_fast=True)
        >>> nightly.changed(name="tuesday").experiment
        'nightly'
    """

    env: Annotated[
        str,
        Option(
            "The environment to run in.",
            "The environment to run in. Default: as in RUN.",
            metavar="NAME",
            expected="the name of an environment",
        ),
    ] = ""
    experiment: Annotated[
        str,
        Option(
            "The experiment of the run: a name for a group of runs.",
            "The experiment of the new run. Default: as in RUN.",
            metavar="NAME",
        ),
    ] = ""
    name: Annotated[str, Option("A name for the run.", metavar="TEXT")] = ""
    labels: Annotated[
        Mapping[str, str],
        Option(
            "A label of the run, for kfgcp list --label; may be given several times.",
            "An additional label of the new run; may be given several times.",
            flag="--label",
            metavar="K=V",
        ),
    ] = dataclasses.field(default_factory=dict)
    cache: Annotated[
        bool | None,
        Option(
            "Turn caching on or off for all tasks. Default: the pipeline decides.",
            "Turn caching on or off for all tasks. Default: as in RUN.",
        ),
    ] = None
    max_parallel: Annotated[
        int | None,
        Option("Run at most N tasks at the same time.", metavar="N", minimum=1, local_only=True),
    ] = None
    fail_fast: Annotated[bool, Option("After the first failure, start only exit tasks.")] = False
    executor: Annotated[
        Literal["auto", "process", "docker"],
        Option(
            "How tasks run. auto: Python components run in processes, container components in"
            " Docker, unless the environment has executor = docker.",
            local_only=True,
        ),
    ] = "auto"
    strict_env: Annotated[
        bool,
        Option("Install exactly the kfp version that compiled the pipeline.", local_only=True),
    ] = False

    def __post_init__(self) -> None:
        for field in option_fields():
            value = getattr(self, field.name)
            if not field.accepts(value):
                raise UsageError(
                    f"The option `{field.name}` must be {field.expected}, not {value!r}."
                )

    def changed(self, **changes: Unpack[OptionKeywords]) -> Self:
        """Return a copy of these options with other values. A change to None has no effect.

        Raises:
            UsageError: an option does not exist, or its value is of another type. The message names
                the option.

        Example:
            >>> RunOptions(env="dev").changed(experimnt="churn")
            Traceback (most recent call last):
              ...
            kfgcp.errors.UsageError: Unknown option 'experimnt'.
        """
        names = [field.name for field in option_fields()]
        for name in changes:
            if name not in names:
                raise _unknown_option(name, names)
        values: dict[str, Any] = {
            name: value for name, value in changes.items() if value is not None
        }
        return dataclasses.replace(self, **values)

    def to_dict(self) -> dict[str, JsonValue]:
        """Return the options as JSON. Defaults are included: a later version may have others."""
        values = {field.name: getattr(self, field.name) for field in option_fields()}
        return {"version": VERSION, **values, "labels": dict(self.labels)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, JsonValue]) -> Self:
        """Return the options from the JSON of `to_dict`, also of an older version of kfgcp.

        An option that this version does not know comes from a newer version. It is left out, with
        the warning `OptionLeftOut`. The other options keep their meaning.

        Raises:
            StateError: a newer version of kfgcp wrote the JSON in another form, or it is damaged.
        """
        version = stored.get("version")
        if version != VERSION:
            # Imported only here: the module reads metadata of installed packages, which is slow.
            from kfgcp.installation import upgrade_hint

            raise StateError(
                f"The stored options of the run have version {version}, but this kfgcp reads only"
                f" version {VERSION}.",
                hint=upgrade_hint(),
            )
        names = {field.name for field in option_fields()}
        unknown = stored.keys() - names - {"version"}
        if unknown:
            warnings.warn(
                "This version of kfgcp leaves out options of the run that it does not know:"
                f" {', '.join(sorted(unknown))}.",
                OptionLeftOut,
                stacklevel=2,
            )
        values: dict[str, Any] = {name: stored[name] for name in stored.keys() & names}
        try:
            return cls(**values)
        except UsageError as error:
            raise StateError(f"The stored options of a run are damaged: {error.message}") from None


class OptionLeftOut(UserWarning):
    """The warning that a run was submitted with an option that this kfgcp does not know."""


class OptionType(enum.Enum):
    """The types that an option can have."""

    TEXT = enum.auto()
    # True or False.
    FLAG = enum.auto()
    # True, False, or None when the option is not given.
    SWITCH = enum.auto()
    NUMBER = enum.auto()
    # One of several texts.
    CHOICE = enum.auto()
    # A dict of texts, such as labels.
    PAIRS = enum.auto()


@dataclass(frozen=True, slots=True)
class OptionField:
    """A field of `RunOptions` as an option.

    Attributes:
        name: the name of the field, which is also the keyword.
        annotation: the type of the field as it is written in the class.
        type: the type of the option.
        choices: the allowed texts. Only options of the type CHOICE have them.
        default: the value of the option when it is not given.
        option: the help and the limits that the field declares.
    """

    name: str
    annotation: Any
    type: OptionType
    choices: tuple[str, ...]
    default: object
    option: Option

    @property
    def flag(self) -> str:
        """The flag on the command line."""
        return self.option.flag or f"--{self.name.replace('_', '-')}"

    @property
    def expected(self) -> str:
        """What a value must be, as a phrase for an error: "a whole number of 1 or more"."""
        if self.option.expected:
            return self.option.expected
        match self.type:
            case OptionType.TEXT:
                return "a text"
            case OptionType.FLAG:
                return "True or False"
            case OptionType.SWITCH:
                return "True, False or None"
            case OptionType.NUMBER:
                if self.option.minimum is None:
                    return "a whole number"
                return f"a whole number of {self.option.minimum} or more"
            case OptionType.CHOICE:
                return f"one of {', '.join(self.choices)}"
            case OptionType.PAIRS:
                return "a dict of texts"

    def accepts(self, value: object) -> bool:
        """Return whether a value is valid for the option."""
        if value is None:
            return self.default is None
        match self.type:
            case OptionType.TEXT:
                return isinstance(value, str)
            case OptionType.FLAG | OptionType.SWITCH:
                return isinstance(value, bool)
            case OptionType.NUMBER:
                if not isinstance(value, int) or isinstance(value, bool):
                    return False
                return self.option.minimum is None or value >= self.option.minimum
            case OptionType.CHOICE:
                return isinstance(value, str) and value in self.choices
            case OptionType.PAIRS:
                return isinstance(value, Mapping) and _has_only_texts(value)


def _has_only_texts(pairs: Mapping[object, object]) -> bool:
    for key, value in pairs.items():
        if not isinstance(key, str) or not isinstance(value, str):
            return False
    return True


@functools.cache
def option_fields() -> tuple[OptionField, ...]:
    """Return all fields of `RunOptions` as options, in their order in the class."""
    hints = typing.get_type_hints(RunOptions, include_extras=True)
    return tuple(
        _option_field(field, hints[field.name]) for field in dataclasses.fields(RunOptions)
    )


def local_flags(options: RunOptions) -> list[str]:
    """Return the flags of those given options that have an effect only on this machine."""
    flags = []
    for field in option_fields():
        is_given = getattr(options, field.name) != field.default
        if is_given and field.option.local_only:
            flags.append(field.flag)
    return flags


def _option_field(field: dataclasses.Field[Any], type_hint: Any) -> OptionField:
    """Return a field of `RunOptions` as an option.

    Raises:
        TypeError: the field has no `Option`, or a type that options cannot have.
    """
    annotation, *extras = typing.get_args(type_hint)
    option = extras[0] if extras else None
    is_choice = typing.get_origin(annotation) is Literal
    option_type = OptionType.CHOICE if is_choice else _TYPES.get(annotation)
    if option_type is None or not isinstance(option, Option):
        raise TypeError(
            f"RunOptions.{field.name} is not declared as Annotated[TYPE, Option(HELP)]."
        )
    make_default = field.default_factory
    return OptionField(
        name=field.name,
        annotation=annotation,
        type=option_type,
        choices=typing.get_args(annotation) if is_choice else (),
        default=field.default if make_default is dataclasses.MISSING else make_default(),
        option=option,
    )


_TYPES: Final[dict[Any, OptionType]] = {
    str: OptionType.TEXT,
    bool: OptionType.FLAG,
    bool | None: OptionType.SWITCH,
    int: OptionType.NUMBER,
    int | None: OptionType.NUMBER,
    Mapping[str, str]: OptionType.PAIRS,
}


def _unknown_option(name: str, names: list[str]) -> UsageError:
    """Return the error for an option that does not exist."""
    import difflib

    # The caller may have mistyped `params`, a keyword of `submit` that is not an option.
    names = ["params", *names]
    close = difflib.get_close_matches(name, names, n=1)
    suggestion = f"Did you mean {close[0]}? " if close else ""
    return UsageError(
        f"Unknown option '{name}'.", hint=f"{suggestion}The options are {', '.join(names)}."
    )
