"""Ready-made pipeline components; import them by name: `from kfgcp_components import ingest_table`.

A component is in the folder of its group: `train_classifier` in `train/classifier/`. It is loaded,
and kfp with it, when its name is first asked for. Inside a running task only the `logic` modules
are imported, never the components themselves.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfgcp_components.evaluate.classifier.component import evaluate_classifier
    from kfgcp_components.ingest.table.component import ingest_table
    from kfgcp_components.split.table.component import split_table
    from kfgcp_components.train.classifier.component import train_classifier

__all__ = ["evaluate_classifier", "ingest_table", "split_table", "train_classifier"]

_MODULES = {
    "evaluate_classifier": "evaluate.classifier.component",
    "ingest_table": "ingest.table.component",
    "split_table": "split.table.component",
    "train_classifier": "train.classifier.component",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    component = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = component
    return component


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
