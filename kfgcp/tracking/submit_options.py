"""The options of `submit`, `run` and `rerun`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypedDict

from kfgcp.errors import UsageError

EXECUTORS: Final = ("auto", "process", "docker")


class SubmitOptions(TypedDict, total=False):
    """How to start a run.

    Attributes:
        params: values of the pipeline's parameters; the others have their defaults.
        env: the environment to run in; the default one of the project when missing.
        experiment: the group of runs that it belongs to; that of the project when missing.
        name: a name for people; made from the pipeline's name and the time when missing.
        labels: texts to find it by.
        cache: True or False switches caching on or off for every task; None leaves it to the pipeline.
        max_parallel: the largest number of tasks at the same time on this machine; its number of cores when missing.
        fail_fast: start nothing new after a failure.
        executor: `auto` runs Python functions in processes and other commands in Docker, `process` refuses other
            commands, `docker` runs everything in containers.
        strict_env: install the version of kfp that the compiled commands name, instead of using the installed one.
    """

    params: Mapping[str, object] | None
    env: str | None
    experiment: str | None
    name: str | None
    labels: Mapping[str, str] | None
    cache: bool | None
    max_parallel: int | None
    fail_fast: bool | None
    executor: Literal["auto", "process", "docker"] | None
    strict_env: bool | None


def check_options(options: Mapping[str, Any]) -> None:
    """Check the names and types of options. None always means that an option is not given.

    Raises:
        UsageError: an option does not exist, or its value is of another type. The message names the option.

    Example:
        >>> check_options({"experimnt": "churn"})
        Traceback (most recent call last):
        kfgcp.errors.UsageError: Unknown option 'experimnt'.
    """
    for name, value in options.items():
        if name not in _CHECKS:
            raise unknown_option(name, list(_CHECKS))
        is_right, expected = _CHECKS[name]
        if value is not None and not is_right(value):
            raise UsageError(f"The option {name} must be {expected}, not {value!r}.")


def unknown_option(name: str, options: list[str]) -> UsageError:
    """Return the error for an option that does not exist."""
    import difflib

    close = difflib.get_close_matches(name, options, n=1)
    suggestion = f"Did you mean {close[0]}? " if close else ""
    return UsageError(f"Unknown option '{name}'.", hint=f"{suggestion}The options are {', '.join(options)}.")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_text_mapping(value: Any) -> bool:
    return _is_mapping(value) and all(isinstance(text, str) for text in value.values())


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_executor(value: Any) -> bool:
    return isinstance(value, str) and value in EXECUTORS


_CHECKS: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "params": (_is_mapping, "a dict of values by the names of parameters"),
    "env": (_is_text, "the name of an environment"),
    "experiment": (_is_text, "a text"),
    "name": (_is_text, "a text"),
    "labels": (_is_text_mapping, "a dict of texts"),
    "cache": (_is_flag, "True, False or None"),
    "max_parallel": (_is_count, "a whole number from 1"),
    "fail_fast": (_is_flag, "True or False"),
    "executor": (_is_executor, f"one of {', '.join(EXECUTORS)}"),
    "strict_env": (_is_flag, "True or False"),
}
