"""The description of a backend, which an entry point of the group `kfgcp.backends` names.

The description has functions that open the backend. So the modules of a backend are imported only
when a command needs the backend.
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
    from kfgcp.rules.rule import Rule
    from kfgcp.rules.versions import Version
    from kfgcp.store.store import Store

GROUP: Final = "kfgcp.backends"
"""The entry point group. The name of an entry point is the name of the backend in kfgcp.toml."""


@dataclass(frozen=True, slots=True)
class BackendPlugin:
    """A backend, before it is opened. docs/contributing/backends.md shows how to write a backend.

    A plug-in sets either `service` or `open`.

    Attributes:
        settings: the class with the keys of the backend's environments.
        service: returns the service of an environment. kfgcp records the runs of the service in the
            store. The service keeps its own data from one command to the next in its
            `ServiceRecords`.
        open: returns the backend of an environment, for a backend that records its runs in the
            store itself.
        checks: returns the checks of `kfgcp doctor`. Its last argument is the images of the
            pipeline that will run, or None without a pipeline.
        is_artifact_of: returns whether an address in the service's own store belongs to a run of
            the environment. The dashboard shows these artifacts to everyone who may see the run.
            None when the service has no store of its own.
        runs_here: whether the backend executes its runs on this machine. Then nothing is read from
            a service.
        rules: returns what `kfgcp check` knows of the backend, see `kfgcp.rules.rule`. It is called
            only when a pipeline is checked.
        versions: the releases of the server that the rules know, the oldest first; empty for a
            service without versions.
        seen_version: returns the version of the server that kfgcp read last, None when it never
            read one. It sends no request. None for a service without versions.
        newest_release: the version to check for when the version of the server is not known. None
            for the last one of `versions`, which may not be released yet.
        rounds_metrics: whether the service may round metrics to six decimals, as ML Metadata does.

    Example::

        BACKEND = BackendPlugin(settings=ToySettings, service=open_service)
    """

    settings: type[BackendSettings]
    service: Callable[[Project, Environment, ServiceRecords], RunService] | None = None
    open: Callable[[Project, Environment, Store], Backend] | None = None
    checks: Callable[[Project, Environment, Sequence[str] | None], Sequence[Check]] | None = None
    is_artifact_of: Callable[[Environment, Run, str], bool] | None = None
    rules: Callable[[], Sequence[Rule]] | None = None
    versions: tuple[tuple[int, ...], ...] = ()
    newest_release: tuple[int, ...] | None = None
    seen_version: Callable[[Environment, ServiceRecords], Version | None] | None = None
    runs_here: bool = False
    rounds_metrics: bool = False
