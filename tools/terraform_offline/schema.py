"""The schema of a Terraform provider, from its CDKTF wheel; a process of its own.

    schema.py WHEEL OUT.json [TYPE ...]

A CDKTF wheel (`cdktf-cdktf-provider-google` and its sisters) was generated from the real provider's
schema and carries JavaScript that still says, for every argument: its name, type, block or
attribute, settable or read-only, required or not. This module reads it back and writes the format
of `terraform providers schema -json`, plus `provider_versions`.

How a fact is found in the JavaScript of one resource:

    name, type, block?    the entries of `synthesizeHclAttributes` (resources) and
                          `...ToHclTerraform` (nested blocks)
    required              an argument that can be left out has a `resetName()` method; a required
                          one has none
    read-only             the comment `// name - computed: true` stands above its getter
    at most one block     it is written without `listMapperHcl`

What CDKTF dropped is told by name where that is nearly always right (FILLED_BY_API, SENSITIVE), and
else lost: minimum and maximum counts other than one, defaults, deprecations, write-only, and every
check the provider makes in code.
"""

import gzip
import io
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

FILLED_BY_API = {"address", "id", "location", "project", "region", "zone"}
"""Optional top-level attributes the API fills in when unset: without this a mocked test would see
null for them."""

SENSITIVE = {
    "auth_string",
    "parameter_data",
    "password",
    "private_key",
    "private_key_openssh",
    "private_key_pem",
    "private_key_pem_pkcs8",
    "random_password.bcrypt_hash",
    "random_password.result",
    "secret_data",
}
"""Attributes that Terraform must treat as secret, as `name` or `type.name`."""

ARGUMENT = re.compile(
    r"^ +(?P<name>\w+): \{\n"
    r" +value: (?P<value>.*\((?:this\._|struct\.)(?P<property>\w+)(?:\.internalValue)?\)),\n"
    r" +isBlock: (?P<is_block>true|false),\n"
    r' +type: "(?P<collection>\w+)",\n'
    r' +storageClassType: "(?P<storage>\w+)"',
    re.MULTILINE,
)
ARGUMENTS_WRITTEN = re.compile(r"^ +storageClassType: ", re.MULTILINE)
DECLARATION = re.compile(r"^(?:class (\w+) extends ([\w.]+)|function (\w+)\()", re.MULTILINE)
RESOURCE_TYPE = re.compile(r'^(\w+)\.tfResourceType = "([\w-]+)"', re.MULTILINE)
READ_ONLY = re.compile(
    r"// (\w+) - computed: true, optional: false, required: false$", re.MULTILINE
)
RESET = re.compile(r"^    reset(\w+)\(\)", re.MULTILINE)
GETTER = re.compile(r"(?P<set>Fn\.tolist\()?this\.get(?P<kind>\w+)Attribute\('(?P<name>\w+)'\)")
MEMBER = re.compile(
    r'new (?P<cdktf>cdktf\.)?(?P<cls>\w+)\(this, "(?P<name>\w+)"(?:, (?P<set>true|false))?\)'
)
NAMESPACE = re.compile(r"\b\w+_\d+\.(?=\w)")

ARGUMENT_TYPES = {
    "string": "string",
    "number": "number",
    "boolean": "bool",
    "stringList": ["list", "string"],
    "numberList": ["list", "number"],
    "booleanList": ["list", "bool"],
    "stringMap": ["map", "string"],
    "numberMap": ["map", "number"],
    "booleanMap": ["map", "bool"],
    "anyMap": "dynamic",
}
GETTER_TYPES = {
    "String": "string", "Number": "number", "Boolean": "bool",
    "List": ["list", "string"], "NumberList": ["list", "number"],
    "StringMap": ["map", "string"], "NumberMap": ["map", "number"], "BooleanMap": ["map", "bool"],
    "AnyMap": "dynamic", "StringMapList": ["list", ["map", "string"]],
}  # fmt: skip

Schema = dict[str, Any]


class UnreadableWheel(Exception):
    """The wheel does not look the way this module understands; a schema guessed from it would be
    wrong."""


