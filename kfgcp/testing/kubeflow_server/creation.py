"""The ids and the times of new runs, experiments, pipelines and versions. A test may set both."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from kfgcp.testing.kubeflow_server.versions import ServerVersion


class Creation:
    """Gives ids and times.

    Attributes:
        version: the version of the server.
        make_id: gives the UUID of the next new object.
        clock: Unix time in seconds. It gives `created_at` and `updated_at`. How long runs take
            does not depend on it.
    """

    def __init__(self, version: ServerVersion) -> None:
        self.version = version
        self.make_id: Callable[[], str] = lambda: str(uuid.uuid4())
        self.clock: Callable[[], float] = time.time

    def new_id(self) -> str:
        """Return the id of a new object."""
        return self.make_id()

    def now(self) -> int:
        """Return the time in whole seconds, as the server's tables have it."""
        return int(self.clock())
