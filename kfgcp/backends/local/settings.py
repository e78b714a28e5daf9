"""The keys of an environment with backend = "local"."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kfgcp import file_uris
from kfgcp.data_folders import is_for_data_only
from kfgcp.errors import ConfigError
from kfgcp.settings import BackendSettings
from kfgcp.translation_tables import Form

# The values of `executor`. `process` is only an option of a run: it refuses containers.
EXECUTORS: Final = ("auto", "docker")


@dataclass(frozen=True, kw_only=True)
class LocalSettings(BackendSettings):
    """The keys of an environment with backend = "local". See docs/guides/local.md.

    Attributes:
        max_parallel: the most tasks that run at the same time. None is a number that depends on the
            processors of this machine.
        executor: how tasks run when a run does not say it: `docker` for all tasks in containers, or
            `auto` as the option `executor` of a run. None is `auto`.
        registry: the folder with the versions of pipelines, relative to kfgcp.toml. None is the
            folder `versions` of the state folder.
        container_credentials: tasks in containers get the Google credentials of the user.
        container_folders: folders that containers may write to, from the folder of kfgcp.toml. A
            container gets a folder when a parameter of its task names the folder or a path in it.
        container_network: the network of containers, as in `docker run --network`. None is the
            default network of the Docker engine.
    """

    max_parallel: int | None = None
    executor: str | None = None
    registry: str | None = None
    container_credentials: bool = False
    container_folders: tuple[str, ...] = ()
    container_network: str | None = None

    form = Form.LOCAL

    def validate(self, where: str) -> None:
        """Check the values of the settings, see `BackendSettings.validate`."""
        super().validate(where)
        if self.max_parallel is not None and self.max_parallel < 1:
            raise ConfigError(f"{where}: max_parallel must be at least 1.")
        if self.executor is not None and self.executor not in EXECUTORS:
            raise ConfigError(
                f"{where}: executor is {self.executor!r}, which is not {' or '.join(EXECUTORS)}.",
                hint='Write executor = "docker" to run all tasks in containers.',
            )
        if self.registry is not None and not self.registry.strip():
            raise ConfigError(f"{where}: registry must be the path of a folder.")

    def writable_folders(self, root: Path, home: Path) -> tuple[str, ...]:
        """Return the absolute paths of `container_folders`.

        Args:
            root: the folder of kfgcp.toml.
            home: the state folder.

        Raises:
            ConfigError: a folder contains the project or the state folder, or is inside the state
                folder, perhaps through a link. A container that may write there could change what
                kfgcp runs and records.
        """
        folders = []
        for name in self.container_folders:
            folder = Path(os.path.normpath(root / file_uris.to_path(name)))
            if not is_for_data_only(folder, root, home):
                raise ConfigError(
                    f"container_folders cannot have {name!r}, which is not a folder for data only.",
                    hint='Name a folder inside the project: container_folders = ["models"]',
                )
            folders.append(str(folder))
        return tuple(folders)
