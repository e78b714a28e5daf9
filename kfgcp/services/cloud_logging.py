"""Reads entries of Cloud Logging, with `entries.list` of its REST API v2."""

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

# An entry may be found up to this many seconds after newer ones. A tail looks back as far.
LATE: Final = 20.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A log entry.

    Attributes:
        id: different for each entry.
        at: when it was written, as the service says.
        severity: such as `ERROR`.
        text: what was written.
        resource: the labels of the resource that wrote it.
    """

    id: str
    at: str
    severity: str
    text: str
    resource: Mapping[str, str]


# A LogEntry of google.logging.v2 (log_entry.proto).
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


class CloudLogging:
    """The entries of one project. Threads may share it."""

    def __init__(self, http: ServiceClient, project: str) -> None:
        self._http = http
        self._project = project

    def entries(
        self, clauses: Sequence[str], *, newest_first: bool = False, size: int = PAGE
    ) -> Iterator[Entry]:
        """Yield the entries that match all clauses of the Logging query language.

        Args:
            clauses: such as `resource.type="ml_job"`.
            newest_first: the order; oldest first otherwise.
            size: the most entries in a page.

        Warns:
            NotWhole: an entry is not of the documented form, and is left out.
        """
        body = {
            "resourceNames": [f"projects/{self._project}"],
            "filter": " AND ".join(clauses),
            "orderBy": "timestamp desc" if newest_first else "timestamp asc",
        }
        has_warned = False
        items = self._http.pages(
            "v2/entries:list", None, "entries", body=body, size=size, method="POST"
        )
        for item in items:
            try:
                data = read(item, ENTRY, service="Cloud Logging", thing="a log entry")
            except BadAnswer as error:
                if not has_warned:
                    warnings.warn(
                        f"Log entries are left out: {error.message}", NotWhole, stacklevel=2
                    )
                has_warned = True
                continue
            yield _to_entry(data)


class Tail:
    """The new entries among those that match. Each entry is returned once."""

    def __init__(self, logging: CloudLogging, clauses: Sequence[str]) -> None:
        self._logging = logging
        self._clauses = list(clauses)
        # The time of the newest entry so far, and the times of those that may be found again.
        self._newest = ""
        self._seen: dict[str, str] = {}

    def read(self, alternatives: Sequence[str], fresh: Sequence[str] = ()) -> Iterator[Entry]:
        """Yield the entries since the last call, which must have been read to its end.

        Args:
            alternatives: clauses; an entry must match one of them. There is a request for each.
            fresh: likewise, but clauses of no earlier call. All their entries are returned, also
                those that are older than the last call.
        """
        recent = list(self._clauses)
        if self._newest:
            since = self._oldest_possible()
            recent.append(f'timestamp>="{since}"')
            # Older entries are not returned again, so the memory does not grow.
            self._seen = {key: at for key, at in self._seen.items() if at >= since}
        queries = [[*recent, clause] for clause in alternatives]
        queries += [[*self._clauses, clause] for clause in fresh]
        for clauses in queries:
            for entry in self._logging.entries(clauses):
                if entry.id not in self._seen:
                    self._seen[entry.id] = entry.at
                    self._newest = max(self._newest, entry.at)
                    yield entry

    def _oldest_possible(self) -> str:
        """Return the time of the oldest entry that an earlier call may have missed."""
        newest = datetime.fromisoformat(self._newest).timestamp()
        return timestamp(max(newest - LATE, 0.0))


def quoted(text: str) -> str:
    """Return a text as a value in a filter."""
    return json.dumps(text, ensure_ascii=False)


def _to_entry(data: Mapping[str, Any]) -> Entry:
    at = str(data.get("timestamp") or data.get("receiveTimestamp") or "")
    resource = data.get("resource") or {}
    return Entry(
        # An insertId is unique only among entries with the same time.
        id=f"{data.get('insertId', '')} {at}",
        at=at,
        severity=str(data.get("severity") or "DEFAULT"),
        text=_read_text(data),
        resource=resource.get("labels") or {},
    )


def _read_text(data: Mapping[str, Any]) -> str:
    """Return the text of an entry, or the message of a structured one."""
    if "textPayload" in data:
        return str(data["textPayload"]).rstrip("\r\n")
    payload = data.get("jsonPayload") or data.get("protoPayload") or {}
    message = payload.get("message")
    if isinstance(message, str):
        return message.rstrip("\r\n")
    return json.dumps(payload, ensure_ascii=False)
