"""Many files and large files are copied with little memory."""

import subprocess
import sys
from pathlib import Path

import pytest

from kfgcp.engine import bucket_copies
from s3_servers import REGION, S3Server, tree
from s3_trees import BUCKET, MIB, digest_of, random_file
from trials import Trial

MOST_BYTES_OF_MEMORY = 400 * MIB

# On Linux, ru_maxrss of a process includes the memory of the process that started it.
TRANSFER = """
import re, resource, sys
from pathlib import Path
from kfgcp.engine import bucket_copies
from kfgcp.bucket_settings import BucketSettings
from kfgcp.services.storage import connect
from kfgcp.services.storage.reachability import ReachabilityChecks

connect._REACHABILITY = ReachabilityChecks(limit=1200)
verb, uri, folder, url, region = sys.argv[1:]
settings = BucketSettings(s3_endpoint=url, s3_region=region, request_seconds=1200)
getattr(bucket_copies, verb)(uri, Path(folder), settings)
status = Path("/proc/self/status")
if status.exists():
    print(int(re.search(r"VmHWM:\\s*(\\d+) kB", status.read_text())[1]) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def in_a_process(verb: str, uri: str, folder: Path, server: S3Server) -> int:
    """Copy in a process of its own, and return the most memory that it needed, in bytes."""
    command = [sys.executable, "-c", TRANSFER, verb, uri, str(folder), server.url, REGION]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return int(process.stdout)


@pytest.mark.usefixtures("signed_in")
@pytest.mark.trial("folders of many small files copied to an S3 server and back")
def test_a_folder_of_many_small_files(server: S3Server, trial: Trial, tmp_path: Path) -> None:
    count = trial.size(sample=300, proof=10_000)
    numbers = trial.random()
    uri = f"s3://{BUCKET}/many"
    place = bucket_copies.copy_path(uri, tmp_path / "there")
    for number in range(count):
        folder = place / f"{number % 23}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file {number}.bin").write_bytes(numbers.randbytes(numbers.randrange(3000)))

    memory = [
        in_a_process("upload", uri, tmp_path / "there", server),
        in_a_process("download", uri, tmp_path / "back", server),
    ]

    assert tree(bucket_copies.copy_path(uri, tmp_path / "back")) == tree(place)
    assert max(memory) < MOST_BYTES_OF_MEMORY
    trial.count("files", count)


@pytest.mark.usefixtures("signed_in")
@pytest.mark.trial("a large file copied to an S3 server and back")
def test_a_large_file(server: S3Server, trial: Trial, tmp_path: Path) -> None:
    """It is uploaded in parts and downloaded in spans. The proof has 2 GiB, more than 31 bits can
    count."""
    size = trial.size(sample=70 * MIB + 1, proof=2048 * MIB + 1)
    uri = f"s3://{BUCKET}/large.bin"
    place = bucket_copies.copy_path(uri, tmp_path / "there")
    digest = random_file(place, size, trial.random())

    memory = [
        in_a_process("upload", uri, tmp_path / "there", server),
        in_a_process("download", uri, tmp_path / "back", server),
    ]

    copy = bucket_copies.copy_path(uri, tmp_path / "back")
    assert copy.stat().st_size == size
    assert digest_of(copy) == digest
    assert max(memory) < MOST_BYTES_OF_MEMORY
    server.client().delete_object(Bucket=BUCKET, Key="large.bin")
    place.unlink()
    copy.unlink()
    trial.count("bytes", size)
