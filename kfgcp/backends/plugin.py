"""The description of a backend: an entry point of the group `kfgcp.backends` names one.

It says how to open the backend, so that nothing of a backend is imported before it is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kfgcp.config import Environment, Project
from kfgcp.settings import BackendSettings

if TYPE_CHECKING:
    from kfgcp.backends.base import Backend
    from kfgcp.backends.service import RunService, ServiceRecords
    from kfgcp.diagnosis.checks import Check
    from kfgcp.model import Run
    from kfgcp.store.store import Store

GROUP: Final = "kfgcp.backends"
"""The entry point group. The name of an entry point is the name of the backend in kfgcp.toml."""


@dataclass(frozen=True, slots=True)
class BackendPlugin:
    """A backend, before it is opened. docs/contributing/backends.md shows how to write one.

    It has either `service` or `open`.

    Attributes:
        settings: the keys of its environments.
        service: returns the service of an environment. kfgcp keeps the runs of the service in the
            store. In its records the service remembers things from one command to the next.
        open: returns the backend of an environment, for a backend that records its runs in the
            store itself.
        checks: returns the checks of `kfgcp doctor`, given the images of the pipeline that will
            run, or None when there is no pipeline.
        is_artifact_of: returns whether an address in the service's own store belongs to a run of
            the environment. The dashboard shows such artifacts to everyone who may see the run.
            None when the service has no store of its own.
        runs_here: the backend executes its runs on this machine, so nothing is read from a service.
        rounds_metrics: the service may keep metrics with six decimals only, as ML Metadata does.

    Example::

        BACKEND = BackendPlugin(settings=ToySettings, service=open_service)
    """

    settings: type[BackendSettings]
    service: Callable[[Project, Environment, ServiceRecords], RunService] | None = None
    open: Callable[[Project, Environment, Store], Backend] | None = None
    checks: Callable[[Project, Environment, Sequence[str] | None], Sequence[Check]] | None = None
    is_artifact_of: Callable[[Environment, Run, str], bool] | None = None
    runs_here: bool = False
    rounds_metrics: bool = False
