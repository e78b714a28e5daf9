"""Messages of ML Metadata that a run leaves: executions, artifacts and events."""

from kfgcp.backends.kubeflow import mlmd

GRPC_WEB = {"Content-Type": mlmd.CONTENT_TYPE}


def stored(number: int, state: int = 3, **properties: object) -> mlmd.Message:
    """Return an execution with custom properties, which need not be valid in JSON."""
    message = mlmd.message_class("Execution")(
        id=number,
        last_known_state=state,
        create_time_since_epoch=1767322800000 + number,
        last_update_time_since_epoch=1767322860000,
    )
    for name, value in properties.items():
        mlmd.set_property(message.custom_properties, name, value)
    return message


def artifact(number: int, kind: str = "system.Metrics", **properties: object) -> mlmd.Message:
    """Return an artifact with custom properties."""
    message = mlmd.message_class("Artifact")(
        id=number, type=kind, uri=f"gs://b/{number}", state=mlmd.LIVE
    )
    for name, value in properties.items():
        mlmd.set_property(message.custom_properties, name, value)
    return message


def event(
    execution: int,
    artifact: int,
    key: str | None,
    kind: int = mlmd.OUTPUT,
    index: int | None = None,
) -> mlmd.Message:
    """Return the event that an execution read or wrote an artifact under a key."""
    message = mlmd.message_class("Event")(execution_id=execution, artifact_id=artifact, type=kind)
    if key is not None:
        message.path.steps.add(key=key)
    if index is not None:
        message.path.steps.add(index=index)
    return message
