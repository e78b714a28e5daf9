"""A pipeline root on S3, which `doctor` checks against moto's server."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from doctor_checks import Diagnose, ScriptedServer
from kfgcp.diagnosis.checks import Finding
from s3_servers import REGION, S3Server, forget_s3_settings, free_port, moto

pytest.importorskip("boto3", reason="the extra s3 is not installed")

BUCKET = "acme-runs"
CheckRoot = Callable[..., Finding]
SignIn = Callable[[str, str], None]


@pytest.fixture(scope="module")
def store() -> Iterator[S3Server]:
    with moto() as server:
        server.client().create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
        )
        yield server


@pytest.fixture(autouse=True)
def nobody_is_signed_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Removes the S3 settings of this machine, and the clients and results of other tests."""
    forget_s3_settings(monkeypatch, tmp_path)


@pytest.fixture
def sign_in(monkeypatch: pytest.MonkeyPatch) -> SignIn:
    def set_credentials(key: str, secret: str) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)

    return set_credentials


@pytest.fixture
def check_root(scripted: ScriptedServer, diagnose: Diagnose, store: S3Server) -> CheckRoot:
    """Returns the finding about a pipeline root, for an environment that leads to the store."""
    scripted.answer("GET /apis/v2beta1/healthz", {"multi_user": False})
    scripted.answer("GET /apis/v2beta1/runs", {"runs": []})

    def check(root: str, **settings: str) -> Finding:
        settings = {"s3_endpoint": store.url, "s3_region": REGION} | settings
        settings = {key: value for key, value in settings.items() if value}
        settings |= {"host": scripted.api_endpoint, "auth": "anonymous", "pipeline_root": root}
        return diagnose(backend="kubeflow", **settings)["pipeline_root"]

    return check


@pytest.mark.parametrize(
    "root", [f"s3://{BUCKET}/runs", f"minio://{BUCKET}/runs", f"s3://{BUCKET}"]
)
def test_a_bucket_that_can_be_used(
    store: S3Server, check_root: CheckRoot, sign_in: SignIn, root: str
) -> None:
    sign_in(store.access_key, store.secret_key)

    finding = check_root(root)

    scheme = root.partition("://")[0]
    assert (finding.ok, finding.detail) == (True, f"{scheme}://{BUCKET} can be written and read")
    client = store.client()
    assert client.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0
    assert "Uploads" not in client.list_multipart_uploads(Bucket=BUCKET)


def test_a_bucket_that_is_not_there(
    store: S3Server, check_root: CheckRoot, sign_in: SignIn
) -> None:
    sign_in(store.access_key, store.secret_key)

    finding = check_root("s3://nowhere/runs")

    assert (finding.ok, finding.detail) == (False, "There is no bucket 'nowhere'.")
    assert finding.hint == f"aws s3 mb s3://nowhere --endpoint-url {store.url}"


def test_the_missing_permission_of_a_reader_is_named(
    store: S3Server, check_root: CheckRoot, sign_in: SignIn
) -> None:
    """Pods have their own credentials, so missing permissions are not an error."""
    sign_in(store.reader_key, store.reader_secret)

    finding = check_root(f"s3://{BUCKET}/runs")

    assert finding.ok is None
    assert finding.detail.startswith(
        "kfgcp does not know whether runs can use the bucket. You do not have s3:PutObject on"
        f" s3://{BUCKET}: Access Denied"
    )


def test_a_wrong_secret_is_reported_with_the_answer_of_the_store(
    store: S3Server, check_root: CheckRoot, sign_in: SignIn
) -> None:
    sign_in(store.access_key, "another")

    finding = check_root(f"s3://{BUCKET}/runs")

    assert finding.ok is None
    assert "(SignatureDoesNotMatch)" in finding.detail


def test_missing_credentials_are_named(check_root: CheckRoot) -> None:
    finding = check_root(f"s3://{BUCKET}/runs")

    assert finding.ok is None
    assert (
        finding.detail
        == f"not checked: this machine has no credentials for s3://{BUCKET}/runs: Unable to locate"
        " credentials"
    )
    assert finding.hint == "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."


def test_an_unknown_profile_is_named(
    check_root: CheckRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "acme")

    finding = check_root(f"s3://{BUCKET}/runs")

    assert "no credentials" in finding.detail
    assert "(acme)" in finding.detail


def test_a_store_that_cannot_be_reached_is_not_checked(
    check_root: CheckRoot, sign_in: SignIn
) -> None:
    sign_in("key", "secret")

    finding = check_root(f"s3://{BUCKET}/runs", s3_endpoint=f"http://127.0.0.1:{free_port()}")

    assert finding.ok is None
    assert finding.detail.startswith(f"not checked: s3://{BUCKET}/runs cannot be checked: ")


def test_a_server_that_is_not_a_store_does_not_lack_a_bucket(
    check_root: CheckRoot, sign_in: SignIn, scripted: ScriptedServer
) -> None:
    """The server answers 404 to the requests of S3."""
    sign_in("key", "secret")

    finding = check_root(f"s3://{BUCKET}/runs", s3_endpoint=scripted.api_endpoint)

    assert finding.ok is None
    assert "no bucket" not in finding.detail


def test_the_address_of_minio_is_needed(check_root: CheckRoot, sign_in: SignIn) -> None:
    sign_in("key", "secret")

    finding = check_root("minio://mlpipeline/v2", s3_endpoint="")

    assert finding.ok is None
    assert "s3_endpoint and AWS_ENDPOINT_URL are not set" in finding.detail


@pytest.mark.parametrize("root", ["/data/runs", "ftp://acme/runs"])
def test_a_root_that_is_not_in_a_bucket_is_not_checked(check_root: CheckRoot, root: str) -> None:
    finding = check_root(root)

    assert (finding.ok, finding.detail) == (None, f"not checked: {root} is not in a bucket")
