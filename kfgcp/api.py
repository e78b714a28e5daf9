"""The functions of `kfgcp` under their old name, with the warnings and types that they use."""

from __future__ import annotations

from kfgcp.backends.base import Pace
from kfgcp.errors import NotWhole
from kfgcp.tracking.lookup import RunLike
from kfgcp.tracking.notices import NotHeeded, NotRefreshed, RecordedCode

__all__ = ["NotHeeded", "NotRefreshed", "NotWhole", "Pace", "RecordedCode", "RunLike"]


def __getattr__(name: str) -> object:
    from kfgcp.workspace import Workspace, function

    if name.startswith("_") or not hasattr(Workspace, name):
        raise AttributeError(f"module 'kfgcp.api' has no attribute {name!r}")
    return function(name)
