"""The component `ingest_table`, loaded when asked for; `logic` is importable without kfp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfgcp_components.ingest_table.component import ingest_table

__all__ = ["ingest_table"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kfgcp_components.ingest_table.component import ingest_table

    return ingest_table
