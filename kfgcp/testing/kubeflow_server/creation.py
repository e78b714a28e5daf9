"""Give new runs, experiments, pipelines and versions their ids and times. A test may set both."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from kfgcp.testing.kubeflow_server.versions import ServerVersion


class Creation:
    """The source of ids and times for new objects.

    Attributes:
        version: the version of the server.
        make_id: gives the UUID of the next new object.
        clock: gives the Unix time in seconds, for `created_at` and `updated_at`. The durations of
            runs do not depend on this clock.
    """

    def __init__(self, version: ServerVersion) -> None:
        self.version = version
        self.make_id: Callable[[], str] = lambda: str(uuid.uuid4())
        self.clock: Callable[[], float] = time.time

    def new_id(self) -> str:
        """Return the id of a new object."""
        return self.make_id()

    def now(self) -> int:
        """Return the Unix time in whole seconds, as the server's tables store times."""
        return int(self.clock())
