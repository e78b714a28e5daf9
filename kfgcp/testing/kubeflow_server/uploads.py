"""Read pipelines from uploaded files and from bodies, and format them for answers.

The names in brackets are recorded answers, in tests/recorded.

The server refuses a spec with an unknown field. The error does not name the field
(run-create-unknown-field.json). This module checks only the fields of the PipelineSpec itself, not
the fields of messages inside it.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Sequence
from email import message_from_bytes, policy
from typing import Any, Final

from kfgcp.errors import SpecError
from kfgcp.spec.documents import parse_documents
from kfgcp.spec.load import Spec, from_documents
from kfgcp.testing.google import snake_case
from kfgcp.testing.kubeflow_server.errors import INVALID, KfpError
from kfgcp.testing.protos import whole_numbers
from kfgcp.testing.server import Request

# MaxFileLength in apiserver/common/const.go.
MAX_SPEC_BYTES: Final = 32 * 2**20
_SCHEMA_VERSION: Final = "2.1.0"
_UNKNOWN_FORMAT: Final = "unknown template format"
# The fields of the message PipelineSpec (api/v2alpha1/pipeline_spec.proto).
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
_TEXT_ENDINGS: Final = (".yaml", ".yml", ".json")
# The first bytes of files in these formats.
_ZIP_MAGIC: Final = b"PK"
_GZIP_MAGIC: Final = b"\x1f\x8b"


def read_upload(request: Request, max_bytes: int) -> tuple[str, str]:
    """Return the name and the text of the file in the form field `uploadfile`.

    Args:
        request: the multipart request.
        max_bytes: the size of the longest text that the server accepts.

    Raises:
        KfpError: INVALID, there is no file, it is too long, or its name has an unknown ending
            (pipeline-upload-no-file.json, pipeline-upload-no-ending.json).
    """
    header = f"Content-Type: {request.headers.get('content-type', '')}\r\n\r\n".encode()
    message = message_from_bytes(header + request.body, policy=policy.HTTP)
    for part in message.walk():
        if part.get_param("name", header="content-disposition") == "uploadfile":
            content = part.get_payload(decode=True)
            if not isinstance(content, bytes):
                content = b""
            file_name = part.get_filename() or ""
            return file_name, _read_text(file_name, content, max_bytes)
    raise KfpError(INVALID, "http: no such file", "Failed to read pipeline from file")


def format_spec(spec: Spec) -> dict[str, Any]:
    """Return the `pipeline_spec` of an answer.

    This is the pipeline spec itself, or an object with both specs if the pipeline has a platform
    spec. Numbers in a Struct are doubles, and the server writes integral doubles without a fraction
    (run-create-exit-handler.json).
    """
    pipeline_spec: dict[str, Any] = whole_numbers(spec.pipeline_spec)
    if spec.platform_spec is None:
        return pipeline_spec
    return {"pipeline_spec": pipeline_spec, "platform_spec": whole_numbers(spec.platform_spec)}


def parse_spec_file(text: str) -> Spec:
    """Return the pipeline of a file. Its second document, if it has one, is the platform spec.

    Raises:
        KfpError: INVALID, the file is not a pipeline.
    """
    try:
        documents = list(parse_documents(text, "pipeline", as_json=False))
    except SpecError:
        raise _refuse_spec(_UNKNOWN_FORMAT) from None
    return _build_spec(documents)


def parse_spec_document(document: object) -> Spec:
    """Return the pipeline of the `pipeline_spec` in a body.

    Raises:
        KfpError: INVALID, the document is not a pipeline.
    """
    documents = [document]
    if isinstance(document, dict) and "pipeline_spec" in document:
        documents = [document["pipeline_spec"], document.get("platform_spec")]
    try:
        return _build_spec(documents)
    except KfpError as error:
        raise error.within(
            "Failed to fetch a template with an invalid pipeline spec manifest"
        ) from None


def _build_spec(documents: Sequence[Any]) -> Spec:
    documents = [document for document in documents if document]
    if not documents:
        raise _refuse_spec(_UNKNOWN_FORMAT)
    try:
        spec = from_documents(documents, "pipeline_spec")
    except SpecError:
        raise _refuse_spec(_UNKNOWN_FORMAT) from None
    field_names = {snake_case(name) for name in spec.pipeline_spec}
    if not field_names <= _SPEC_FIELDS:
        raise _refuse_spec(_UNKNOWN_FORMAT)
    version = spec.pipeline_spec.get("schemaVersion")
    if version != _SCHEMA_VERSION:
        raise _refuse_spec(
            f"KFP only supports schema version {_SCHEMA_VERSION}, but the pipeline spec has version"
            f" {version}"
        )
    return spec


def _refuse_spec(message: str) -> KfpError:
    return KfpError(INVALID, message, "InvalidInputError", cause="pipeline spec is invalid")


def _read_text(file_name: str, content: bytes, max_bytes: int) -> str:
    contexts = ("Failed to read a pipeline spec file", "Invalid input error")
    try:
        text_bytes = _extract(file_name, content)
        if text_bytes is None:
            problem = "Unexpected pipeline file format. Support .zip, .tar.gz, .json or YAML"
            raise KfpError(INVALID, problem, *contexts)
        text = text_bytes.decode()
    except (OSError, ValueError, zipfile.BadZipFile, tarfile.TarError):
        problem = f"Error extracting pipeline from {file_name}"
        raise KfpError(INVALID, problem, *contexts) from None
    if len(text_bytes) > max_bytes:
        problem = f"File size too large. Maximum supported size: {max_bytes}"
        raise KfpError(INVALID, problem, *contexts)
    return text


def _extract(file_name: str, content: bytes) -> bytes | None:
    """Return the YAML or JSON of an uploaded file, None for an unknown format."""
    if file_name.endswith(_TEXT_ENDINGS):
        return content
    if content.startswith(_ZIP_MAGIC):
        with zipfile.ZipFile(io.BytesIO(content)) as zip_archive:
            return zip_archive.read(_choose_file(zip_archive.namelist()))
    if content.startswith(_GZIP_MAGIC):
        with tarfile.open(fileobj=io.BytesIO(content)) as tar_archive:
            file = tar_archive.extractfile(_choose_file(tar_archive.getnames()))
            return file.read() if file else b""
    return None


def _choose_file(names: Sequence[str]) -> str:
    """Return the name of an archive's YAML or JSON file, `pipeline.yaml` if it is there."""
    text_files = [name for name in names if name.endswith(_TEXT_ENDINGS)]
    if not text_files:
        raise ValueError("no YAML")
    return "pipeline.yaml" if "pipeline.yaml" in text_files else text_files[0]
