"""Backends by name; nothing of a backend is imported until an environment asks for it."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from kfgcp.backends.base import Backend
from kfgcp.config import Environment, Project, required_keys
from kfgcp.errors import ConfigError, Unsupported
from kfgcp.store.store import Store

BACKENDS: Final = {
    "local": "kfgcp.backends.local:LocalBackend",
    "vertex": "kfgcp.backends.vertex.backend:VertexBackend",
    "kubeflow": "kfgcp.backends.kubeflow.backend:KubeflowBackend",
}
"""Name -> module and class."""
ROUNDING_BACKENDS: Final = frozenset({"kubeflow"})
"""Backends whose services may keep metrics with six decimals only, as ML Metadata does."""


def open_backend(project: Project, env: Environment, store: Store | None = None) -> Backend:
    """Open the backend of an environment, for one thread.

    Args:
        project: whose environment it is.
        env: the environment.
        store: where its runs are recorded, the store of the project when None. Threads may share it.

    Raises:
        ConfigError: a setting is missing.
        Unsupported: this version does not have the backend.
    """
    if env.backend not in BACKENDS:
        raise Unsupported(
            f"The backend '{env.backend}' of environment '{env.name}' is not there yet.",
            hint=f"This version has: {', '.join(BACKENDS)}.",
        )
    require_settings(env)
    module, _, name = BACKENDS[env.backend].partition(":")
    backend: Backend = getattr(import_module(module), name)(project, env, store or Store(project.home))
    return backend


def require_settings(env: Environment) -> None:
    """Passes an environment that has all that its backend needs.

    Raises:
        ConfigError: a setting is missing.
    """
    missing = [key for key in required_keys(env) if not env.get(key)]
    if missing:
        named = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        raise ConfigError(
            f"Environment '{env.name}' has no {named}, which the backend '{env.backend}' needs.",
            hint=f"Set {named} in [env.{env.name}] of kfgcp.toml.",
        )
