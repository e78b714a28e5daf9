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
    from kfgcp_components.evaluate.explain.component import explain_model
    from kfgcp_components.evaluate.gate.component import gate_model
    from kfgcp_components.evaluate.regressor.component import evaluate_regressor
    from kfgcp_components.evaluate.slices.component import evaluate_slices
    from kfgcp_components.operate.notify.component import notify
    from kfgcp_components.operate.notify_on_exit.component import notify_on_exit
    from kfgcp_components.ship.fetch_model.component import fetch_model
    from kfgcp_components.ship.promote_model.component import promote_model
    from kfgcp_components.ship.register_model.component import register_model
    from kfgcp_components.train.classifier.component import train_classifier
    from kfgcp_components.train.regressor.component import train_regressor

__all__ = [
    "copy_files",
    "detect_drift",
    "evaluate_classifier",
    "evaluate_regressor",
    "evaluate_slices",
    "explain_model",
    "fetch_model",
    "gate_model",
    "ingest_table",
    "notify",
    "notify_on_exit",
    "profile_table",
    "promote_model",
    "register_model",
    "split_table",
    "train_classifier",
    "train_regressor",
    "validate_table",
]

_MODULES = {
    "copy_files": "data.copy_files.component",
    "detect_drift": "data.detect_drift.component",
    "evaluate_classifier": "evaluate.classifier.component",
    "evaluate_regressor": "evaluate.regressor.component",
    "evaluate_slices": "evaluate.slices.component",
    "explain_model": "evaluate.explain.component",
    "fetch_model": "ship.fetch_model.component",
    "gate_model": "evaluate.gate.component",
    "ingest_table": "data.ingest_table.component",
    "notify": "operate.notify.component",
    "notify_on_exit": "operate.notify_on_exit.component",
    "profile_table": "data.profile_table.component",
    "promote_model": "ship.promote_model.component",
    "register_model": "ship.register_model.component",
    "split_table": "data.split_table.component",
    "train_classifier": "train.classifier.component",
    "train_regressor": "train.regressor.component",
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
