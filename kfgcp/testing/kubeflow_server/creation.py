"""What new runs, experiments, pipelines and versions get: ids and times. A test may choose both."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from kfgcp.testing.kubeflow_server.versions import ServerVersion


class Creation:
    """Gives ids and times.

    Attributes:
        version: of the server.
        make_id: gives the id of whatever is made next, a UUID.
        clock: Unix time in seconds; it decides about `created_at` and `updated_at`, not about how
            long runs take.
    """

    def __init__(self, version: ServerVersion) -> None:
        self.version = version
        self.make_id: Callable[[], str] = lambda: str(uuid.uuid4())
        self.clock: Callable[[], float] = time.time

    def new_id(self) -> str:
        return self.make_id()

    def now(self) -> int:
        """Return the time in whole seconds, as the server's tables have it."""
        return int(self.clock())
