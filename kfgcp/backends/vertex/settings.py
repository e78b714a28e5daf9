"""The keys of an environment with backend = "vertex"."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from kfgcp.backends.remote_settings import RemoteSettings
from kfgcp.backends.vertex.registry_addresses import REPOSITORY_FORM, parse_repository
from kfgcp.errors import ConfigError
from kfgcp.translation_tables import Form

FAILURE_POLICIES: Final = ("slow", "fast")


@dataclass(frozen=True, kw_only=True)
class VertexSettings(RemoteSettings):
    """The keys of an environment with backend = "vertex". See docs/guides/vertex.md.

    Attributes:
        project: the Google Cloud project.
        location: the region, `us`, `eu` or `global`.
        pipeline_root: the folder for artifacts, `gs://BUCKET/FOLDER`.
        network: the VPC network that is peered with the network of the jobs.
        psc_network_attachment: the network attachment for Private Service Connect.
        reserved_ip_ranges: the names of the IP ranges in `network` that jobs may use.
        encryption_key: the Cloud KMS key that encrypts the data of the jobs.
        failure_policy: `slow` runs all tasks that can still run after a task failed. `fast` starts
            no new tasks then.
        preflight_validations: Vertex AI checks a job before it starts.
        experiment_tracking: kfgcp adds each run to its experiment in Vertex AI Experiments.
        pipeline_registry: the repository in Artifact Registry for versions of pipelines,
            `https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY`. Its format is KFP.
    """

    project: str
    location: str
    # BackendSettings gives this key a default. `field()` removes the default, so the key is
    # required for Vertex AI.
    pipeline_root: str = field()
    network: str | None = None
    psc_network_attachment: str | None = None
    reserved_ip_ranges: tuple[str, ...] = ()
    encryption_key: str | None = None
    failure_policy: str | None = None
    preflight_validations: bool = False
    experiment_tracking: bool = False
    pipeline_registry: str | None = None

    form = Form.VERTEX
    signs_in_to_google = True

    def validate(self, where: str) -> None:
        """Check the values of the settings, see `BackendSettings.validate`."""
        super().validate(where)
        if self.failure_policy is not None and self.failure_policy not in FAILURE_POLICIES:
            raise ConfigError(
                f"{where}: failure_policy is {self.failure_policy!r}, which Vertex AI does not"
                " know.",
                hint=f"Set failure_policy to one of: {', '.join(FAILURE_POLICIES)}.",
            )
        if not self.pipeline_root.startswith("gs://"):
            raise ConfigError(
                f"{where}: pipeline_root is {self.pipeline_root!r}, not in Cloud Storage.",
                hint="Write gs://BUCKET/FOLDER.",
            )
        registry = self.pipeline_registry
        if registry is not None and parse_repository(registry) is None:
            raise ConfigError(
                f"{where}: pipeline_registry is {registry!r}, not the address of a repository.",
                hint=f"Write {REPOSITORY_FORM}.",
            )
        for range_name in self.reserved_ip_ranges:
            if not isinstance(range_name, str):
                raise ConfigError(
                    f"{where}: reserved_ip_ranges contains {range_name!r}, which is not a text."
                )
