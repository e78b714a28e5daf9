"""Choose the size of the pages of a list, and refuse a list without an end."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kfgcp.errors import BadAnswer
from kfgcp.services.fields import HINT

# How many pages in a row may have no new item, and how many seconds may pass without a new item.
# Cloud Logging sends some empty pages while it searches.
PAGES_WITHOUT_ITEMS: Final = 100
SECONDS_WITHOUT_ITEMS: Final = 600.0


@dataclass(frozen=True, slots=True)
class PageKeys:
    """The names of the parameters in a request for a page.

    Attributes:
        size: the parameter with the number of items.
        token: the parameter with the token of the page.
        repeated: the parameters of the first request that the requests for later pages also have;
            None for all parameters.
    """

    size: str
    token: str
    repeated: frozenset[str] | None = None

    def params_of_later_pages(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters for later pages. params: the parameters of the first request."""
        if self.repeated is None:
            return dict(params)
        return {name: value for name, value in params.items() if name in self.repeated}


GOOGLE: Final = PageKeys("pageSize", "pageToken")


class PageSize:
    """The number of items in a page, which adapts to the length of the answers.

    The number may change from page to page, because the token of a page only names a place in the
    list.

    Args:
        max_items: the most items in a page; None lets the service choose the number.
        max_bytes: the most bytes of an answer.

    Attributes:
        items: the number of items to request in the next page; None lets the service choose.
    """

    def __init__(self, max_items: int | None, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self.items = max_items

    def shrink(self) -> bool:
        """Halve the number of items after an answer that was too long.

        Returns:
            False when the number cannot be halved.
        """
        if self.items is None or self.items == 1:
            return False
        self.items //= 2
        return True

    def grow_after(self, length: int) -> None:
        """Double the number of items, if the last answer was short enough.

        Args:
            length: the length of the last answer, in bytes.
        """
        if self.items is None or self._max_items is None:
            return
        # The next page would then have about twice the length, at most half of the allowed bytes.
        if length * 4 <= self._max_bytes:
            self.items = min(self.items * 2, self._max_items)


class PageLimit:
    """A check that refuses a list without an end.

    Args:
        service: the name of the service, for messages.
        request: the method and the path of the request, for messages.
        clock: a monotonic clock, in seconds.
    """

    def __init__(
        self, service: str, request: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = service
        self._request = request
        self._clock = clock
        # Only hashes of tokens and pages are kept. A list may have very many pages.
        self._token_hashes: set[int] = set()
        self._page_hashes: set[int] = set()
        self._pages_without_items = 0
        self._last_new_page_at = clock()

    def check(self, items: Hashable, next_token: Hashable) -> None:
        """Check a page after which another page follows.

        Args:
            items: the items of the page in a form that can be compared. An empty page is false.
            next_token: the token of the next page.

        Raises:
            BadAnswer: the token of the next page came before, or too many pages in a row have no
                new items.
        """
        token_hash = hash(next_token)
        if token_hash in self._token_hashes:
            raise self._endless("sent the same page token twice")
        self._token_hashes.add(token_hash)
        page_hash = hash(items)
        if items and page_hash not in self._page_hashes:
            self._page_hashes.add(page_hash)
            self._pages_without_items = 0
            self._last_new_page_at = self._clock()
            return
        self._pages_without_items += 1
        if self._pages_without_items >= PAGES_WITHOUT_ITEMS:
            raise self._endless(
                f"sent {self._pages_without_items} pages without new items, although each page"
                " says that another page follows"
            )
        seconds = self._clock() - self._last_new_page_at
        if seconds >= SECONDS_WITHOUT_ITEMS:
            raise self._endless(
                f"sent no new items for {seconds:.0f} s, although each page says that another page"
                " follows"
            )

    def _endless(self, problem: str) -> BadAnswer:
        return BadAnswer(f"{self._service} {problem}. (Request: {self._request})", hint=HINT)
