"""Run Kubeflow pipelines unchanged on your machine, Vertex AI or your own Kubeflow.

All runs are in one table:

    import kfgcp

    run = kfgcp.submit("pipelines/churn.py", params={"lr": 0.1})
    print(run.wait().state, run.metrics)

Each function is the method of `Workspace` with the same name, for the project of the current
folder. Names are imported when they are used, so `import kfgcp` costs a few milliseconds.
"""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    # generated: types
    from kfgcp.backends.base import (
        Backend as Backend,
        Deleted as Deleted,
        LogFilter as LogFilter,
        LogLine as LogLine,
        LogTail as LogTail,
        NotRemoved as NotRemoved,
        RunRef as RunRef,
        SubmitRequest as SubmitRequest,
        SupportsArtifacts as SupportsArtifacts,
    )
    from kfgcp.backends.locks import LockOwner as LockOwner, Locked as Locked
    from kfgcp.backends.versions import RegisteredVersion as RegisteredVersion
    from kfgcp.config import (
        Environment as Environment,
        ImageSource as ImageSource,
        Project as Project,
    )
    from kfgcp.config_pipelines import ParamSet as ParamSet, ProjectPipeline as ProjectPipeline
    from kfgcp.config_schedules import ProjectSchedule as ProjectSchedule
    from kfgcp.config_tables import InvalidTable as InvalidTable, TableLeftOut as TableLeftOut
    from kfgcp.cron import Timetable as Timetable
    from kfgcp.deploy.images.images import ImageInfo as ImageInfo, Images as Images
    from kfgcp.deploy.plan.changes import (
        PlanAction as PlanAction,
        PlannedChange as PlannedChange,
        ResourceKind as ResourceKind,
    )
    from kfgcp.deploy.plan.fingerprint import Fingerprint as Fingerprint
    from kfgcp.deploy.plan.plan import Applied as Applied, ApplyStep as ApplyStep, Plan as Plan
    from kfgcp.deploy.schedules.backfill import BackfillStep as BackfillStep
    from kfgcp.deploy.schedules.listing import LiveState as LiveState, ScheduleInfo as ScheduleInfo
    from kfgcp.deploy.schedules.on_service import DeployedSchedule as DeployedSchedule
    from kfgcp.deploy.schedules.schedules import Schedules as Schedules
    from kfgcp.deploy.schedules.tick import TickAction as TickAction, TickResult as TickResult
    from kfgcp.deploy.versions.push import Pushed as Pushed
    from kfgcp.diagnosis.checks import Finding as Finding
    from kfgcp.environments import Imported as Imported
    from kfgcp.errors import (
        AuthError as AuthError,
        BackendError as BackendError,
        BadAnswer as BadAnswer,
        CheckFailed as CheckFailed,
        ConfigError as ConfigError,
        DiskFull as DiskFull,
        IapRefused as IapRefused,
        KfgcpError as KfgcpError,
        MachineError as MachineError,
        MissingExtra as MissingExtra,
        NotFound as NotFound,
        NotWhole as NotWhole,
        ParamError as ParamError,
        Refused as Refused,
        Remedy as Remedy,
        RunFailed as RunFailed,
        RunNotFound as RunNotFound,
        RunTimeout as RunTimeout,
        SpecError as SpecError,
        StateError as StateError,
        Unreachable as Unreachable,
        Unsupported as Unsupported,
        UsageError as UsageError,
    )
    from kfgcp.event import Event as Event, EventKind as EventKind
    from kfgcp.model import (
        Artifact as Artifact,
        Cache as Cache,
        Direction as Direction,
        ErrorInfo as ErrorInfo,
        ErrorKind as ErrorKind,
        JsonValue as JsonValue,
        Metric as Metric,
        Run as Run,
        RunState as RunState,
        Task as Task,
        TaskKind as TaskKind,
        TaskState as TaskState,
    )
    from kfgcp.option_keywords import OptionKeywords as OptionKeywords
    from kfgcp.options import OptionLeftOut as OptionLeftOut, RunOptions as RunOptions
    from kfgcp.project_templates import Template as Template
    from kfgcp.query import RunFilter as RunFilter
    from kfgcp.rules.report import Report as Report, Row as Row, Suppression as Suppression
    from kfgcp.rules.findings import Part as Part, RuleFinding as RuleFinding, Severity as Severity
    from kfgcp.rules.rule import Rule as Rule, Runner as Runner, Target as Target
    from kfgcp.scaffold import Scaffold as Scaffold
    from kfgcp.settings import BackendSettings as BackendSettings, Setting as Setting
    from kfgcp.spec.diff import Change as Change
    from kfgcp.spec.load import Spec as Spec
    from kfgcp.spec.portable_requests import TranslatedRequest as TranslatedRequest
    from kfgcp.spec.registered import RegisteredRef as RegisteredRef
    from kfgcp.spec.source import Source as Source
    from kfgcp.spec.source_map import Location as Location
    from kfgcp.spec.translate import Translated as Translated
    from kfgcp.store.database import DiskFullNote as DiskFullNote
    from kfgcp.store.store import Store as Store
    from kfgcp.tracking.choose import Choice as Choice
    from kfgcp.tracking.compare import Comparison as Comparison
    from kfgcp.tracking.dry_run import DryRun as DryRun
    from kfgcp.tracking.difference import (
        Difference as Difference,
        Missing as Missing,
        VersionChange as VersionChange,
    )
    from kfgcp.tracking.handle import RunHandle as RunHandle, TaskHandle as TaskHandle
    from kfgcp.tracking.notices import (
        NotHeeded as NotHeeded,
        NotRefreshed as NotRefreshed,
        RecordedCode as RecordedCode,
    )
    from kfgcp.tracking.open_project import OpenProject as OpenProject
    from kfgcp.tracking.pipelines import Diff as Diff
    from kfgcp.tracking.submit import Preview as Preview
    from kfgcp.tracking.update_batches import Update as Update
    from kfgcp.tracking.updates import (
        LogWritten as LogWritten,
        RunChanged as RunChanged,
        RunEnded as RunEnded,
        RunUpdate as RunUpdate,
        RunUpdates as RunUpdates,
        TaskChanged as TaskChanged,
    )
    from kfgcp.tracking.versions import Versions as Versions
    from kfgcp.workspace import Workspace as Workspace
    # end

    _workspace = Workspace()
    # generated: functions
    apply = _workspace.apply
    artifacts = _workspace.artifacts
    cancel = _workspace.cancel
    check = _workspace.check
    compare = _workspace.compare
    compile = _workspace.compile
    dashboard = _workspace.dashboard
    delete = _workspace.delete
    destroy = _workspace.destroy
    diff = _workspace.diff
    doctor = _workspace.doctor
    dry_run = _workspace.dry_run
    events = _workspace.events
    export = _workspace.export
    import_env = _workspace.import_env
    init = _workspace.init
    list = _workspace.list
    logs = _workspace.logs
    metrics = _workspace.metrics
    note = _workspace.note
    open = _workspace.open
    plan = _workspace.plan
    push = _workspace.push
    rerun = _workspace.rerun
    resume = _workspace.resume
    retry = _workspace.retry
    run = _workspace.run
    runs = _workspace.runs
    show = _workspace.show
    submit = _workspace.submit
    tag = _workspace.tag
    tasks = _workspace.tasks
    templates = _workspace.templates
    watch = _workspace.watch
    # end

