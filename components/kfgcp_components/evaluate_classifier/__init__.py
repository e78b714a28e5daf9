"""The component `evaluate_classifier`, loaded when asked for; `logic` is importable without kfp."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfgcp_components.evaluate_classifier.component import evaluate_classifier

__all__ = ["evaluate_classifier"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kfgcp_components.evaluate_classifier.component import evaluate_classifier

    return evaluate_classifier
