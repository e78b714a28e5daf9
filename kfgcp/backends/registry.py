"""Backends by name; nothing of a backend is imported until an environment asks for it."""

from __future__ import annotations

from importlib import import_module
from typing import Final

from kfgcp.backends.base import Backend
from kfgcp.config import Environment, Project
from kfgcp.errors import Unsupported

_BACKENDS: Final = {"local": "kfgcp.backends.local:LocalBackend"}


def open_backend(project: Project, env: Environment) -> Backend:
    """The backend of an environment, ready to use.

    Raises:
        Unsupported: this version has no such backend yet.
    """
    if env.backend not in _BACKENDS:
        raise Unsupported(
            f"The backend '{env.backend}' of environment '{env.name}' is not there yet.",
            hint=f"This version has: {', '.join(_BACKENDS)}.",
        )
    module, _, name = _BACKENDS[env.backend].partition(":")
    backend: Backend = getattr(import_module(module), name)(project, env)
    return backend
