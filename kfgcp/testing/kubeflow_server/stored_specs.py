"""The pipeline that the server stores after an upload, which is not the text of the file.

The server parses the documents into the messages PipelineSpec and PlatformSpec, and stores the
messages as YAML (`NewV2SpecTemplate` and `Bytes` of apiserver/template/v2_template.go, 2.5.0 and
2.17.0). So the stored pipeline lacks comments and the order of keys, and fields with the default
value of their type, such as `isOptional: false`. Inside a Struct or a Value, all values stay. A
second document without settings for Kubernetes is dropped.
"""

from __future__ import annotations

from typing import Final

from kfgcp.spec.json_values import JsonObject
from kfgcp.spec.load import Spec, from_documents
from kfgcp.testing.kubeflow_server.errors import INVALID, KfpError
from kfgcp.testing.protos import whole_numbers

UNKNOWN_FORMAT: Final = "unknown template format"
_KUBERNETES: Final = "kubernetes"


def stored_spec(spec: Spec) -> Spec:
    """Return the pipeline as the server stores it.

    Raises:
        KfpError: INVALID, a document has a field that its message does not have
            (pipeline-upload-bad.json).
    """
    # kfp is slow to import, and only uploads need it.
    from kfp.pipeline_spec import pipeline_spec_pb2

    documents = [_stored_document(spec.pipeline_spec, pipeline_spec_pb2.PipelineSpec())]
    if spec.platform_spec is not None:
        platform_spec = _stored_document(spec.platform_spec, pipeline_spec_pb2.PlatformSpec())
        if _KUBERNETES in platform_spec.get("platforms", {}):
            documents.append(platform_spec)
    return from_documents(documents, spec.origin)


def _stored_document(document: JsonObject, message: object) -> JsonObject:
    from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

    try:
        ParseDict(document, message)
    except ParseError:
        raise KfpError(
            INVALID, UNKNOWN_FORMAT, "InvalidInputError", cause="pipeline spec is invalid"
        ) from None
    stored: JsonObject = whole_numbers(MessageToDict(message))
    return stored