class Class(NamedTuple):
    base: str
    body: str


class Module(NamedTuple):
    """The JavaScript of one resource, data source or provider."""

    classes: dict[str, Class]
    functions: dict[str, str]


def provider_schema(wheel: Path, types: Collection[str] = ()) -> Schema:
    """Returns the schema in `wheel`: all of it, or that of the resource and data source `types`
    named."""
    files = dict(_package_files(wheel))
    provider = json.loads(files.pop("package.json"))["cdktf"]["provider"]
    schema: Schema = {"provider": None, "resource_schemas": {}, "data_source_schemas": {}}
    for text in _texts_by_module(files).values():
        _add_module(schema, text, types)
    if not schema["provider"] or (not types and not schema["resource_schemas"]):
        raise UnreadableWheel(f"{wheel.name} holds no provider or no resource")
    return {
        "format_version": "1.0",
        "provider_versions": {provider["name"]: provider["version"]},
        "provider_schemas": {provider["name"]: schema},
    }


def _package_files(wheel: Path) -> Iterator[tuple[str, str]]:
    with zipfile.ZipFile(wheel) as archive:
        package = next((name for name in archive.namelist() if name.endswith(".jsii.tgz")), None)
        if package is None:
            raise UnreadableWheel(f"{wheel.name} holds no jsii package")
        unpacked = io.BytesIO(gzip.decompress(archive.read(package)))
    with tarfile.open(fileobj=unpacked) as tar:
        for member in tar:
            name = member.name.removeprefix("package/")
            if name == "package.json" or (name.startswith("lib/") and name.endswith(".js")):
                content = tar.extractfile(member)
                assert content is not None
                yield name, content.read().decode()


def _texts_by_module(files: dict[str, str]) -> dict[str, str]:
    """Joins the files of a module: a large one keeps its nested blocks in files of their own."""
    modules: dict[str, list[str]] = {}
    for name, text in files.items():
        if name.count("/") > 1:
            modules.setdefault(name.split("/")[1], []).append(
                text.partition("//# sourceMappingURL")[0]
            )
    return {name: "\n".join(texts) for name, texts in modules.items()}


def _add_module(schema: Schema, text: str, types: Collection[str]) -> None:
    for class_name, type_name in RESOURCE_TYPE.findall(text):
        base = re.search(rf"^class {class_name} extends cdktf\.(\w+)", text, re.MULTILINE)
        kind = base[1] if base else ""
        if types and type_name not in types and kind != "TerraformProvider":
            continue
        module = _parse(text)
        block = _block(module, module.classes[class_name].body, class_name)
        _name_the_dropped(block, type_name, kind)
        if kind == "TerraformProvider":
            schema["provider"] = {"version": 0, "block": block}
        elif kind == "TerraformDataSource":
            schema["data_source_schemas"][type_name] = {"version": 0, "block": block}
        elif kind == "TerraformResource":
            schema["resource_schemas"][type_name] = {"version": 0, "block": block}
        else:
            raise UnreadableWheel(f"{class_name} is no resource, data source or provider")


def _parse(text: str) -> Module:
    text = NAMESPACE.sub("", text)  # index_structs_1.StorageBucketCorsList and the like
    module = Module({}, {})
    marks = list(DECLARATION.finditer(text))
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        body = text[mark.start() : following.start() if following else len(text)]
        if mark[1]:
            module.classes[mark[1]] = Class(mark[2], body)
        else:
            module.functions[mark[3]] = body
    return module


def _block(module: Module, arguments: str, class_name: str) -> Schema:
    """`arguments`: the text that lists what can be set; `class_name`: the class whose members read
    it back."""
    found = list(ARGUMENT.finditer(arguments))
    if len(found) != len(ARGUMENTS_WRITTEN.findall(arguments)):
        raise UnreadableWheel(f"{class_name} has arguments written in an unknown way")
    block: Schema = {"attributes": {}, "block_types": {}}
    body = _body_of(module, class_name)
    resets = None if body is None else set(RESET.findall(body))
    for argument in found:
        name = argument["name"]
        reset = argument["property"][0].upper() + argument["property"][1:]
        required = resets is not None and resets.isdisjoint({reset, f"{reset}Attribute"})
        if argument["is_block"] == "true":
            block["block_types"][name] = _nested_block(module, argument, required)
        else:
            use = "required" if required else "optional"
            block["attributes"][name] = {"type": _argument_type(argument), use: True}
    if body is not None:
        types = _member_types(module, body)
        for name in READ_ONLY.findall(body):
            block["attributes"][name] = {"type": types[name], "computed": True}
    return block


