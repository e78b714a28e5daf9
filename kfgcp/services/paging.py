"""Requests the pages of a list, and refuses a list without an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.errors import BadAnswer
from kfgcp.services.fields import HINT

# Pages in a row that may have no new item. Cloud Logging sends some empty ones while it searches.
PAGES_WITHOUT_ITEMS: Final = 100
# The longest time without a new item, in seconds.
SECONDS_WITHOUT_ITEMS: Final = 600.0


@dataclass(frozen=True, slots=True)
class PageKeys:
    """The parameters with which a service is asked for pages.

    Attributes:
        size: the key of the number of items.
        token: the key of the token that names a page.
        repeated: the parameters of the first request that later requests repeat; None for all.
    """

    size: str
    token: str
    repeated: frozenset[str] | None = None

    def of_later_pages(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of the first request that a later one repeats."""
        if self.repeated is None:
            return dict(params)
        return {name: value for name, value in params.items() if name in self.repeated}


GOOGLE: Final = PageKeys("pageSize", "pageToken")


class PageSize:
    """The number of items that are requested at once.

    It is halved after a page that is too long, and grows again after short pages. A token stands
    for a place in the list, so it is valid for any number of items.

    Args:
        most: the most items in a page; None leaves the number to the service.
        longest: the most bytes of an answer.

    Attributes:
        items: of the next page; None when the service chooses.
    """

    def __init__(self, most: int | None, longest: int) -> None:
        self._most = most
        self._longest = longest
        self.items = most

    def shrink(self) -> bool:
        """Halve the number of items, and return whether that is possible."""
        if self.items is None or self.items == 1:
            return False
        self.items //= 2
        return True

    def grow_after(self, length: int) -> None:
        """Double the number of items after a page that was short enough.

        Args:
            length: of the last answer, in bytes.
        """
        if self.items is None or self._most is None:
            return
        # Twice as many items of the same size need at most half of the allowed bytes.
        if length * 4 <= self._longest:
            self.items = min(self.items * 2, self._most)


class PageLimit:
    """A record of the pages of one list, which refuses a list without an end.

    Args:
        service: the name of the service in messages.
        request: the request in messages.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self, service: str, request: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = service
        self._request = request
        self._clock = clock
        # Hashes, because a list may have very many pages.
        self._tokens: set[int] = set()
        self._pages: set[int] = set()
        self._pages_without_items = 0
        self._last_new_page = clock()

    def check(self, items: Hashable, next_token: Hashable) -> None:
        """Check a page that is not the last one.

        Args:
            items: a value that is equal for pages with equal items, and false for an empty page.
            next_token: the token of the next page.

        Raises:
            BadAnswer: the next page was read before, or too many pages have nothing new.
        """
        token = hash(next_token)
        if token in self._tokens:
            raise self._endless("the token of a page that was read before")
        self._tokens.add(token)
        page = hash(items)
        if items and page not in self._pages:
            self._pages.add(page)
            self._pages_without_items = 0
            self._last_new_page = self._clock()
            return
        self._pages_without_items += 1
        if self._pages_without_items >= PAGES_WITHOUT_ITEMS:
            raise self._endless(f"{self._pages_without_items} pages without anything new")
        seconds = self._clock() - self._last_new_page
        if seconds >= SECONDS_WITHOUT_ITEMS:
            raise self._endless(f"pages without anything new for {seconds:.0f} s")

    def _endless(self, problem: str) -> BadAnswer:
        return BadAnswer(
            f"{self._service} answered {self._request} with {problem}, so the list has no end.",
            hint=HINT,
        )
