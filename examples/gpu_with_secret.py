"""Train on a GPU with a password: the same pipeline for Kubeflow, Vertex AI and this machine.

`kfgcp.toml` says what the GPU and the secret are in each environment, see docs/guides/portable.md.
"""

from kfp import dsl


@dsl.component(base_image="python:3.12")
def train(epochs: int) -> str:
    """Sign in to a database with the password in DB_PASSWORD, and train."""
    import base64
    import json
    import os
    import urllib.request

    def get_json(url: str, **headers: str) -> dict:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - Google's addresses
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)

    password = os.environ["DB_PASSWORD"]
    if password.startswith("projects/"):
        # On Vertex AI, the variable has the name of a version in Secret Manager. The service
        # account of the task reads the version.
        metadata = os.environ.get("GCE_METADATA_HOST", "metadata.google.internal")
        account = f"http://{metadata}/computeMetadata/v1/instance/service-accounts/default/token"
        token = get_json(account, **{"Metadata-Flavor": "Google"})["access_token"]
        secret_manager = os.environ.get(
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", "https://secretmanager.googleapis.com/"
        )
        version = get_json(f"{secret_manager}v1/{password}:access", Authorization=f"Bearer {token}")
        password = base64.b64decode(version["payload"]["data"]).decode()
    return f"{epochs} epochs, a password of {len(password)} characters"


@dsl.pipeline(name="gpu-with-secret")
def gpu_with_secret(epochs: int = 3) -> str:
    """Train on one NVIDIA L4.

    Args:
        epochs: How often the training sees all rows.
    """
    task = train(epochs=epochs)
    task.set_accelerator_type("NVIDIA_L4").set_accelerator_limit(1)
    task.set_env_variable("DB_PASSWORD", "secret:DB_PASSWORD")
    return task.output
