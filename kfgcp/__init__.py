"""One Kubeflow pipeline, unchanged, on a laptop, Vertex AI or your own Kubeflow; every run in one table.

    import kfgcp

    run = kfgcp.submit("pipelines/churn.py", params={"lr": 0.1})
    print(run.wait().state, run.metrics)

Nothing is imported before it is used: `import kfgcp` costs a few milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kfgcp.api import (
        artifacts,
        cancel,
        compare,
        compile,
        dashboard,
        delete,
        diff,
        doctor,
        export,
        import_env,
        init,
        list,
        logs,
        metrics,
        note,
        rerun,
        resume,
        retry,
        run,
        runs,
        show,
        submit,
        tag,
        tasks,
        watch,
    )
    from kfgcp.errors import KfgcpError, RunFailed
    from kfgcp.model import Run, RunState, Task, TaskState

__version__ = "0.1.0"

_HOME = {
    "KfgcpError": "kfgcp.errors",
    "RunFailed": "kfgcp.errors",
    "Run": "kfgcp.model",
    "RunState": "kfgcp.model",
    "Task": "kfgcp.model",
    "TaskState": "kfgcp.model",
    "artifacts": "kfgcp.api",
    "cancel": "kfgcp.api",
    "compare": "kfgcp.api",
    "compile": "kfgcp.api",
    "dashboard": "kfgcp.api",
    "delete": "kfgcp.api",
    "diff": "kfgcp.api",
    "doctor": "kfgcp.api",
    "export": "kfgcp.api",
    "import_env": "kfgcp.api",
    "init": "kfgcp.api",
    "list": "kfgcp.api",
    "logs": "kfgcp.api",
    "metrics": "kfgcp.api",
    "note": "kfgcp.api",
    "rerun": "kfgcp.api",
    "resume": "kfgcp.api",
    "retry": "kfgcp.api",
    "run": "kfgcp.api",
    "runs": "kfgcp.api",
    "show": "kfgcp.api",
    "submit": "kfgcp.api",
    "tag": "kfgcp.api",
    "tasks": "kfgcp.api",
    "watch": "kfgcp.api",
}

__all__ = [
    "KfgcpError",
    "Run",
    "RunFailed",
    "RunState",
    "Task",
    "TaskState",
    "artifacts",
    "cancel",
    "compare",
    "compile",
    "dashboard",
    "delete",
    "diff",
    "doctor",
    "export",
    "import_env",
    "init",
    "list",
    "logs",
    "metrics",
    "note",
    "rerun",
    "resume",
    "retry",
    "run",
    "runs",
    "show",
    "submit",
    "tag",
    "tasks",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'kfgcp' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> Any:
    return sorted(__all__)
