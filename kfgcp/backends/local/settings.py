"""The keys of an environment with backend = "local"."""

from __future__ import annotations

from dataclasses import dataclass

from kfgcp.errors import ConfigError
from kfgcp.settings import BackendSettings
from kfgcp.translation_tables import Form


@dataclass(frozen=True, kw_only=True)
class LocalSettings(BackendSettings):
    """The keys of an environment with backend = "local". See docs/guides/local.md.

    Attributes:
        max_parallel: the most tasks that run at the same time. None is a number that depends on the
            processors of this machine.
        registry: the folder with the versions of pipelines, relative to kfgcp.toml. None is the
            folder `versions` of the state folder.
        container_credentials: tasks in containers get the Google credentials of the user.
    """

    max_parallel: int | None = None
    registry: str | None = None
    container_credentials: bool = False

    form = Form.LOCAL

    def validate(self, where: str) -> None:
        """Check the values of the settings, see `BackendSettings.validate`."""
        super().validate(where)
        if self.max_parallel is not None and self.max_parallel < 1:
            raise ConfigError(f"{where}: max_parallel must be at least 1.")
        if self.registry is not None and not self.registry.strip():
            raise ConfigError(f"{where}: registry must be the path of a folder.")
