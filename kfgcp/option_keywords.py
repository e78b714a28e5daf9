"""The fields of `RunOptions` as keywords, for type checkers.

Written by `make reference`: change `RunOptions` instead. Python cannot derive a TypedDict from a
dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypedDict


class OptionKeywords(TypedDict, total=False):
    """The options of a run as keywords, see `RunOptions`. None: the option is not given."""

    env: str | None
    experiment: str | None
    name: str | None
    labels: Mapping[str, str] | None
    cache: bool | None
    max_parallel: int | None
    fail_fast: bool | None
    executor: Literal["auto", "process", "docker"] | None
    strict_env: bool | None
