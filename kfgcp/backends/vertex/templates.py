"""Load pipelines by their addresses in Artifact Registry.

A tag can be moved to another version at any time. So kfgcp first requests the digest of the tag,
and the record of a run has the digest.
"""

from __future__ import annotations

from dataclasses import replace

from kfgcp.backends.remote_settings import RemoteSettings
from kfgcp.backends.vertex.registry_addresses import REPOSITORY_FORM, parse_version
from kfgcp.backends.vertex.registry_client import RepositoryClient
from kfgcp.config import Environment
from kfgcp.errors import UsageError
from kfgcp.spec.load import Spec, from_text


def is_template(pipeline: str) -> bool:
    """Return whether the argument PIPELINE is an address, and not a file."""
    return pipeline.startswith("https://")


def load_template(address: str, env: Environment) -> Spec:
    """Load the pipeline at an address. `Spec.template` is the same address with the digest.

    Args:
        address: the address of a version in Artifact Registry.
        env: the environment whose sign-in the requests use. It may have any backend.

    Raises:
        UsageError: `address` is not the address of a pipeline.
        NotFound: Artifact Registry has no such version.
        SpecError: the version is not a valid PipelineSpec.
    """
    version = parse_version(address)
    if version is None:
        raise UsageError(
            f"{address} is not the address of a pipeline.",
            hint=(f"Write {REPOSITORY_FORM}/PACKAGE/TAG, or sha256:DIGEST instead of the tag."),
        )
    settings = RemoteSettings.of(env.settings)
    client = RepositoryClient(
        version.repository,
        env,
        endpoint=settings.artifact_registry_endpoint,
        seconds=settings.request_seconds,
    )
    if not version.has_digest:
        digest = client.read_tag(version.package, version.label)
        version = replace(version, label=digest)
    content = client.download(version.package, version.label)
    return replace(from_text(content, address), template=version.url)
