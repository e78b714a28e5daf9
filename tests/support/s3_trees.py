"""Files in the bucket of an S3 server, and the settings that lead there."""

import hashlib
import random
from pathlib import Path
from typing import Any

from kfgcp.bucket_settings import BucketSettings
from s3_servers import REGION, S3Server

BUCKET = "artifacts"
MIB = 1 << 20


def settings(url: str, **options: Any) -> BucketSettings:
    """Return the settings of a server at an address."""
    return BucketSettings(s3_endpoint=url, s3_region=REGION, **options)


def write_tree(folder: Path, names: tuple[str, ...]) -> None:
    """Write files whose contents name them."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"content of {name}".encode())


def keys(server: S3Server, prefix: str) -> list[str]:
    """Return the keys of the objects below a prefix, sorted."""
    answer = server.client().list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return sorted(item["Key"] for item in answer.get("Contents", ()))


def random_file(path: Path, size: int, numbers: random.Random) -> str:
    """Write a file, and return the digest of its content."""
    digest = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            block = numbers.randbytes(min(MIB, size - start))
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    """Return the SHA-256 digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
