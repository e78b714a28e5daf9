"""Load pipelines from Artifact Registry.

Their addresses are `https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/PACKAGE/VERSION`. VERSION is a
tag, or `sha256:` and a digest. A tag may be moved. So it is resolved to a digest before the
pipeline is read, and a run records the version that it really has.
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
    """Return whether a text names a pipeline by its address."""
    return pipeline.startswith("https://")


def load_template(address: str, env: Environment) -> Spec:
    """Return the pipeline at an address. Its template has the digest of the version.

    Args:
        address: of a version in Artifact Registry.
        env: the environment whose sign-in is used. It may have any backend.

    Raises:
        UsageError: the text is not the address of a pipeline.
        NotFound: there is no such version.
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
    parts = match.groupdict()
    settings = RemoteSettings.of(env.settings)
    emulator = settings.artifact_registry_endpoint
    client = partial(
        ServiceClient,
        tokens=token_source(env),
        service=SERVICE,
        seconds=settings.request_seconds,
    )
    version = parts["version"]
    if not version.startswith("sha256:"):
        version = _resolve_tag(client(emulator or _API), parts)
    repository = client(emulator or f"https://{parts['location']}-kfp.pkg.dev")
    path = f"{parts['project']}/{parts['repository']}/{parts['package']}/{version}"
    try:
        content = repository.exchange("GET", path).body.decode()
    except UnicodeDecodeError:
        raise BadAnswer(
            f"The template that Artifact Registry has at {address} is not text."
        ) from None
    resolved_address = address.removesuffix(parts["version"]) + version
    return replace(from_text(content, address), template=resolved_address)


def _resolve_tag(api: ServiceClient, parts: dict[str, str]) -> str:
    """Return the digest of the version that a tag names now."""
    place = f"projects/{parts['project']}/locations/{parts['location']}"
    package = f"repositories/{parts['repository']}/packages/{parts['package']}"
    answer = api.get(f"v1/{place}/{package}/tags/{parts['version']}")
    tag = read(answer, _TAG, service=SERVICE, thing="a tag")
    version = str(tag.get("version") or "").rpartition("/")[2]
    if not _DIGEST.fullmatch(version):
        raise BadAnswer(
            "Artifact Registry answered with a tag that does not name a version:"
            f" {redacted_line(version, limit=100)}.",
            hint=HINT,
        )
    return version
