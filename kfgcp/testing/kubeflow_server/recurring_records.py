"""A recurring run of the server, with its JSON in answers.

- The answer always has namespace and service_account (recurring-run-get.json).
- The name of a run is the name of the object in Kubernetes, the number of the run, and their FNV-1a
  hash (NextResourceName in scheduled_workflow.go). The name of the object is the display name in
  lower case without other characters than letters, digits and `-`, cut to 25 characters
  (toSWFCRDResourceGeneratedName in template.go), and five characters that Kubernetes adds.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from kfgcp.spec.json_values import JsonObject
from kfgcp.testing.kubeflow_server.filters import Fields
from kfgcp.testing.kubeflow_server.messages import drop_empty, format_time
from kfgcp.testing.kubeflow_server.triggers import Trigger

# The namespace of the server itself, which has the recurring runs in single-user mode.
_SERVER_NAMESPACE: Final = "kubeflow"

# The characters that Kubernetes adds to a generated name (apimachinery/pkg/util/rand).
_NAME_CHARACTERS: Final = "bcdfghjklmnpqrstvwxz2456789"
_MAX_GENERATED_NAME: Final = 25


@dataclass(eq=False, slots=True)
class RecurringRun:
    """A recurring run.

    Attributes:
        body: the fields that the client sent.
        source: the field of the answer that names the pipeline.
        created: Unix time in seconds.
        updated: Unix time in seconds.
        resource: the name of its object in Kubernetes.
        fire_count: how many runs the recurring run has started.
        last_due: the last due time that it has fired, Unix time in seconds.
        visited: when the controller looked at it last, Unix time in seconds.
    """

    id: str
    body: JsonObject
    source: JsonObject
    experiment_id: str
    namespace: str
    enabled: bool
    created: int
    updated: int
    service_account: str
    trigger: Trigger
    resource: str
    visited: int
    fire_count: int = 0
    last_due: int | None = None

    @property
    def max_concurrency(self) -> int:
        """How many of its runs may run at the same time."""
        return int(self.body["max_concurrency"])

    def to_json(self) -> JsonObject:
        """Return the recurring run as JSON."""
        body = self.body
        mode = "ENABLE" if self.enabled else "DISABLE"
        status = "ENABLED" if self.enabled else "DISABLED"
        fields = drop_empty(
            {
                "recurring_run_id": self.id,
                "display_name": body.get("display_name"),
                "description": body.get("description"),
                "runtime_config": body.get("runtime_config"),
                "service_account": body.get("service_account") or self.service_account,
                # Proto JSON leaves out false.
                "no_catchup": body.get("no_catchup") or None,
                **self.source,
                "max_concurrency": str(self.max_concurrency),
                "mode": mode,
                "status": status,
                "created_at": format_time(self.created),
                "updated_at": format_time(self.updated),
                "namespace": self.namespace or _SERVER_NAMESPACE,
                "experiment_id": self.experiment_id,
            }
        )
        # The answer also has an empty trigger. It leaves out other empty fields.
        fields["trigger"] = self.trigger.to_json()
        return fields

    def next_due(self, now: int, zone: tzinfo) -> int | None:
        """Return the due time that it fires next, None when it never fires again."""
        catch_up = not self.body.get("no_catchup")
        return self.trigger.next_due(self.last_due, self.created, now, catch_up=catch_up, zone=zone)

    def next_run_name(self) -> str:
        """Count the next run, and return its name."""
        self.fire_count += 1
        name = f"{self.resource}-{self.fire_count}"
        return f"{name}-{_fnv32a(name)}"


# The fields of filters and orders (model/job.go).
RECURRING_RUN_FIELDS: Final[Fields] = {
    **dict.fromkeys(("id", "recurring_run_id"), lambda recurring: recurring.id),
    **dict.fromkeys(("name", "display_name"), lambda recurring: recurring.body["display_name"]),
    "created_at": lambda recurring: recurring.created,
    "updated_at": lambda recurring: recurring.updated,
    "description": lambda recurring: recurring.body.get("description", ""),
}


def make_resource_name(display_name: str) -> str:
    """Return the name of a new object in Kubernetes."""
    base = re.sub("[^a-z0-9-]+", "", display_name.lower()) or "job-"
    letters = random.choices(_NAME_CHARACTERS, k=5)  # noqa: S311
    return base[:_MAX_GENERATED_NAME] + "".join(letters)


def _fnv32a(text: str) -> int:
    """Return the 32-bit FNV-1a hash, as New32a of Go's hash/fnv."""
    number = 0x811C9DC5
    for byte in text.encode():
        number = (number ^ byte) * 0x01000193 % 2**32
    return number
