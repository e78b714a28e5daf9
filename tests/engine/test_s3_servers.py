"""Artifacts on servers of other people that speak the protocol of S3, and that break a connection
now and then."""

import hashlib
import json
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kfgcp.bucket_settings import BucketSettings
from kfgcp.engine import bucket_copies
from kfgcp.errors import NotFound, Refused
from kfgcp.model import Artifact
from kfgcp.services.storage import gcs, objects, preview, retry, s3
from kfgcp.services.storage.bucket import StoredObject
from kfgcp.services.storage.problems import StorageProblem
from kfgcp.testing.storage import Storage
from kfgcp.tracking import artifact_contents
from patience import PROCESS
from s3_servers import (
    HOST,
    REGION,
    SERVERS,
    CuttingProxy,
    S3Server,
    forget_s3_settings,
    free_port,
    tree,
)
from trials import Trial

pytest.importorskip("boto3", reason="the extra s3 is not installed")

BUCKET = "artifacts"
MIB = 1 << 20
ODD_NAMES = (
    "with space.txt",
    " first",
    "ünïcode-日本-😀.txt",
    "100%.txt",
    "a%20b",
    "a+b",
    "question?mark#hash",
    "quote'\"&<>",
    "semi;colon=equals,comma@at$dollar!",
    "back\\slash",
    "tilde~(brackets)[square]{curly}",
    "deep/er/and/deeper/file",
    ".hidden",
)


