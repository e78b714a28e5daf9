"""Regular expressions that are compiled at their first use.

The rules have about 40 of them, and most pipelines need a few. Compiling all of them would make
each start of a run 3 ms slower.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property


class LazyPattern:
    """A regular expression with the methods of `re.Pattern` that rules use.

    Args:
        pattern: the text of the expression.
        flags: the flags of `re.compile`.

    Example:
        >>> digits = LazyPattern("[0-9]+")
        >>> digits.search("run 12").group()
        '12'
    """

    def __init__(self, pattern: str, flags: int = 0) -> None:
        self._pattern = pattern
        self._flags = flags

    @cached_property
    def search(self) -> Callable[[str], re.Match[str] | None]:
        """The method `re.Pattern.search`."""
        return self._compile().search

    @cached_property
    def match(self) -> Callable[[str], re.Match[str] | None]:
        """The method `re.Pattern.match`."""
        return self._compile().match

    @cached_property
    def fullmatch(self) -> Callable[[str], re.Match[str] | None]:
        """The method `re.Pattern.fullmatch`."""
        return self._compile().fullmatch

    @cached_property
    def finditer(self) -> Callable[[str], Iterator[re.Match[str]]]:
        """The method `re.Pattern.finditer`."""
        return self._compile().finditer

    @cached_property
    def findall(self) -> Callable[[str], list[str]]:
        """The method `re.Pattern.findall`, for an expression with at most one group."""
        return self._compile().findall

    def _compile(self) -> re.Pattern[str]:
        # The module `re` keeps compiled expressions, so a second method does not compile again.
        return re.compile(self._pattern, self._flags)
