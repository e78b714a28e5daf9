"""A workspace: one project with its store and its backends. Every verb of kfgcp is a method of it.

The methods are in base classes of `Workspace`, by their subject: `StartMethods`, `RunMethods`,
`ListMethods`, `DeployMethods` and `ProjectMethods`.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from kfgcp.errors import KfgcpError, UsageError
from kfgcp.tracking.open_project import OpenProject
from kfgcp.workspace.deploy_methods import DeployMethods
from kfgcp.workspace.list_methods import ListMethods
from kfgcp.workspace.project_methods import ProjectMethods
from kfgcp.workspace.start_methods import StartMethods

# Held while `_default` is read or replaced, because all threads share it.
_guard: Final = threading.Lock()

# The public methods that are not functions of `kfgcp`: only other parts of kfgcp use them, or they
# return a workspace. Every other public method is also a function.
_METHODS_ONLY: Final = frozenset(
    {
        "default",
        "deleted_artifacts",
        "images",
        "load_pipeline",
        "plan_of_file",
        "plan_to_destroy",
        "preview",
        "renewed",
        "schedules",
        "spec_of",
        "unread",
        "versions",
    }
)


class Workspace(StartMethods, ListMethods, DeployMethods, ProjectMethods):
    """One project: the configuration in its kfgcp.toml, the store of its runs, and its backends.

    Runs that a workspace returns belong to it, also after the current folder changes. Two
    workspaces in one program do not affect each other. Several threads can use the same workspace.

    Attributes:
        project: the configuration.
        store: the index of the runs of all environments.

    Example::

        with kfgcp.Workspace.open("../other") as other:
            other.run("pipelines/churn.py", params={"lr": 0.1}).metrics
    """

    @classmethod
    def open(cls, path: str | Path | None = None) -> Self:
        """Open the project of a folder.

        Args:
            path: the folder, or a kfgcp.toml. The project is that of the nearest kfgcp.toml, from
                the folder upwards; without one, it has the single environment `local`. None is the
                current folder.

        Raises:
            UsageError: there is no such folder.
            ConfigError: kfgcp.toml cannot be read or is not valid.
            StateError: the state folder cannot be used, or was written by a newer kfgcp.

        Example::

            workspace = kfgcp.Workspace.open("../other")
            workspace.list(limit=10)
        """
        workspace = cls(None if path is None else _find_folder(Path(path)))
        # Read both properties now, so that their errors do not come at the first use.
        _ = workspace.project
        _ = workspace.recorded_store
        return workspace

    @staticmethod
    def default() -> Workspace:
        """Return the workspace of the current folder, which the functions of `kfgcp` use.

        Calls return the same workspace until something changes, see `renewed`.
        """
        global _default
        with _guard:
            _default = (_default or Workspace()).renewed()
            # Read the configuration now, so that `renewed` can compare it later. The verb that
            # needs the configuration raises its error again.
            with suppress(KfgcpError):
                _ = _default.project
            return _default

    def renewed(self) -> Workspace:
        """Return this workspace, or a new one when something has changed.

        Something has changed when kfgcp.toml or a variable has another value, the state folder was
        replaced, or the workspace was closed. A workspace that was opened without a folder follows
        the current folder. A kfgcp.toml that is not valid raises its error later, when the
        configuration is used.
        """
        new_workspace = Workspace(self._folder)
        if self._is_closed:
            return new_workspace
        if self._project is None:
            return self
        try:
            has_same_project = new_workspace.project == self._project
        except KfgcpError:
            return new_workspace
        return self if has_same_project and self.is_current else new_workspace


# The workspace that `Workspace.default` returned last.
_default: Workspace | None = None


def function_names() -> list[str]:
    """Return the names of the methods that are also functions of `kfgcp`, sorted.

    After a change, `make reference` writes them into `kfgcp/__init__.py`.
    """
    own_names = set(dir(Workspace)) - set(dir(OpenProject)) - _METHODS_ONLY
    return sorted(name for name in own_names if not name.startswith("_"))


def function(name: str) -> Callable[..., object]:
    """Return a method of `Workspace` as a function over `Workspace.default()`.

    A method that needs no workspace is returned as it is.
    """
    method = inspect.getattr_static(Workspace, name)
    if isinstance(method, (staticmethod, classmethod)):
        bound: Callable[..., object] = getattr(Workspace, name)
        return bound

    def call(*arguments: object, **options: object) -> object:
        return method(Workspace.default(), *arguments, **options)

    functools.update_wrapper(call, method)
    signature = inspect.signature(method)
    # Without `self`.
    parameters = list(signature.parameters.values())[1:]
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    # pickle finds a function by these names.
    call.__module__ = "kfgcp"
    call.__qualname__ = name
    return call


def _find_folder(path: Path) -> Path:
    """Return the folder of a path that is a folder or a kfgcp.toml."""
    folder = path.parent if path.is_file() else path
    if not folder.is_dir():
        raise UsageError(
            f"There is no folder {path}.",
            hint="Choose the folder of a project, or create a project: kfgcp init FOLDER",
        )
    return folder.absolute()
