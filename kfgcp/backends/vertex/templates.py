"""Pipelines in Artifact Registry:
`https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/PACKAGE/VERSION`.

VERSION is a tag, or `sha256:` and a digest. A tag may be moved, so it is resolved first: what runs,
and what the run says it was made from, is one version.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

from kfgcp.backends.remote_settings import RemoteSettings
from kfgcp.config import Environment
from kfgcp.errors import BadAnswer, UsageError
from kfgcp.services.auth.sign_in import token_source
from kfgcp.services.client import ServiceClient
from kfgcp.services.fields import HINT, message, read, text
from kfgcp.services.redact import redacted_line
from kfgcp.spec.load import Spec, from_text

_ADDRESS: Final = re.compile(
    r"https://(?P<location>[\w-]+)-kfp\.pkg\.dev/(?P<project>[\w.:-]+)/(?P<repository>[\w-]+)/(?P<package>[\w.-]+)"
    r"/(?P<version>sha256:[0-9a-f]{64}|[a-zA-Z][\w.-]{0,127})"
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_API: Final = "https://artifactregistry.googleapis.com"


def is_template(pipeline: str) -> bool:
    """Whether a text names a pipeline by its address."""
    return pipeline.startswith("https://")


def load_template(address: str, env: Environment) -> Spec:
    """The pipeline at an address, with the digest of its version.

    Raises:
        UsageError: it is no address of a pipeline.
        NotFound: there is no such version.
        SpecError: it is not a valid PipelineSpec.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise UsageError(
            f"{address} is not the address of a pipeline.",
            hint=(
                "https://LOCATION-kfp.pkg.dev/PROJECT/REPOSITORY/PACKAGE/TAG, or sha256:DIGEST in"
                " place of the tag."
            ),
        )
    place = match.groupdict()
    # The environment may have any backend, `local` too: it is only about the sign-in.
    settings = RemoteSettings.of(env.settings)
    emulator = settings.artifact_registry_endpoint
    tokens = token_source(env)
    how: dict[str, Any] = {"service": "Artifact Registry", "seconds": settings.request_seconds}
    version = place["version"]
    if not version.startswith("sha256:"):
        version = _resolve(ServiceClient(emulator or _API, tokens, **how), place)
    host = emulator or f"https://{place['location']}-kfp.pkg.dev"
    repository = ServiceClient(host, tokens, **how)
    path = f"{place['project']}/{place['repository']}/{place['package']}/{version}"
    try:
        content = repository.exchange("GET", path).body.decode()
    except UnicodeDecodeError:
        raise BadAnswer(
            f"The template that Artifact Registry has at {address} is not text."
        ) from None
    return replace(
        from_text(content, address), template=address.removesuffix(place["version"]) + version
    )


def _resolve(api: ServiceClient, place: dict[str, str]) -> str:
    """The version that a tag stands for now."""
    parent = f"v1/projects/{place['project']}/locations/{place['location']}/repositories/{place['repository']}"
    tag = api.get(f"{parent}/packages/{place['package']}/tags/{place['version']}")
    named = (
        read(tag, message({"version": text}), service="Artifact Registry", thing="a tag").get(
            "version"
        )
        or ""
    )
    version = str(named).rpartition("/")[2]
    if not _DIGEST.fullmatch(version):
        raise BadAnswer(
            "Artifact Registry answered with a tag that does not name a version:"
            f" {redacted_line(version, limit=100)}.",
            hint=HINT,
        )
    return version
