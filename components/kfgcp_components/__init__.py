"""Ready-made pipeline components; import them by name: `from kfgcp_components import ingest_table`.

A component is loaded, and kfp with it, when its name is first asked for. Inside a running task only the
`logic` modules are imported, never the components themselves.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfgcp_components.evaluate_classifier.component import evaluate_classifier
    from kfgcp_components.ingest_table.component import ingest_table
    from kfgcp_components.split_table.component import split_table
    from kfgcp_components.train_classifier.component import train_classifier

__all__ = ["evaluate_classifier", "ingest_table", "split_table", "train_classifier"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    component = getattr(import_module(f"{__name__}.{name}.component"), name)
    globals()[name] = component
    return component


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package, where a component's name means the component and not the folder it lives in.

    Importing `kfgcp_components.ingest_table.logic` makes Python bind the folder `ingest_table` here as an
    attribute. Without this class, what `from kfgcp_components import ingest_table` means would depend on what
    was imported before.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name in __all__ and isinstance(value, ModuleType):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
