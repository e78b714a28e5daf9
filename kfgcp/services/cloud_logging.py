"""Read log entries from Cloud Logging, with `entries.list` of its REST API v2."""

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

# The most entries in one page.
PAGE_SIZE: Final = 1000

# Cloud Logging may find an entry this many seconds after it has found newer entries. So each
# request of a `Tail` includes this time before the newest entry.
LATE_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Entry:
    """A log entry.

    Attributes:
        id: an id that no other entry has.
        at: the time when the entry was written, RFC 3339 text.
        severity: the severity, such as `ERROR`.
        text: the text, or the message of a structured entry.
        resource: the labels of the resource that wrote the entry.
    """

    id: str
    at: str
    severity: str
    text: str
    resource: Mapping[str, str]


# The check of a LogEntry of google.logging.v2 (log_entry.proto).
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
    """A client for the log entries of one project. Threads may share it."""

    def __init__(self, http: ServiceClient, project: str) -> None:
        self._http = http
        self._project = project

    def entries(
        self, clauses: Sequence[str], *, newest_first: bool = False, size: int = PAGE_SIZE
    ) -> Iterator[Entry]:
        """Yield the entries that match all clauses.

        Args:
            clauses: in the Logging query language, such as `resource.type="ml_job"`.
            newest_first: True yields the newest entry first, False the oldest entry.
            size: the most entries in a page.

        Warns:
            NotWhole: an entry does not have the documented form, and is left out.
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
    """A reader that asks for the same entries several times, and returns each entry only once.

    Args:
        logging: the log entries of the project.
        clauses: the clauses that all entries match.
    """

    def __init__(self, logging: CloudLogging, clauses: Sequence[str]) -> None:
        self._logging = logging
        self._clauses = list(clauses)
        # The time of the newest entry so far, "" before the first entry.
        self._newest_at = ""
        # The times of the entries that the next request may return again, by their ids.
        self._returned_entries: dict[str, str] = {}

    def read(self, alternatives: Sequence[str], fresh: Sequence[str] = ()) -> Iterator[Entry]:
        """Yield the entries that are new since the last call.

        The caller must read each iterator to its end before the next call.

        Args:
            alternatives: an entry must match one of these clauses. Each clause is one request.
            fresh: more alternatives, which no earlier call had. For them also entries from before
                the last call are yielded.
        """
        recent_clauses = list(self._clauses)
        if self._newest_at:
            since = self._start_of_next_read()
            recent_clauses.append(f'timestamp>="{since}"')
            # No request returns the older entries again, so their ids can be forgotten.
            self._returned_entries = {
                entry_id: at for entry_id, at in self._returned_entries.items() if at >= since
            }
        queries = [[*recent_clauses, clause] for clause in alternatives]
        queries += [[*self._clauses, clause] for clause in fresh]
        for clauses in queries:
            for entry in self._logging.entries(clauses):
                if entry.id not in self._returned_entries:
                    self._returned_entries[entry.id] = entry.at
                    self._newest_at = max(self._newest_at, entry.at)
                    yield entry

    def _start_of_next_read(self) -> str:
        """Return the time of the oldest entry that earlier calls may have missed."""
        newest_at = datetime.fromisoformat(self._newest_at).timestamp()
        return timestamp(max(newest_at - LATE_SECONDS, 0.0))


def quoted(text: str) -> str:
    """Return a text as a quoted value for a clause."""
    return json.dumps(text, ensure_ascii=False)


def _to_entry(data: Mapping[str, Any]) -> Entry:
    at = str(data.get("timestamp") or data.get("receiveTimestamp") or "")
    resource = data.get("resource") or {}
    return Entry(
        # Two entries with different times may have the same insertId.
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