__version__ = "0.2.0"

# Module -> the names of its public types, separated by blanks.
_TYPES: Final = {
    "kfgcp.backends.base": (
        "Backend Deleted LogFilter LogLine LogTail NotRemoved RunRef"
        " SubmitRequest SupportsArtifacts"
    ),
    "kfgcp.backends.locks": "LockOwner Locked",
    "kfgcp.backends.versions": "RegisteredVersion",
    "kfgcp.config": "Environment ImageSource Project",
    "kfgcp.config_pipelines": "ParamSet ProjectPipeline",
    "kfgcp.config_schedules": "ProjectSchedule",
    "kfgcp.config_tables": "InvalidTable TableLeftOut",
    "kfgcp.cron": "Timetable",
    "kfgcp.deploy.images.images": "ImageInfo Images",
    "kfgcp.deploy.plan.changes": "PlanAction PlannedChange ResourceKind",
    "kfgcp.deploy.plan.fingerprint": "Fingerprint",
    "kfgcp.deploy.plan.plan": "Applied ApplyStep Plan",
    "kfgcp.deploy.schedules.backfill": "BackfillStep",
    "kfgcp.deploy.schedules.listing": "LiveState ScheduleInfo",
    "kfgcp.deploy.schedules.on_service": "DeployedSchedule",
    "kfgcp.deploy.schedules.schedules": "Schedules",
    "kfgcp.deploy.schedules.tick": "TickAction TickResult",
    "kfgcp.deploy.versions.push": "Pushed",
    "kfgcp.diagnosis.checks": "Finding",
    "kfgcp.environments": "Imported",
    "kfgcp.errors": (
        "AuthError BackendError BadAnswer CheckFailed ConfigError DiskFull IapRefused KfgcpError"
        " MachineError MissingExtra NotFound NotWhole ParamError Refused Remedy RunFailed"
        " RunNotFound RunTimeout SpecError StateError Unreachable Unsupported UsageError"
    ),
    "kfgcp.event": "Event EventKind",
    "kfgcp.model": (
        "Artifact Cache Direction ErrorInfo ErrorKind JsonValue Metric Run RunState Task TaskKind"
        " TaskState"
    ),
    "kfgcp.option_keywords": "OptionKeywords",
    "kfgcp.options": "OptionLeftOut RunOptions",
    "kfgcp.project_templates": "Template",
    "kfgcp.query": "RunFilter",
    "kfgcp.rules.report": "Report Row Suppression",
    "kfgcp.rules.findings": "Part RuleFinding Severity",
    "kfgcp.rules.rule": "Rule Runner Target",
    "kfgcp.scaffold": "Scaffold",
    "kfgcp.settings": "BackendSettings Setting",
    "kfgcp.spec.diff": "Change",
    "kfgcp.spec.load": "Spec",
    "kfgcp.spec.portable_requests": "TranslatedRequest",
    "kfgcp.spec.registered": "RegisteredRef",
    "kfgcp.spec.source": "Source",
    "kfgcp.spec.source_map": "Location",
    "kfgcp.spec.translate": "Translated",
    "kfgcp.store.database": "DiskFullNote",
    "kfgcp.store.store": "Store",
    "kfgcp.tracking.choose": "Choice",
    "kfgcp.tracking.compare": "Comparison",
    "kfgcp.tracking.dry_run": "DryRun",
    "kfgcp.tracking.difference": "Difference Missing VersionChange",
    "kfgcp.tracking.handle": "RunHandle TaskHandle",
    "kfgcp.tracking.notices": "NotHeeded NotRefreshed RecordedCode",
    "kfgcp.tracking.open_project": "OpenProject",
    "kfgcp.tracking.pipelines": "Diff",
    "kfgcp.tracking.submit": "Preview",
    "kfgcp.tracking.update_batches": "Update",
    "kfgcp.tracking.updates": "LogWritten RunChanged RunEnded RunUpdate RunUpdates TaskChanged",
    "kfgcp.tracking.versions": "Versions",
    "kfgcp.workspace": "Workspace",
}

