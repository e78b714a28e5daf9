"""Entries of Cloud Logging, by its REST API v2 (`entries.list`)."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from kfgcp.errors import BadAnswer, NotWhole
from kfgcp.model import timestamp
from kfgcp.services.client import ServiceClient
from kfgcp.services.fields import map_of, mapping, message, read, text, time

ADDRESS: Final = "https://logging.googleapis.com"
PAGE: Final = 1000
LATE: Final = 20.0
"""Seconds that an entry may be found after others that are newer: a tail looks back so far."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry. at: when it was written, as the service says. resource: the labels of what wrote
    it."""

    id: str
    at: str
    severity: str
    text: str
    resource: Mapping[str, str]


ENTRY: Final = message(
    {
        "insertId": text,
        "timestamp": time,
        "receiveTimestamp": time,
        "severity": text,
        "textPayload": text,
        "jsonPayload": mapping,
        "protoPayload": mapping,
        "resource": message({"labels": map_of(text)}),
    }
)
"""A LogEntry of google.logging.v2 (log_entry.proto)."""


class CloudLogging:
    """The entries of one project. Threads may share it."""

    def __init__(self, http: ServiceClient, project: str) -> None:
        self._http = http
        self._project = project

    def entries(
        self, clauses: Sequence[str], *, newest_first: bool = False, size: int = PAGE
    ) -> Iterator[Entry]:
        """The entries that match all clauses of the Logging query language, page after page.

        Args:
            clauses: `resource.type="ml_job"` and the like.
            newest_first: the order; oldest first otherwise.
            size: entries a page at most.
        """
        body = {
            "resourceNames": [f"projects/{self._project}"],
            "filter": " AND ".join(clauses),
            "orderBy": "timestamp desc" if newest_first else "timestamp asc",
        }
        noted = False
        for found in self._http.pages(
            "v2/entries:list", None, "entries", body=body, size=size, method="POST"
        ):
            try:
                entry = _entry(read(found, ENTRY, service="Cloud Logging", thing="a log entry"))
            except BadAnswer as error:
                if not noted:
                    warnings.warn(
                        f"Log entries are left out: {error.message}", NotWhole, stacklevel=2
                    )
                noted = True
                continue
            yield entry


class Tail:
    """What is new among the entries that match, each once."""

    def __init__(self, logging: CloudLogging, clauses: Sequence[str]) -> None:
        self._logging = logging
        self._clauses = list(clauses)
        self._until = ""
        self._seen: dict[str, str] = {}

    def read(self, alternatives: Sequence[str], fresh: Sequence[str] = ()) -> Iterator[Entry]:
        """The entries since the last call, which must have been read to its end.

        Args:
            alternatives: clauses of which one must match; asked for one after the other.
            fresh: likewise, for what was not asked for before: all its entries, those older than
                others too.
        """
        recent = [*self._clauses]
        if self._until:
            since = timestamp(max(datetime.fromisoformat(self._until).timestamp() - LATE, 0.0))
            recent.append(f'timestamp>="{since}"')
            self._seen = {key: at for key, at in self._seen.items() if at >= since}
        asked = [[*recent, each] for each in alternatives] + [
            [*self._clauses, each] for each in fresh
        ]
        for clauses in asked:
            for entry in self._logging.entries(clauses):
                if entry.id not in self._seen:
                    self._seen[entry.id] = entry.at
                    self._until = max(self._until, entry.at)
                    yield entry


def quoted(text: str) -> str:
    """A text as a value in a filter."""
    return json.dumps(text, ensure_ascii=False)


def _entry(data: Mapping[str, Any]) -> Entry:
    at = str(data.get("timestamp") or data.get("receiveTimestamp") or "")
    return Entry(
        id=f"{data.get('insertId', '')} {at}",
        at=at,
        severity=str(data.get("severity") or "DEFAULT"),
        text=_text(data),
        resource=(data.get("resource") or {}).get("labels") or {},
    )


def _text(data: Mapping[str, Any]) -> str:
    """What was written: as text, or the message of a structured entry."""
    if "textPayload" in data:
        return str(data["textPayload"]).rstrip("\r\n")
    payload = data.get("jsonPayload") or data.get("protoPayload") or {}
    message = payload.get("message")
    return (
        str(message).rstrip("\r\n")
        if isinstance(message, str)
        else json.dumps(payload, ensure_ascii=False)
    )
