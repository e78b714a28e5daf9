"""Load pipelines from Artifact Registry.

The address of a pipeline is `https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/PACKAGE/VERSION`.
VERSION is a tag or `sha256:DIGEST`. A tag can be moved to another version at any time. So kfgcp
first requests the digest of the tag, and the record of a run has the digest.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from typing import Final

from kfgcp.backends.remote_settings import RemoteSettings
from kfgcp.config import Environment
from kfgcp.errors import BadAnswer, UsageError
from kfgcp.services.auth.sign_in import token_source
from kfgcp.services.client import ServiceClient
from kfgcp.services.fields import HINT, message, read, text
from kfgcp.services.redact import redacted_line
from kfgcp.spec.load import Spec, from_text

SERVICE: Final = "Artifact Registry"
_ADDRESS: Final = re.compile(
    r"https://(?P<location>[\w-]+)-kfp\.pkg\.dev"
    r"/(?P<project>[\w.:-]+)/(?P<repository>[\w-]+)/(?P<package>[\w.-]+)"
    r"/(?P<version>sha256:[0-9a-f]{64}|[a-zA-Z][\w.-]{0,127})"
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_API: Final = "https://artifactregistry.googleapis.com"
_TAG: Final = message({"version": text})


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
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise UsageError(
            f"{address} is not the address of a pipeline.",
            hint=(
                "Write https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/PACKAGE/TAG, or"
                " sha256:DIGEST instead of the tag."
            ),
        )
    address_parts = match.groupdict()
    settings = RemoteSettings.of(env.settings)
    emulator = settings.artifact_registry_endpoint
    new_client = partial(
        ServiceClient,
        tokens=token_source(env),
        service=SERVICE,
        seconds=settings.request_seconds,
    )
    version = address_parts["version"]
    if not version.startswith("sha256:"):
        version = _resolve_tag(new_client(emulator or _API), address_parts)
    repository = new_client(emulator or f"https://{address_parts['location']}-kfp.pkg.dev")
    package_path = "/".join(address_parts[name] for name in ("project", "repository", "package"))
    try:
        content = repository.exchange("GET", f"{package_path}/{version}").body.decode()
    except UnicodeDecodeError:
        raise BadAnswer(f"The pipeline at {address} is not UTF-8 text.") from None
    resolved_address = address.removesuffix(address_parts["version"]) + version
    return replace(from_text(content, address), template=resolved_address)


def _resolve_tag(api: ServiceClient, address_parts: dict[str, str]) -> str:
    """Return the digest of the version that a tag points to now.

    Args:
        api: the client of Artifact Registry's API.
        address_parts: the groups of `_ADDRESS`.
    """
    location = f"projects/{address_parts['project']}/locations/{address_parts['location']}"
    package = f"repositories/{address_parts['repository']}/packages/{address_parts['package']}"
    answer = api.get(f"v1/{location}/{package}/tags/{address_parts['version']}")
    tag = read(answer, _TAG, service=SERVICE, thing="a tag")
    version = str(tag.get("version") or "").rpartition("/")[2]
    if not _DIGEST.fullmatch(version):
        raise BadAnswer(
            "Artifact Registry answered with a tag whose version has no digest:"
            f" {redacted_line(version, limit=100)}.",
            hint=HINT,
        )
    return version
