"""Ready-made pipeline components. Import them by name: `from kfgcp_components import ingest_table`.

A component is in the folder of its group: `train_classifier` is in `train/classifier/`. The first
use of a name imports the component and kfp. A running task imports only the `logic` modules, never
the components themselves.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kfgcp_components.data.copy_files.component import copy_files
    from kfgcp_components.data.detect_drift.component import detect_drift
    from kfgcp_components.data.ingest_table.component import ingest_table
    from kfgcp_components.data.profile_table.component import profile_table
    from kfgcp_components.data.split_table.component import split_table
    from kfgcp_components.data.validate_table.component import validate_table
    from kfgcp_components.evaluate.classifier.component import evaluate_classifier
    from kfgcp_components.train.classifier.component import train_classifier

__all__ = [
    "copy_files",
    "detect_drift",
    "evaluate_classifier",
    "ingest_table",
    "profile_table",
    "split_table",
    "train_classifier",
    "validate_table",
]

_MODULES = {
    "copy_files": "data.copy_files.component",
    "detect_drift": "data.detect_drift.component",
    "evaluate_classifier": "evaluate.classifier.component",
    "ingest_table": "data.ingest_table.component",
    "profile_table": "data.profile_table.component",
    "split_table": "data.split_table.component",
    "train_classifier": "train.classifier.component",
    "validate_table": "data.validate_table.component",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES[name]}")
    component: object = getattr(module, name)
    # Python calls this function only for names that the module does not have.
    globals()[name] = component
    return component


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
