"""The official client, for whatever kfgcp lacks."""

from __future__ import annotations

import warnings
from typing import Any, Final

from kfgcp.deadlines import REQUEST_SECONDS, DeadlineError, call_within
from kfgcp.errors import BackendError, NotFound, Unreachable
from kfgcp.services.auth.tokens import TokenSource
from kfgcp.services.redact import redacted_line

NO_NAMESPACE: Final = "kubeflow"
"""What `kfp.Client` takes for no namespace at all."""
UNREADABLE: Final = (ValueError, TypeError, AttributeError, LookupError)
"""What the client raises when an answer is not of the form that it expects: it does not check
answers."""


def pipeline_run(
    host: str,
    tokens: TokenSource,
    namespace: str,
    ca_file: str | None,
    run_id: str,
    seconds: float = REQUEST_SECONDS,
) -> Any:
    """The run as a `kfp.client.client.RunPipelineResult`: its `run_info` is the `V2beta1Run` of
    kfp_server_api.

    Its client speaks to the same host, and takes its token anew from ours for each request, as
    tokens last an hour. `kfp.Client` itself would sign in on its own for some hosts, and as its
    environment variables say; a token that is there already comes first.

    Raises:
        NotFound: the run was deleted.
        BackendError: the client failed in another way.
    """
    import kfp_server_api
    from kfp.client import client as kfp_client
    from urllib3.exceptions import HTTPError

    token = tokens.get()

    def read_run() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # that servers before 2.0 are not spoken to
            client = kfp_client.Client(
                host=host,
                namespace=namespace or NO_NAMESPACE,
                existing_token=token.value if token is not None else None,
                ssl_ca_cert=ca_file,
            )

        def renew(configuration: Any) -> None:
            if (newest := tokens.get()) is not None:
                configuration.api_key["authorization"] = newest.value

        client._existing_config.refresh_api_key_hook = renew
        return kfp_client.RunPipelineResult(client, client.get_run(run_id))

    try:
        return call_within(seconds, read_run)
    except DeadlineError:
        raise Unreachable(
            f"Kubeflow Pipelines did not answer its client within {seconds:g} s.",
            hint=(
                "Check the connection to the network. request_seconds of the environment gives"
                " requests more time."
            ),
        ) from None
    except kfp_server_api.ApiException as error:
        if error.status == 404:
            raise NotFound(
                f"Kubeflow Pipelines has no run {run_id} any more.",
                hint="See what was recorded: kfgcp list",
                status=404,
                reason="NOT_FOUND",
            ) from None
        raise BackendError(
            f"The client of Kubeflow Pipelines failed: {error.status}"
            f" {redacted_line(error.reason or '')}"
        ) from None
    except (
        OSError,
        RuntimeError,
        HTTPError,
        kfp_server_api.OpenApiException,
        *UNREADABLE,
    ) as error:
        secret = (token.value,) if token is not None else ()
        raise BackendError(
            f"The client of Kubeflow Pipelines failed: {redacted_line(str(error), *secret)}"
        ) from None
