"""The component `split_table`, loaded when asked for; `logic` is importable without kfp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfgcp_components.split_table.component import split_table

__all__ = ["split_table"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kfgcp_components.split_table.component import split_table

    return split_table