@pytest.fixture(scope="module", params=sorted(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[S3Server]:
    with SERVERS[request.param]() as server:
        server.client().create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield server


@pytest.fixture(autouse=True)
def own_clients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the machine counts, and no client or result of another test."""
    forget_s3_settings(monkeypatch, tmp_path)
    monkeypatch.setattr(gcs, "READ_SECONDS", PROCESS)


@pytest.fixture
def signed_in(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)


@pytest.fixture
def named_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the name of the servers, and all below it, lead to this machine."""
    look_up = socket.getaddrinfo

    def local(host: Any, *arguments: Any, **options: Any) -> Any:
        is_server = isinstance(host, str) and (host == HOST or host.endswith(f".{HOST}"))
        return look_up("127.0.0.1" if is_server else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", local)


def settings(url: str, **options: Any) -> BucketSettings:
    return BucketSettings(s3_endpoint=url, s3_region=REGION, **options)


def write_tree(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"content of {name}".encode())


def keys(server: S3Server, prefix: str) -> list[str]:
    answer = server.client().list_objects_v2(Bucket=BUCKET, Prefix=prefix)
    return sorted(item["Key"] for item in answer.get("Contents", ()))


# -- addresses, regions, credentials


@pytest.mark.usefixtures("signed_in", "named_hosts")
@pytest.mark.parametrize("addressing", ["", "path", "virtual"])
@pytest.mark.parametrize("scheme", ["s3", "minio"])
def test_an_artifact_goes_there_and_comes_back(
    server: S3Server, scheme: str, addressing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With virtual addressing the bucket is in the name of the host, and nowhere else."""
    hosts: list[str] = []
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *rest, **more: hosts.append(host) or look_up(host, *rest),
    )
    host = HOST if addressing == "virtual" else server.path_host
    where = settings(f"http://{host}:{server.port}", s3_addressing=addressing)
    uri = f"{scheme}://{BUCKET}/{addressing or 'none'}/model.txt"
    place = bucket_copies.copy_path(uri, tmp_path / "there")
    place.parent.mkdir(parents=True)
    place.write_bytes(b"weights")

    bucket_copies.upload(uri, tmp_path / "there", where)
    bucket_copies.download(uri, tmp_path / "back", where)

    assert bucket_copies.copy_path(uri, tmp_path / "back").read_bytes() == b"weights"
    assert preview.read_beginning(uri, 4, where) == b"weig"
    assert preview.list_names(uri.removesuffix("/model.txt"), 10, where) == ["model.txt"]
    assert (
        artifact_contents.text(
            Artifact("train", "model", "system.Model", uri), buckets=where
        ).content
        == "weights"
    )
    assert objects.exists(uri, where)
    assert not objects.exists(f"{uri}.gone", where)
    objects.check_root(f"{scheme}://{BUCKET}/any/where", where)
    # Threads of other tests may look up other hosts meanwhile.
    asked, other = f"{BUCKET}.{HOST}", server.path_host
    if addressing != "virtual":
        asked, other = other, asked
    assert asked in hosts
    assert other == "127.0.0.1" or other not in hosts


@pytest.mark.usefixtures("signed_in")
def test_the_region_is_signed(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The credential scope of a signature has the region: see "Authenticating Requests" in the API
    of S3."""
    scopes: list[str] = []
    where = BucketSettings(s3_endpoint=server.url, s3_region="ap-south-1")
    client = s3.s3_client(where.endpoint, where.s3_region, where.s3_addressing)
    client.meta.events.register(
        "before-send.s3",
        lambda request, **_: scopes.append(request.headers["Authorization"].decode()),
    )

    objects.exists(f"s3://{BUCKET}/x", where)

    assert scopes
    assert all("/ap-south-1/s3/aws4_request" in scope for scope in scopes)


def test_credentials_of_a_file(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        f"[team]\naws_access_key_id = {server.access_key}\naws_secret_access_key ="
        f" {server.secret_key}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_PROFILE", "team")

    objects.check_root(f"s3://{BUCKET}", settings(server.url))


def test_wrong_credentials(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not server.checks_signatures:
        pytest.skip("gofakes3 does not check who asks")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")

    with pytest.raises(
        StorageProblem,
        match=r"^s3://artifacts/x cannot be read: .*\(?(SignatureDoesNotMatch|403)\)?$",
    ):
        bucket_copies.download(f"s3://{BUCKET}/x", tmp_path, settings(server.url))
    with pytest.raises(Refused) as caught:
        preview.read_beginning(f"s3://{BUCKET}/x", 1, settings(server.url))
    assert caught.value.status == 403
    assert caught.value.exit_code == 5


def test_no_credentials(server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(
        StorageProblem, match=r"^s3://artifacts/x cannot be read: Unable to locate credentials$"
    ):
        bucket_copies.download(f"s3://{BUCKET}/x", tmp_path, settings(server.url))


@pytest.mark.usefixtures("signed_in")
def test_a_bucket_that_is_not_there(server: S3Server, tmp_path: Path) -> None:
    where = settings(server.url)
    place = bucket_copies.copy_path("s3://no-such-bucket/x", tmp_path)
    place.parent.mkdir(parents=True)
    place.touch()

    for attempt in (objects.check_root, objects.exists):
        if attempt is objects.check_root:
            with pytest.raises(
                StorageProblem,
                match=r"^s3://no-such-bucket/x cannot be listed: .* \(NoSuchBucket\)$",
            ):
                attempt("s3://no-such-bucket/x", where)
    with pytest.raises(
        StorageProblem, match=r"^s3://no-such-bucket/y cannot be read: .* \(NoSuchBucket\)$"
    ):
        bucket_copies.download("s3://no-such-bucket/y", tmp_path, where)
    with pytest.raises(
        StorageProblem, match=r"^s3://no-such-bucket/x cannot be written: .* \(NoSuchBucket\)$"
    ):
        bucket_copies.upload("s3://no-such-bucket/x", tmp_path, where)
    with pytest.raises(NotFound):
        preview.list_names("s3://no-such-bucket/x", 5, where)


@pytest.mark.usefixtures("signed_in")
def test_nothing_at_an_address(server: S3Server, tmp_path: Path) -> None:
    with pytest.raises(
        StorageProblem,
        match=r"^s3://artifacts/nothing cannot be read: this address has no object$",
    ):
        bucket_copies.download(f"s3://{BUCKET}/nothing", tmp_path, settings(server.url))

    assert tree(tmp_path / "s3") == {BUCKET: None}


# -- names


@pytest.mark.usefixtures("signed_in")
def test_odd_names_in_a_folder(server: S3Server, tmp_path: Path) -> None:
    uri = f"s3://{BUCKET}/odd names/mödel+%20"
    place = bucket_copies.copy_path(uri, tmp_path / "there")
    write_tree(place, ODD_NAMES)

    bucket_copies.upload(uri, tmp_path / "there", settings(server.url))
    bucket_copies.download(f"{uri}/", tmp_path / "back", settings(server.url))

    assert keys(server, "odd names/") == sorted(f"odd names/mödel+%20/{name}" for name in ODD_NAMES)
    assert tree(bucket_copies.copy_path(uri, tmp_path / "back")) == tree(place)


@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_odd_name_of_an_object(server: S3Server, name: str, tmp_path: Path) -> None:
    server.client().put_object(Bucket=BUCKET, Key=f"objects/{name}", Body=name.encode())
    uri = f"minio://{BUCKET}/objects/{name}"

    bucket_copies.download(uri, tmp_path, settings(server.url))

    assert bucket_copies.copy_path(uri, tmp_path).read_bytes() == name.encode()
    assert preview.read_beginning(uri, 100, settings(server.url)) == name.encode()


@pytest.mark.usefixtures("signed_in")
def test_an_empty_folder(server: S3Server, tmp_path: Path) -> None:
    """It becomes an object whose key ends with a slash, as the console of S3 writes it."""
    uri = f"s3://{BUCKET}/empty/folder"
    bucket_copies.copy_path(uri, tmp_path / "there").mkdir(parents=True)

    bucket_copies.upload(uri, tmp_path / "there", settings(server.url))

    assert keys(server, "empty/") == ["empty/folder/"]
    assert objects.exists(uri, settings(server.url))
    bucket_copies.download(uri, tmp_path / "back", settings(server.url))
    assert tree(bucket_copies.copy_path(uri, tmp_path / "back")) == {}


@pytest.mark.usefixtures("signed_in")
def test_an_empty_file_and_an_empty_folder_in_a_folder(server: S3Server, tmp_path: Path) -> None:
    uri = f"s3://{BUCKET}/sparse"
    place = bucket_copies.copy_path(uri, tmp_path / "there")
    (place / "nothing in it").mkdir(parents=True)
    (place / "empty.txt").touch()

    bucket_copies.upload(uri, tmp_path / "there", settings(server.url))
    bucket_copies.download(uri, tmp_path / "back", settings(server.url))

    assert tree(bucket_copies.copy_path(uri, tmp_path / "back")) == {
        "nothing in it": None,
        "empty.txt": b"",
    }


@pytest.mark.usefixtures("signed_in")
@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("a", "a/b"), "the object 'clash/a' in this folder would be a file and a folder"),
        (("a/b", "a//b"), "would be the same file"),
        (("../up",), "the name of the object 'clash/../up' in this folder cannot be a file path"),
    ],
)
def test_keys_that_cannot_be_files(
    server: S3Server,
    names: tuple[str, ...],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Only the list is ours: some servers refuse such keys, but S3 does not."""
    stored = [StoredObject(f"clash/{name}", 1, "") for name in names]
    monkeypatch.setattr(s3.S3Bucket, "pages", lambda *_: iter([stored]))

    with pytest.raises(StorageProblem) as caught:
        bucket_copies.download(f"s3://{BUCKET}/clash", tmp_path, settings(server.url))

    assert str(caught.value).startswith(f"s3://{BUCKET}/clash cannot be read: ")
    assert reason in str(caught.value)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_of_cloud_storage_with_odd_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with the emulator of Cloud Storage."""
    with closing(Storage(1)) as storage:
        storage.make_bucket(BUCKET)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.endpoint)
        gcs._client_at.cache_clear()
        uri = f"gs://{BUCKET}/odd names/model"
        place = bucket_copies.copy_path(uri, tmp_path / "there")
        write_tree(place, ODD_NAMES)
        (place / "empty").mkdir()

        bucket_copies.upload(uri, tmp_path / "there")
        bucket_copies.download(uri, tmp_path / "back")

    assert tree(bucket_copies.copy_path(uri, tmp_path / "back")) == tree(place)


# -- connections that break


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
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture
def proxy(server: S3Server) -> Iterator[Callable[..., CuttingProxy]]:
    proxies = []

    def start(**options: Any) -> CuttingProxy:
        proxies.append(CuttingProxy(server.port, **options))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


@pytest.mark.usefixtures("signed_in")
def test_a_download_continues_where_it_was_cut(
    server: S3Server,
    proxy: Callable[..., CuttingProxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    size = 10 * MIB
    digest = random_file(tmp_path / "file", size, random.Random(1))  # noqa: S311
    server.client().upload_file(str(tmp_path / "file"), BUCKET, "cut.bin")
    between = proxy(cut_after=MIB, cuts=8)

    bucket_copies.download(f"s3://{BUCKET}/cut.bin", tmp_path, settings(between.url))

    assert digest_of(bucket_copies.copy_path(f"s3://{BUCKET}/cut.bin", tmp_path)) == digest
    assert between.cuts == 8
    # Each cut costs what was read since the last whole piece, and no more. Starting again would
    # cost megabytes.
    assert between.passed < size + 9 * retry.PIECE_BYTES


def test_a_download_from_cloud_storage_continues_where_it_was_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    size = 10 * MIB
    digest = random_file(
        bucket_copies.copy_path(f"gs://{BUCKET}/cut.bin", tmp_path / "there"),
        size,
        random.Random(3),  # noqa: S311
    )
    port = free_port()
    between = CuttingProxy(port, cut_after=MIB, cuts=8)
    with (
        closing(between),
        closing(Storage(1, port, [between.url.removeprefix("http://")])) as storage,
    ):
        storage.make_bucket(BUCKET)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage.endpoint)
        bucket_copies.upload(f"gs://{BUCKET}/cut.bin", tmp_path / "there")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", between.url)

        bucket_copies.download(f"gs://{BUCKET}/cut.bin", tmp_path / "back")

    assert digest_of(bucket_copies.copy_path(f"gs://{BUCKET}/cut.bin", tmp_path / "back")) == digest
    assert between.cuts == 8
    assert between.passed < size + 9 * retry.PIECE_BYTES


@pytest.mark.usefixtures("signed_in")
def test_a_download_that_is_cut_again_and_again_leaves_nothing(
    server: S3Server,
    proxy: Callable[..., CuttingProxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    random_file(tmp_path / "file", 3 * MIB, random.Random(2))  # noqa: S311
    server.client().upload_file(str(tmp_path / "file"), BUCKET, "stuck.bin")
    between = proxy(cut_after=100_000, cuts=1_000_000)

    with pytest.raises(StorageProblem, match=r"^s3://artifacts/stuck.bin cannot be read: "):
        bucket_copies.download(f"s3://{BUCKET}/stuck.bin", tmp_path / "back", settings(between.url))

    assert tree(tmp_path / "back") == {"s3": None, f"s3/{BUCKET}": None}
    assert between.cuts == retry.MAX_FAILURES


@pytest.mark.usefixtures("signed_in")
def test_an_object_that_changes_while_it_is_copied(
    server: S3Server,
    proxy: Callable[..., CuttingProxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No file is put together from two versions."""
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    client = server.client()
    client.put_object(Bucket=BUCKET, Key="changing.bin", Body=b"1" * 5 * MIB)
    between = proxy(
        cut_after=MIB,
        cuts=1,
        on_cut=lambda: client.put_object(Bucket=BUCKET, Key="changing.bin", Body=b"2" * 5 * MIB),
    )

    with pytest.raises(
        StorageProblem, match=r"cannot be read: something else changed the file at the same time$"
    ):
        bucket_copies.download(
            f"s3://{BUCKET}/changing.bin", tmp_path / "back", settings(between.url)
        )

    assert [path for path in (tmp_path / "back").rglob("*") if path.is_file()] == []


@pytest.mark.usefixtures("signed_in")
def test_a_folder_is_whole_after_cuts(
    server: S3Server,
    proxy: Callable[..., CuttingProxy],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "FIRST_PAUSE", 0.0)
    uri = f"s3://{BUCKET}/cut folder"
    place = bucket_copies.copy_path(uri, tmp_path / "there")
    for number in range(40):
        random_file(place / f"{number % 7}" / f"{number}", 50_000, random.Random(number))  # noqa: S311

    bucket_copies.upload(uri, tmp_path / "there", settings(proxy(cut_after=200, cuts=5).url))
    between = proxy(cut_after=40_000, cuts=5)
    bucket_copies.download(uri, tmp_path / "back", settings(between.url))

    assert between.cuts == 5
    assert tree(bucket_copies.copy_path(uri, tmp_path / "back")) == tree(place)


# -- many and large files

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


# -- a run

PIPELINE = """
from kfp import dsl
from kfp.dsl import Dataset, Input, Model, Output

@dsl.component(base_image="python:3.11")
def train(data: Input[Dataset], model: Output[Model]):
    import os
    os.makedirs(model.path)
    with open(data.path) as source, open(os.path.join(model.path, "weights.txt"), "w") as target:
        target.write(source.read().upper())

@dsl.component(base_image="python:3.11")
def evaluate(model: Input[Model]) -> str:
    import os
    with open(os.path.join(model.path, "weights.txt")) as file:
        return file.read()

@dsl.pipeline(name="on-minio")
def pipeline(uri: str) -> str:
    data = dsl.importer(artifact_uri=uri, artifact_class=Dataset)
    trained = train(data=data.output)
    return evaluate(model=trained.outputs["model"]).output
"""


@pytest.mark.rule("Artifacts: remote URIs map to local paths, or to a copy where there is no mount")
def test_a_run_reads_and_writes_where_the_environment_says(
    server: S3Server, home: Path, environment: Any, tmp_path: Path
) -> None:
    """Also in an engine of its own process, and again from the cache, which looks whether the files
    are there."""
    server.client().put_object(Bucket=BUCKET, Key="input.txt", Body=b"weights")
    (home / "pipe.py").write_text(PIPELINE, encoding="utf-8")
    (home / "kfgcp.toml").write_text(
        f'[env.local]\nbackend = "local"\npipeline_root = "minio://{BUCKET}/runs"\n'
        f's3_endpoint = "{server.url}"\ns3_region = "{REGION}"\n'
    )
    credentials = tmp_path / "credentials"
    credentials.write_text(
        f"[default]\naws_access_key_id = {server.access_key}\naws_secret_access_key ="
        f" {server.secret_key}\n"
    )
    variables = {
        **environment(),
        "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",  # the configuration wins
        "no_proxy": "127.0.0.1",
    }

    def kfgcp(*arguments: str) -> dict[str, Any]:
        command = [Path(sys.executable).with_name("kfgcp"), *arguments, "--json"]
        process = subprocess.run(
            command, env=variables, capture_output=True, text=True, check=False, timeout=PROCESS
        )
        answer: dict[str, Any] = json.loads(process.stdout)
        return answer

    run = kfgcp("run", "pipe.py", "-p", f"uri=s3://{BUCKET}/input.txt")

    assert run["state"] == "SUCCEEDED", run["error"]
    assert run["outputs"] == {"Output": "WEIGHTS"}
    model = next(artifact["uri"] for artifact in run["artifacts"] if artifact["name"] == "model")
    assert model.startswith(f"minio://{BUCKET}/runs/")
    key = f"{model.removeprefix(f'minio://{BUCKET}/')}/weights.txt"
    assert server.client().get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"WEIGHTS"

    detached = kfgcp("run", "pipe.py", "-p", f"uri=s3://{BUCKET}/input.txt", "--detach")
    again = kfgcp("watch", detached["run_id"])
    assert again["state"] == "SUCCEEDED", again["error"]
    assert {task["path"]: task["state"] for task in again["tasks"]}["train"] == "CACHED"
