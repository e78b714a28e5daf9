"""Images in a registry on this machine, as `docker push` writes them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import requests

from patience import REQUEST

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker.distribution.manifest"


@dataclass(frozen=True)
class PushedManifest:
    """A manifest in a registry.

    Attributes:
        digest: its digest.
        content: its bytes.
        media_type: its media type.
    """

    digest: str
    content: bytes
    media_type: str


def push_image(image: str, text: str, media_type: str = f"{OCI}.manifest.v1+json") -> str:
    """Write an image without layers, and return its digest.

    Args:
        image: the name of the image with its registry, without a tag.
        text: another text makes another image.
        media_type: the form of the manifest.
    """
    config = json.dumps({"os": "linux", "architecture": "amd64", "author": text}).encode()
    host, _, path = image.partition("/")
    upload = requests.post(f"http://{host}/v2/{path}/blobs/uploads/", timeout=REQUEST)
    upload.raise_for_status()
    config_digest = digest_of(config)
    address = upload.headers["Location"]
    separator = "&" if "?" in address else "?"
    requests.put(
        f"{address}{separator}digest={config_digest}",
        data=config,
        headers={"Content-Type": "application/octet-stream"},
        timeout=REQUEST,
    ).raise_for_status()
    config_type = f"{OCI}.config.v1+json"
    if media_type.startswith(DOCKER):
        config_type = "application/vnd.docker.container.image.v1+json"
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": {"mediaType": config_type, "size": len(config), "digest": config_digest},
        "layers": [],
    }
    return push_manifest(image, manifest, media_type)


def push_index(image: str, text: str, media_type: str = f"{OCI}.index.v1+json") -> str:
    """Write an image for two platforms, and return the digest of their list."""
    part_type = f"{OCI}.manifest.v1+json"
    if media_type.startswith(DOCKER):
        part_type = f"{DOCKER}.v2+json"
    parts = []
    for architecture in ("amd64", "arm64"):
        digest = push_image(image, f"{text} {architecture}", part_type)
        size = len(read_manifest(image, digest).content)
        platform = {"os": "linux", "architecture": architecture}
        parts.append({"mediaType": part_type, "size": size, "digest": digest, "platform": platform})
    index = {"schemaVersion": 2, "mediaType": media_type, "manifests": parts}
    return push_manifest(image, index, media_type)


def push_manifest(image: str, manifest: object, media_type: str, tag: str = "") -> str:
    """Write a manifest under its digest or a tag, and return its digest."""
    # Spaces show that nobody writes the JSON again.
    content = json.dumps(manifest, indent=3).encode()
    return _put(image, PushedManifest(digest_of(content), content, media_type), tag)


def tag_image(image: str, digest: str, tag: str) -> None:
    """Let a tag point to a digest, as another program does."""
    _put(image, read_manifest(image, digest), tag)


def read_manifest(image: str, reference: str) -> PushedManifest:
    """Return the manifest that a tag or a digest means."""
    host, _, path = image.partition("/")
    kinds = [f"{OCI}.manifest.v1+json", f"{OCI}.index.v1+json", f"{DOCKER}.v2+json"]
    kinds.append(f"{DOCKER}.list.v2+json")
    answer = requests.get(
        f"http://{host}/v2/{path}/manifests/{reference}",
        headers={"Accept": ", ".join(kinds)},
        timeout=REQUEST,
    )
    answer.raise_for_status()
    return PushedManifest(digest_of(answer.content), answer.content, answer.headers["Content-Type"])


def tags_of(image: str) -> dict[str, str]:
    """Return the digest of each tag of an image."""
    host, _, path = image.partition("/")
    answer = requests.get(f"http://{host}/v2/{path}/tags/list", timeout=REQUEST)
    tags = answer.json().get("tags") or []
    return {tag: read_manifest(image, tag).digest for tag in tags}


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _put(image: str, manifest: PushedManifest, tag: str) -> str:
    host, _, path = image.partition("/")
    requests.put(
        f"http://{host}/v2/{path}/manifests/{tag or manifest.digest}",
        data=manifest.content,
        headers={"Content-Type": manifest.media_type},
        timeout=REQUEST,
    ).raise_for_status()
    return manifest.digest