def _body_of(module: Module, class_name: str) -> str | None:
    """Returns None where there is nothing to read back: in a provider's configuration."""
    found = module.classes.get(class_name)
    in_provider = any(cls.base == "cdktf.TerraformProvider" for cls in module.classes.values())
    if found is None and not in_provider:
        raise UnreadableWheel(f"class {class_name} is missing")
    return None if found is None or in_provider else found.body


def _nested_block(module: Module, argument: re.Match[str], required: bool) -> Schema:
    function = re.search(r"((\w)(\w+))ToHclTerraform", argument["value"])
    if function is None or f"{function[1]}ToHclTerraform" not in module.functions:
        raise UnreadableWheel(f"block {argument['name']} is written in an unknown way")
    repeated = "listMapperHcl" in argument["value"]
    if repeated and not re.search(r"listMapperHcl\(\w+, true\)", argument["value"]):
        raise UnreadableWheel(
            f"{argument['name']} is a nested attribute, which the stand-in cannot serve"
        )
    reader = f"{function[2].upper()}{function[3]}OutputReference"
    block = _block(module, module.functions[f"{function[1]}ToHclTerraform"], reader)
    if argument["collection"] == "struct":
        return {"nesting_mode": "single", "block": block}
    nested: Schema = {"nesting_mode": argument["collection"], "block": block}
    if required:
        nested["min_items"] = 1
    if not repeated:
        nested["max_items"] = 1
    return nested


def _argument_type(argument: re.Match[str]) -> Any:
    kind = ARGUMENT_TYPES[argument["storage"]]
    return ["set", kind[1]] if argument["collection"] == "set" else kind


def _member_types(module: Module, body: str) -> dict[str, Any]:
    """Returns the Terraform types of what a class can read back, by name."""
    types: dict[str, Any] = {}
    for getter in GETTER.finditer(body):
        kind = GETTER_TYPES[getter["kind"]]
        types[getter["name"]] = ["set", kind[1]] if getter["set"] else kind
    for member in MEMBER.finditer(body):
        if member["cdktf"]:
            types[member["name"]] = GETTER_TYPES[member["cls"]]
            continue
        item = member["cls"].removesuffix("List") + (
            "OutputReference" if member["cls"].endswith("List") else ""
        )
        if item in module.classes:
            item_body = module.classes[item].body
            readable = _member_types(module, item_body)
            attributes = {name: readable[name] for name in READ_ONLY.findall(item_body)}
            types[member["name"]] = [
                "set" if member["set"] == "true" else "list",
                ["object", attributes],
            ]
    return types


def _name_the_dropped(block: Schema, type_name: str, kind: str) -> None:
    if kind == "TerraformProvider":
        block["attributes"].pop("alias", None)  # Terraform's own
        return
    for name, attribute in block["attributes"].items():
        if "optional" in attribute and (
            name == "id" or (kind == "TerraformResource" and name in FILLED_BY_API)
        ):
            attribute["computed"] = True
    _mark_sensitive(block, type_name)


def _mark_sensitive(block: Schema, type_name: str) -> None:
    for name, attribute in block["attributes"].items():
        if name in SENSITIVE or f"{type_name}.{name}" in SENSITIVE:
            attribute["sensitive"] = True
    for nested in block["block_types"].values():
        _mark_sensitive(nested["block"], type_name)


def main(arguments: list[str]) -> int:
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    schema = provider_schema(Path(arguments[0]), arguments[2:])
    Path(arguments[1]).write_text(json.dumps(schema, separators=(",", ":")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
