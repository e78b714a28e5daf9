"""Measure copies between this machine and a bucket, beside cloudpathlib.

The server is one of tests/support/s3_servers.py. It gets many small files, then one large file.
Each copy runs in a process of its own. The table has its seconds and its peak memory.

    make .venv-stores/stamp
    .venv/bin/python benchmarks/transfers.py --files 2000 --mib 500
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from s3_servers import REGION, SERVERS, S3Server

BUCKET = "bench"
KFGCP = """
from kfgcp.engine import bucket_copies
from kfgcp.bucket_settings import BucketSettings

def run(verb, uri, folder):
    getattr(bucket_copies, verb)(uri, folder, BucketSettings(s3_endpoint=url, s3_region=region))
"""
CLOUDPATHLIB = """
from cloudpathlib import S3Client
from kfgcp.engine import bucket_copies

def run(verb, uri, folder):
    path = S3Client(endpoint_url=url).CloudPath(uri)
    place = bucket_copies.copy_path(uri, folder)
    if verb == "upload":
        path.upload_from(place)
    elif path.is_dir():
        path.copytree(place)
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        path.download_to(place)
"""
MEASURE = """
import resource, sys, time
from pathlib import Path

verb, uri, folder, url, region = sys.argv[1:]
exec(sys.stdin.read())
start = time.perf_counter()
run(verb, uri, Path(folder))
seconds = time.perf_counter() - start
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def main() -> None:
    """Start the server, measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=2000, help="small files, of 1,000 bytes each")
    parser.add_argument("--mib", type=int, default=500, help="size of the large file")
    parser.add_argument("--server", choices=sorted(SERVERS), default="gofakes3")
    options = parser.parse_args()
    with SERVERS[options.server]() as server, tempfile.TemporaryDirectory() as folder:
        server.client().create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        print(
            f"{options.server}: {options.files} files of 1,000 bytes, and one of {options.mib} MiB"
        )
        print("what                         kfgcp            cloudpathlib")
        for label, kfgcp, cloudpathlib in measure_all(
            server, Path(folder), options.files, options.mib
        ):
            print(f"{label:20} {kfgcp:>20} {cloudpathlib:>20}")


def measure_all(
    server: S3Server, folder: Path, files: int, mib: int
) -> Iterator[tuple[str, str, str]]:
    """Yield a row for each kind of copy."""
    for name in ("kfgcp", "cloudpathlib"):
        make_files(folder / name, name, files, mib)
    for kind in ("many", "large"):
        for verb in ("upload", "download"):
            cells = []
            for name, code in (("kfgcp", KFGCP), ("cloudpathlib", CLOUDPATHLIB)):
                place = folder / name if verb == "upload" else folder / f"{name}-back"
                cells.append(measure(server, verb, f"s3://{BUCKET}/{name}-{kind}", place, code))
            yield f"{verb} {kind}", cells[0], cells[1]


def make_files(folder: Path, name: str, files: int, mib: int) -> None:
    """Write the files that will be copied, where the engine keeps the copies of a bucket."""
    from kfgcp.engine import bucket_copies

    many = bucket_copies.copy_path(f"s3://{BUCKET}/{name}-many", folder)
    many.mkdir(parents=True)
    for number in range(files):
        (many / f"{number}.bin").write_bytes(os.urandom(1000))
    with bucket_copies.copy_path(f"s3://{BUCKET}/{name}-large", folder).open("wb") as file:
        for _ in range(mib):
            file.write(os.urandom(1 << 20))


def measure(server: S3Server, verb: str, uri: str, folder: Path, code: str) -> str:
    """Return the seconds and the memory of one copy in a process of its own."""
    variables = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_DEFAULT_REGION": REGION,
    }
    command = [sys.executable, "-c", MEASURE, verb, uri, str(folder), server.url, REGION]
    process = subprocess.run(
        command, env=variables, input=code, capture_output=True, text=True, check=False
    )
    if process.returncode:
        # The copy failed, so the cell shows the last line of the error instead of figures.
        return process.stderr.strip().splitlines()[-1][:60]
    seconds, mib = (float(figure) for figure in process.stdout.split())
    return f"{seconds:.1f} s, {mib:.0f} MiB"


if __name__ == "__main__":
    main()