# The methods of `Workspace` that are also functions. They cannot be read from the class here:
# `from kfgcp import config` first asks this package for the name `config`, and the answer must not
# need `kfgcp.workspace`, which imports such modules itself. So `make reference` writes them.
# generated: function names
_FUNCTIONS: Final = (
    "apply",
    "artifacts",
    "cancel",
    "check",
    "compare",
    "compile",
    "dashboard",
    "delete",
    "destroy",
    "diff",
    "doctor",
    "dry_run",
    "events",
    "export",
    "import_env",
    "init",
    "list",
    "logs",
    "metrics",
    "note",
    "open",
    "plan",
    "push",
    "rerun",
    "resume",
    "retry",
    "run",
    "runs",
    "show",
    "submit",
    "tag",
    "tasks",
    "templates",
    "watch",
)
# end

_MODULE_OF_TYPE: Final = {
    name: module for module, names in _TYPES.items() for name in names.split()
}
_NAMES: Final = sorted(_MODULE_OF_TYPE.keys() | set(_FUNCTIONS))

# Without `compile`, `list` and `open`: `from kfgcp import *` must not replace those of Python.
__all__ = [name for name in _NAMES if not hasattr(builtins, name)]


def __getattr__(name: str) -> object:
    """Import a public name when it is used for the first time."""
    from importlib import import_module

    value: object
    if name in _FUNCTIONS:
        value = import_module("kfgcp.workspace").function(name)
    elif name in _MODULE_OF_TYPE:
        value = getattr(import_module(_MODULE_OF_TYPE[name]), name)
    else:
        raise AttributeError(f"module 'kfgcp' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> builtins.list[str]:
    return _NAMES
