"""Files of pipelines: the multipart body of an upload, and what is in it: YAML, or one in a zip or
tar.gz archive.

A spec with a field that the server does not know is refused without the name of the field
(run-create-unknown-field.json). Here only fields of the PipelineSpec itself are looked at, not
those of the messages in it.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from email import message_from_bytes, policy
from typing import Any, Final

from kfgcp.errors import SpecError
from kfgcp.spec.documents import parse_documents
from kfgcp.spec.load import Spec, from_documents
from kfgcp.testing.google import snake_case
from kfgcp.testing.kubeflow_server.errors import INVALID, KfpError
from kfgcp.testing.protos import whole_numbers
from kfgcp.testing.server import Request

MAX_SPEC_BYTES: Final = 32 * 2**20
_SCHEMA: Final = "2.1.0"
_UNKNOWN_FORMAT: Final = "unknown template format"
_SPEC_FIELDS: Final = frozenset(
    (
        "pipeline_info",
        "deployment_spec",
        "schema_version",
        "default_pipeline_root",
        "sdk_version",
        "root",
        "components",
    )
)
"""Of the message PipelineSpec (api/v2alpha1/pipeline_spec.proto)."""


def uploaded(request: Request, limit: int) -> tuple[str, str]:
    """Return the name and the text of the file `uploadfile`.

    Raises:
        KfpError: INVALID, there is none, it is too long, or its name has no known ending
            (pipeline-upload-no-file.json, pipeline-upload-no-ending.json).
    """
    head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    for part in message_from_bytes(head + request.body, policy=policy.HTTP).walk():
        if part.get_param("name", header="content-disposition") == "uploadfile":
            data = part.get_payload(decode=True)
            name = part.get_filename() or ""
            return name, _text(name, data if isinstance(data, bytes) else b"", limit)
    raise KfpError(INVALID, "http: no such file", "Failed to read pipeline from file")


def document_of(spec: Spec) -> dict[str, Any]:
    """Return the `pipeline_spec` of an answer: with a platform spec both are one level deeper.

    Numbers in a Struct are doubles, and whole ones are written without a fraction
    (run-create-exit-handler.json).
    """
    if spec.platform_spec is None:
        document: dict[str, Any] = whole_numbers(spec.pipeline_spec)
        return document
    return {
        "pipeline_spec": whole_numbers(spec.pipeline_spec),
        "platform_spec": whole_numbers(spec.platform_spec),
    }


def spec_of_text(text: str) -> Spec:
    """Return the pipeline of a file, which may have two documents.

    Raises:
        KfpError: INVALID.
    """
    try:
        return _checked([*parse_documents(text, "pipeline", as_json=False)])
    except SpecError:
        raise _refused(_UNKNOWN_FORMAT) from None


def spec_of_document(document: Any) -> Spec:
    """Return the pipeline of the `pipeline_spec` of a body.

    Raises:
        KfpError: INVALID.
    """
    if isinstance(document, dict) and "pipeline_spec" in document:
        documents = [document["pipeline_spec"], document.get("platform_spec")]
    else:
        documents = [document]
    try:
        return _checked(documents)
    except KfpError as error:
        raise error.within(
            "Failed to fetch a template with an invalid pipeline spec manifest"
        ) from None


def _checked(documents: list[Any]) -> Spec:
    documents = [document for document in documents if document]
    if not documents:
        raise _refused(_UNKNOWN_FORMAT)
    try:
        spec = from_documents(documents, "pipeline_spec")
    except SpecError:
        raise _refused(_UNKNOWN_FORMAT) from None
    if {snake_case(name) for name in spec.pipeline_spec} - _SPEC_FIELDS:
        raise _refused(_UNKNOWN_FORMAT)
    version = spec.pipeline_spec.get("schemaVersion")
    if version != _SCHEMA:
        raise _refused(
            f"KFP only supports schema version {_SCHEMA}, but the pipeline spec has version"
            f" {version}"
        )
    return spec


def _refused(text: str) -> KfpError:
    return KfpError(INVALID, text, "InvalidInputError", cause="pipeline spec is invalid")


def _text(name: str, data: bytes, limit: int) -> str:
    around = ("Failed to read a pipeline spec file", "Invalid input error")
    try:
        if name.endswith((".yaml", ".yml", ".json")):
            pass
        elif data.startswith(b"PK"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                data = archive.read(_chosen(archive.namelist()))
        elif data.startswith(b"\x1f\x8b"):
            with tarfile.open(fileobj=io.BytesIO(data)) as archived:
                file = archived.extractfile(_chosen(archived.getnames()))
                data = file.read() if file else b""
        else:
            text = "Unexpected pipeline file format. Support .zip, .tar.gz, .json or YAML"
            raise KfpError(INVALID, text, *around)
        text = data.decode()
    except (OSError, ValueError, zipfile.BadZipFile, tarfile.TarError):
        raise KfpError(INVALID, f"Error extracting pipeline from {name}", *around) from None
    if len(data) > limit:
        raise KfpError(INVALID, f"File size too large. Maximum supported size: {limit}", *around)
    return text


def _chosen(names: list[str]) -> str:
    """The YAML file of an archive."""
    found = [name for name in names if name.endswith((".yaml", ".yml", ".json"))]
    if not found:
        raise ValueError("no YAML")
    return "pipeline.yaml" if "pipeline.yaml" in found else found[0]
