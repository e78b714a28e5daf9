"""The settings of an environment for its buckets."""

from pathlib import Path

import pytest

from config_texts import VERTEX, load_text, read_error
from kfgcp.bucket_settings import BucketSettings

MINIO = """[env.local]
backend = "local"
s3_endpoint = "https://minio.acme.example:9000"
s3_region = "eu-central-1"
s3_addressing = "virtual"
request_seconds = 30
"""


def test_the_file_overrides_the_variables_of_boto3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file wins over the variables that boto3 reads; those of kfgcp win over the file."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:2")

    settings = BucketSettings.of_environment(load_text(tmp_path, MINIO).env("local"))
    assert settings == BucketSettings(
        "https://minio.acme.example:9000", "eu-central-1", "virtual", 30.0
    )
    assert settings.endpoint == "https://minio.acme.example:9000"
    variable = "KFGCP_ENV_LOCAL_S3_ENDPOINT"
    other = load_text(tmp_path, MINIO, **{variable: "http://minio.kubeflow.svc:9000"}).env("local")
    assert BucketSettings.of_environment(other).endpoint == "http://minio.kubeflow.svc:9000"
    assert BucketSettings().endpoint == "http://127.0.0.1:1"
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    assert BucketSettings().endpoint == "http://127.0.0.1:2"


@pytest.mark.parametrize(
    "backend", [VERTEX, '[env.dev]\nbackend = "kubeflow"\nhost = "https://kfp.acme.example"\n']
)
def test_every_backend_has_the_keys_for_buckets(tmp_path: Path, backend: str) -> None:
    env = load_text(tmp_path, f'{backend}s3_endpoint = "http://localhost:9000"\n').env("dev")

    assert BucketSettings.of_environment(env).endpoint == "http://localhost:9000"


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        (
            's3_endpoint = "minio:9000"',
            "s3_endpoint is 'minio:9000', not a URL.",
            "Write https://HOST",
        ),
        (
            's3_endpoint = "http://minio.acme.example"',
            (
                "plain http is allowed for an s3_endpoint on this machine or inside a cluster only,"
                " not for minio.acme.example."
            ),
            (
                "Write https://, or a name of the cluster's own DNS, which ends in .svc or"
                " .svc.cluster.local."
            ),
        ),
        (
            's3_endpoint = "https://key:secret@minio.acme.example"',
            "s3_endpoint must not have a user name or password.",
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
        ),
        (
            's3_addressing = "host"',
            "s3_addressing must be one of path, virtual, not 'host'.",
            "See docs/guides/buckets.md.",
        ),
        ("s3_region = 1", "s3_region must be a text, not 1.", ""),
        ('s3_secret_key = "x"', "unknown key 's3_secret_key'.", "s3_region"),
    ],
)
def test_wrong_values_for_buckets_are_errors(
    tmp_path: Path, line: str, message: str, hint: str
) -> None:
    actual_message, actual_hint = read_error(tmp_path, f'[env.local]\nbackend = "local"\n{line}\n')

    assert actual_message == f"kfgcp.toml [env.local]: {message}"
    assert hint in actual_hint
