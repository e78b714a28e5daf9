"""Files of pipelines: the multipart body of an upload, and what is in it: YAML, or one in a zip or tar.gz archive."""

from __future__ import annotations

import io
import tarfile
import zipfile
from email import message_from_bytes, policy
from typing import Any, Final

from kfgcp.errors import SpecError
from kfgcp.spec.documents import parse_documents
from kfgcp.spec.load import Spec, from_documents
from kfgcp.testing.kubeflow_server.errors import INVALID, KfpError
from kfgcp.testing.server import Request

MAX_SPEC_BYTES: Final = 32 * 2**20
_SCHEMA: Final = "2.1.0"


def uploaded(request: Request, limit: int) -> tuple[str, str]:
    """The name and the text of the file `uploadfile`.

    Raises:
        KfpError: INVALID, there is none, or it is too long.
    """
    head = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    for part in message_from_bytes(head + request.body, policy=policy.HTTP).walk():
        if part.get_param("name", header="content-disposition") == "uploadfile":
            data = part.get_payload(decode=True)
            name = part.get_filename() or ""
            return name, _text(name, data if isinstance(data, bytes) else b"", limit)
    raise KfpError(INVALID, "http: no such file", "Failed to read pipeline from file")


def document_of(spec: Spec) -> dict[str, Any]:
    """The `pipeline_spec` of an answer: with a platform spec both are one level deeper."""
    if spec.platform_spec is None:
        return spec.pipeline_spec
    return {"pipeline_spec": spec.pipeline_spec, "platform_spec": spec.platform_spec}


def spec_of_text(text: str) -> Spec:
    """The pipeline of a file, which may have two documents.

    Raises:
        KfpError: INVALID.
    """
    try:
        return _checked([*parse_documents(text, "pipeline", as_json=False)])
    except SpecError as error:
        raise _refused(error.message) from None


def spec_of_document(document: Any) -> Spec:
    """The pipeline of the `pipeline_spec` of a body.

    Raises:
        KfpError: INVALID.
    """
    both = isinstance(document, dict) and "pipeline_spec" in document
    return _checked([document["pipeline_spec"], document.get("platform_spec")] if both else [document])


def _checked(documents: list[Any]) -> Spec:
    documents = [document for document in documents if document]
    if not documents:
        raise _refused("no pipeline spec is provided")
    try:
        spec = from_documents(documents, "pipeline_spec")
    except SpecError as error:
        raise _refused(f"invalid v2 pipeline spec: {error.message}") from None
    version = spec.pipeline_spec.get("schemaVersion")
    if version != _SCHEMA:
        raise _refused(f"KFP only supports schema version {_SCHEMA}, but the pipeline spec has version {version}")
    return spec


def _refused(text: str) -> KfpError:
    return KfpError(INVALID, text, "InvalidInputError")


def _text(name: str, data: bytes, limit: int) -> str:
    around = "Failed to read a pipeline spec file"
    try:
        if name.endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                data = archive.read(_chosen(archive.namelist()))
        elif name.endswith((".tar.gz", ".tgz")):
            with tarfile.open(fileobj=io.BytesIO(data)) as archived:
                file = archived.extractfile(_chosen(archived.getnames()))
                data = file.read() if file else b""
        text = data.decode()
    except (OSError, ValueError, zipfile.BadZipFile, tarfile.TarError):
        raise KfpError(INVALID, f"Error extracting pipeline from {name}", around, "InvalidInputError") from None
    if len(data) > limit:
        raise KfpError(INVALID, f"File size too large. Maximum supported size: {limit}", around, "InvalidInputError")
    return text


def _chosen(names: list[str]) -> str:
    """The YAML file of an archive."""
    found = [name for name in names if name.endswith((".yaml", ".yml", ".json"))]
    if not found:
        raise ValueError("no YAML")
    return "pipeline.yaml" if "pipeline.yaml" in found else found[0]
