"""The settings of the engine that are not options of the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kfgcp.bucket_settings import DEFAULTS, BucketSettings
from kfgcp.translation_tables import Secret

GRACE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """The settings that the backend chooses. The user's own choices are in `RunOptions`.

    Attributes:
        grace: seconds between asking a task to end and killing it.
        submit_dir: the folder that relative paths start from.
        repeats: the id of an earlier run. This run takes the results of unchanged tasks from it.
        from_task: the path of a task. This task and all tasks that depend on it run again, even
            when they are unchanged.
        container_credentials: whether containers get the Google credentials of this machine.
        container_folders: the absolute paths of folders that containers may write to.
        container_network: the network of containers. Empty for the default one.
        project_root: the folder of kfgcp.toml. Empty when it is not known.
        buckets: the addresses of object stores, and how long an answer may take.
        secrets: where the secrets of the environment are, by their names.
    """

    grace: float = GRACE_SECONDS
    submit_dir: str = ""
    repeats: str | None = None
    from_task: str | None = None
    container_credentials: bool = False
    container_folders: Sequence[str] = ()
    container_network: str = ""
    project_root: str = ""
    buckets: BucketSettings = DEFAULTS
    secrets: Mapping[str, Secret] = field(default_factory=dict)
