"""Convert between the text of a pipeline and the documents in an answer, and compare them.

The server parses the text of an upload, and stores the messages PipelineSpec and PlatformSpec as
YAML. So the exact text is lost: comments, the order of keys, and fields with the default value of
their type (`Bytes` in apiserver/template/v2_template.go, tags 2.5.0 and 2.17.0). An answer has the
documents as a Struct, in which numbers are doubles (`YamlStringToPipelineSpecStruct` in
apiserver/server/api_util.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from kfgcp.spec.json_values import JsonObject, Place, format_place
from kfgcp.spec.load import Spec

# Below these fields, a document is a Struct or a Value (pipeline_spec.proto), which keeps false, 0
# and "". `constant` is in a oneof, which keeps them, too.
_KEEPS_DEFAULTS: Final = frozenset(
    ("deploymentSpec", "defaultValue", "constant", "constantValue", "runtimeParameter")
)
_DOCUMENT_NAMES: Final = ("pipeline_spec", "platform_spec")


def documents_of(pipeline_spec: JsonObject) -> list[JsonObject]:
    """Return the documents in the field `pipeline_spec` of an answer.

    A version with a platform spec has both documents one level deeper.
    """
    if "pipeline_spec" not in pipeline_spec:
        return [pipeline_spec]
    return [pipeline_spec[name] for name in _DOCUMENT_NAMES if pipeline_spec.get(name)]


def format_documents(pipeline_spec: JsonObject) -> str:
    """Return the field `pipeline_spec` of an answer as YAML of one or two documents."""
    # yaml is slow to import, and few commands read a text.
    import yaml

    documents = documents_of(pipeline_spec)
    # Lines as long as in files of the KFP compiler would break long texts of code.
    text: str = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=110)
    return text


def find_change(spec: Spec, pipeline_spec: JsonObject) -> str:
    """Return the first field that an answer lacks or has with another value, "" without one.

    Args:
        spec: the pipeline that was uploaded.
        pipeline_spec: the field of the answer.
    """
    sent: list[JsonObject] = [spec.pipeline_spec]
    if spec.platform_spec:
        sent.append(spec.platform_spec)
    return compare_documents(sent, documents_of(pipeline_spec))


def compare_documents(sent: Sequence[JsonObject], stored: Sequence[JsonObject]) -> str:
    """Return the first field that the stored documents lack or have with another value.

    The result is "" without one.
    """
    if len(stored) < len(sent):
        return "platforms"
    if len(stored) > len(sent):
        return "platform_spec"
    for sent_document, stored_document in zip(sent, stored, strict=True):
        place = _find_change(sent_document, stored_document, (), keeps_defaults=False)
        if place is not None:
            return format_place(place)
    return ""


def _find_change(
    sent: object, stored: object, place: Place, *, keeps_defaults: bool
) -> Place | None:
    """Return the place of the first difference between two JSON values, None without one.

    Args:
        sent: the value of the upload.
        stored: the value of the answer.
        place: the place of both values in their documents.
        keeps_defaults: whether the values are inside a Struct or a Value.
    """
    if isinstance(sent, Mapping) and isinstance(stored, Mapping):
        return _find_change_of_fields(sent, stored, place, keeps_defaults=keeps_defaults)
    if isinstance(sent, list) and isinstance(stored, list):
        if len(sent) != len(stored):
            return place
        for index, item in enumerate(sent):
            item_place = place + (index,)
            change = _find_change(item, stored[index], item_place, keeps_defaults=keeps_defaults)
            if change is not None:
                return change
        return None
    return None if _is_same_scalar(sent, stored, keeps_defaults=keeps_defaults) else place


def _find_change_of_fields(
    sent: JsonObject, stored: JsonObject, place: Place, *, keeps_defaults: bool
) -> Place | None:
    for name, item in sent.items():
        item_place = place + (name,)
        keeps_item = keeps_defaults or name in _KEEPS_DEFAULTS
        if name in stored:
            change = _find_change(item, stored[name], item_place, keeps_defaults=keeps_item)
            if change is not None:
                return change
        elif keeps_item or not _is_default(item):
            return item_place
    for name in stored:
        if name not in sent:
            return place + (name,)
    return None


def _is_default(value: object) -> bool:
    """Return whether a message without the field means the same."""
    return value in (None, False, 0, "", [], {})


def _is_same_scalar(sent: object, stored: object, *, keeps_defaults: bool) -> bool:
    """Return whether two values that are not both lists or both objects are equal."""
    if isinstance(sent, bool) or isinstance(stored, bool):
        return sent is stored
    if isinstance(sent, int) and isinstance(stored, str) and not keeps_defaults:
        # The JSON of a message has an int64 as text.
        return str(sent) == stored
    return sent == stored
