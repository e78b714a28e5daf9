"""Ends a list when its service names more and more pages that contain nothing new."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Final

from kfgcp.backends.fields import HINT
from kfgcp.errors import BadAnswer

PAGES_WITHOUT_ITEMS: Final = 100
"""Pages in a row that may have no new item. Cloud Logging sends some empty ones while it searches."""
SECONDS_WITHOUT_ITEMS: Final = 600.0
"""How long pages without a new item may go on."""


class PageLimit:
    """Remembers the pages of one list, in a few bytes for each page, and refuses a list without an end.

    Args:
        service: the name of the service in messages.
        request: the request in messages.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, service: str, request: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._service = service
        self._request = request
        self._clock = clock
        self._tokens: set[int] = set()
        self._pages: set[int] = set()
        self._pages_without_items = 0
        self._last_new_page = clock()

    def check(self, items: Hashable, next_token: Hashable) -> None:
        """Check a page that is not the last one.

        Args:
            items: the items of the page, or a value that is equal for equal pages; false when the page is empty.
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
        return BadAnswer(f"{self._service} answered {self._request} with {problem}, so the list has no end.", hint=HINT)
