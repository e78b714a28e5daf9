"""Write the schema of a Terraform provider, read from its CDKTF wheel.

    schema.py WHEEL OUT.json [TYPE ...]

`cache.py` runs this file as a program, so it imports only the standard library.

CDKTF generates its wheels (`cdktf-cdktf-provider-google` and others) from the schema of the real
provider. The JavaScript in a wheel still contains most of the schema: for each argument its name
and type, whether it is a block or an attribute, whether it can be set, and whether it is required.
This module reads these facts, and writes them in the format of `terraform providers schema -json`,
with one more key, `provider_versions`.

The JavaScript of a resource shows a fact in this place:

    name, type, is a block    an item of `synthesizeHclAttributes` (in resources) and of
                              `...ToHclTerraform` (in nested blocks)
    required                  no method `resetName()`: only an optional argument can be reset
    read-only                 the comment `// name - computed: true` above the getter
    at most one block         the value does not use `listMapperHcl`

CDKTF drops the other facts. Two lists in this module replace the most important ones: FILLED_BY_API
and SENSITIVE. These facts are lost: minimum and maximum numbers other than 1, defaults,
deprecations, write-only arguments, and every check in the code of the provider.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypedDict

# Optional attributes at the top level that the API fills in when they are not set. Without this
# list, they would be null in a test with mocks.
FILLED_BY_API: Final = frozenset({"address", "id", "location", "project", "region", "zone"})

# Attributes that Terraform must treat as secret, as `name` or `type.name`.
SENSITIVE: Final = frozenset(
    {
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
)

# An argument, as CDKTF writes it in synthesizeHclAttributes and in ...ToHclTerraform.
ARGUMENT: Final = re.compile(
    r"^ +(?P<name>\w+): \{\n"
    r" +value: (?P<value>.*\((?:this\._|struct\.)(?P<property>\w+)(?:\.internalValue)?\)),\n"
    r" +isBlock: (?P<is_block>true|false),\n"
    r' +type: "(?P<collection>\w+)",\n'
    r' +storageClassType: "(?P<storage>\w+)"',
    re.MULTILINE,
)

# The last line of each argument. An argument that ARGUMENT does not match has this line too.
LAST_LINE_OF_ARGUMENT: Final = re.compile(r"^ +storageClassType: ", re.MULTILINE)

DECLARATION: Final = re.compile(
    r"^(?:class (?P<class_name>\w+) extends (?P<base>[\w.]+)|function (?P<function>\w+)\()",
    re.MULTILINE,
)
RESOURCE_TYPE: Final = re.compile(r'^(\w+)\.tfResourceType = "([\w-]+)"', re.MULTILINE)
READ_ONLY: Final = re.compile(
    r"// (\w+) - computed: true, optional: false, required: false$", re.MULTILINE
)
RESET: Final = re.compile(r"^    reset(\w+)\(\)", re.MULTILINE)
BLOCK_WRITER: Final = re.compile(r"(?P<initial>\w)(?P<rest>\w+)ToHclTerraform")
GETTER: Final = re.compile(
    r"(?P<is_set>Fn\.tolist\()?this\.get(?P<kind>\w+)Attribute\('(?P<name>\w+)'\)"
)
MEMBER: Final = re.compile(
    r'new (?P<is_cdktf>cdktf\.)?(?P<class_name>\w+)\(this, "(?P<name>\w+)"'
    r"(?:, (?P<is_set>true|false))?\)"
)

# In a large module, names from other files have a prefix: index_structs_1.StorageBucketCorsList.
NAMESPACE: Final = re.compile(r"\b\w+_\d+\.(?=\w)")

# A type as Terraform writes it: "string", ["list", "string"], ["object", {"name": "string"}].
AttributeType = str | list["AttributeType"] | dict[str, "AttributeType"]

# storageClassType of an argument -> its type in Terraform.
ARGUMENT_TYPES: Final[dict[str, AttributeType]] = {
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

# The name of a getter or of a class in CDKTF -> the type in Terraform.
GETTER_TYPES: Final[dict[str, AttributeType]] = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
    "NumberMap": ["map", "number"],
    "BooleanMap": ["map", "bool"],
    "AnyMap": "dynamic",
    "StringMapList": ["list", ["map", "string"]],
}


class Attribute(TypedDict, total=False):
    """An attribute in the schema."""

    type: AttributeType
    required: bool
    optional: bool
    computed: bool
    sensitive: bool


class Block(TypedDict):
    """The attributes and the nested blocks of a resource or of a block."""

    attributes: dict[str, Attribute]
    block_types: dict[str, NestedBlock]


class NestedBlock(TypedDict, total=False):
    """A nested block, with how often it can occur."""

    nesting_mode: str
    block: Block
    min_items: int
    max_items: int


class VersionedBlock(TypedDict):
    """The schema of a resource, a data source or the provider's own configuration."""

    version: int
    block: Block


class ProviderSchema(TypedDict):
    """The schema of a provider. `provider` is None until its module is read."""

    provider: VersionedBlock | None
    resource_schemas: dict[str, VersionedBlock]
    data_source_schemas: dict[str, VersionedBlock]


class UnreadableWheel(Exception):
    """The wheel is not written as this module expects. A guessed schema would be wrong."""


class JsClass(NamedTuple):
    """A class of JavaScript: the name of its base class, and its text."""

    base: str
    text: str


class JsModule(NamedTuple):
    """The JavaScript of one resource, data source or provider: classes and functions by name."""

    classes: dict[str, JsClass]
    functions: dict[str, str]


def main(arguments: list[str]) -> int:
    """Write the schema of a wheel into a file, and return the exit status."""
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    wheel, output, *types = arguments
    document = read_schema(Path(wheel), types)
    Path(output).write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
    return 0


def read_schema(wheel: Path, types: Collection[str] = ()) -> dict[str, object]:
    """Return the schema in a wheel, in the format of `terraform providers schema -json`.

    Args:
        wheel: a CDKTF wheel.
        types: the resources and data sources to read; all when empty.

    Raises:
        UnreadableWheel: the wheel is not written as this module expects.
    """
    files = dict(_read_package(wheel))
    provider = json.loads(files.pop("package.json"))["cdktf"]["provider"]
    schema: ProviderSchema = {
        "provider": None,
        "resource_schemas": {},
        "data_source_schemas": {},
    }
    for text in _join_modules(files):
        _add_module(schema, text, types)
    has_resources = bool(types or schema["resource_schemas"])
    if schema["provider"] is None or not has_resources:
        raise UnreadableWheel(f"{wheel.name} contains no provider or no resource")
    return {
        "format_version": "1.0",
        "provider_versions": {provider["name"]: provider["version"]},
        "provider_schemas": {provider["name"]: schema},
    }


def _read_package(wheel: Path) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of package.json and of the JavaScript in the wheel's package."""
    with zipfile.ZipFile(wheel) as archive:
        packages = [name for name in archive.namelist() if name.endswith(".jsii.tgz")]
        if not packages:
            raise UnreadableWheel(f"{wheel.name} contains no jsii package")
        unpacked = io.BytesIO(gzip.decompress(archive.read(packages[0])))
    with tarfile.open(fileobj=unpacked) as package:
        for member in package:
            name = member.name.removeprefix("package/")
            is_javascript = name.startswith("lib/") and name.endswith(".js")
            if name == "package.json" or is_javascript:
                content = package.extractfile(member)
                assert content is not None
                yield name, content.read().decode()


def _join_modules(files: dict[str, str]) -> list[str]:
    """Return the text of each module. A large module has separate files for its nested blocks."""
    texts_by_module: dict[str, list[str]] = {}
    for name, text in files.items():
        # lib/<module>/<file>.js. The file lib/index.js contains no schema.
        path = name.split("/")
        if len(path) > 2:
            code = text.partition("//# sourceMappingURL")[0]
            texts_by_module.setdefault(path[1], []).append(code)
    return ["\n".join(texts) for texts in texts_by_module.values()]


def _add_module(schema: ProviderSchema, text: str, types: Collection[str]) -> None:
    """Add the resources, data sources and the provider in the text of a module to the schema."""
    for class_name, type_name in RESOURCE_TYPE.findall(text):
        base = re.search(rf"^class {class_name} extends cdktf\.(\w+)", text, re.MULTILINE)
        kind = base[1] if base else ""
        if types and type_name not in types and kind != "TerraformProvider":
            continue
        module = _parse_module(text)
        block = _read_block(module, module.classes[class_name].text, class_name)
        _add_dropped_facts(block, type_name, kind)
        versioned_block: VersionedBlock = {"version": 0, "block": block}
        if kind == "TerraformProvider":
            schema["provider"] = versioned_block
        elif kind == "TerraformDataSource":
            schema["data_source_schemas"][type_name] = versioned_block
        elif kind == "TerraformResource":
            schema["resource_schemas"][type_name] = versioned_block
        else:
            raise UnreadableWheel(f"{class_name} is not a resource, a data source or a provider")


def _parse_module(text: str) -> JsModule:
    """Return the classes and functions of a module. Each ends where the next one begins."""
    text = NAMESPACE.sub("", text)
    module = JsModule({}, {})
    declarations = list(DECLARATION.finditer(text))
    ends = [declaration.start() for declaration in declarations[1:]]
    ends.append(len(text))
    for declaration, end in zip(declarations, ends, strict=True):
        declared_text = text[declaration.start() : end]
        class_name = declaration["class_name"]
        if class_name:
            module.classes[class_name] = JsClass(declaration["base"], declared_text)
        else:
            module.functions[declaration["function"]] = declared_text
    return module


def _read_block(module: JsModule, writer: str, class_name: str) -> Block:
    """Return the schema of a resource or of a nested block.

    Args:
        module: has the class.
        writer: the text with the arguments that can be set.
        class_name: the class with the getters, which also show what is required and read-only.
    """
    arguments = list(ARGUMENT.finditer(writer))
    if len(arguments) != len(LAST_LINE_OF_ARGUMENT.findall(writer)):
        raise UnreadableWheel(f"{class_name} has arguments that are written in an unknown way")
    block: Block = {"attributes": {}, "block_types": {}}
    class_text = _find_class_text(module, class_name)
    resets = None if class_text is None else set(RESET.findall(class_text))
    for argument in arguments:
        name = argument["name"]
        is_required = resets is not None and not _can_be_reset(argument["property"], resets)
        if argument["is_block"] == "true":
            block["block_types"][name] = _read_nested_block(module, argument, is_required)
        elif is_required:
            block["attributes"][name] = {"type": _argument_type(argument), "required": True}
        else:
            block["attributes"][name] = {"type": _argument_type(argument), "optional": True}
    if class_text is not None:
        for name, attribute_type in _read_only_types(module, class_text).items():
            block["attributes"][name] = {"type": attribute_type, "computed": True}
    return block


def _find_class_text(module: JsModule, class_name: str) -> str | None:
    """Return the text of a class, None in the module of a provider, which has no getters."""
    if any(js_class.base == "cdktf.TerraformProvider" for js_class in module.classes.values()):
        return None
    if class_name not in module.classes:
        raise UnreadableWheel(f"class {class_name} is missing")
    return module.classes[class_name].text


def _can_be_reset(property_name: str, resets: set[str]) -> bool:
    """Return whether a class has a method that resets a property: `resetName` for `name`.

    Args:
        property_name: in camel case.
        resets: the names of these methods, without `reset`.
    """
    reset_name = property_name[0].upper() + property_name[1:]
    # CDKTF adds "Attribute" where another method already has the name.
    return reset_name in resets or f"{reset_name}Attribute" in resets


def _read_nested_block(module: JsModule, argument: re.Match[str], is_required: bool) -> NestedBlock:
    name = argument["name"]
    value = argument["value"]
    writer = BLOCK_WRITER.search(value)
    if writer is None or writer[0] not in module.functions:
        raise UnreadableWheel(f"block {name} is written in an unknown way")
    is_repeated = "listMapperHcl" in value
    # The second argument of listMapperHcl says whether the list contains blocks.
    if is_repeated and not re.search(r"listMapperHcl\(\w+, true\)", value):
        raise UnreadableWheel(f"{name} is a nested attribute, which the stand-in cannot serve")
    # The function storageBucketCorsToHclTerraform belongs to StorageBucketCorsOutputReference.
    class_name = f"{writer['initial'].upper()}{writer['rest']}OutputReference"
    block = _read_block(module, module.functions[writer[0]], class_name)
    if argument["collection"] == "struct":
        return {"nesting_mode": "single", "block": block}
    nested_block: NestedBlock = {"nesting_mode": argument["collection"], "block": block}
    if is_required:
        nested_block["min_items"] = 1
    if not is_repeated:
        nested_block["max_items"] = 1
    return nested_block


def _argument_type(argument: re.Match[str]) -> AttributeType:
    argument_type = ARGUMENT_TYPES[argument["storage"]]
    if argument["collection"] == "set":
        return _as_set(argument_type)
    return argument_type


def _as_set(list_type: AttributeType) -> AttributeType:
    """Return the type of a set, for a list with the same items: CDKTF has only lists."""
    if not isinstance(list_type, list):
        raise UnreadableWheel(f"a set has the type {list_type}")
    return ["set", list_type[1]]


def _read_only_types(module: JsModule, class_text: str) -> dict[str, AttributeType]:
    """Return the types of the read-only attributes of a class, by their names."""
    types = _getter_types(module, class_text)
    return {name: types[name] for name in READ_ONLY.findall(class_text)}


def _getter_types(module: JsModule, class_text: str) -> dict[str, AttributeType]:
    """Return the types of everything that a class can read, by name."""
    types: dict[str, AttributeType] = {}
    for getter in GETTER.finditer(class_text):
        getter_type = GETTER_TYPES[getter["kind"]]
        if getter["is_set"]:
            getter_type = _as_set(getter_type)
        types[getter["name"]] = getter_type
    for member in MEMBER.finditer(class_text):
        member_class = member["class_name"]
        if member["is_cdktf"]:
            types[member["name"]] = GETTER_TYPES[member_class]
            continue
        # A list of objects has two classes: NameList, and NameOutputReference for an item.
        item_class = member_class
        if member_class.endswith("List"):
            item_class = f"{member_class.removesuffix('List')}OutputReference"
        if item_class in module.classes:
            attributes = _read_only_types(module, module.classes[item_class].text)
            collection = "set" if member["is_set"] == "true" else "list"
            types[member["name"]] = [collection, ["object", attributes]]
    return types


def _add_dropped_facts(block: Block, type_name: str, kind: str) -> None:
    """Add the facts of FILLED_BY_API and SENSITIVE to the block of a resource or data source."""
    if kind == "TerraformProvider":
        # `alias` belongs to Terraform, not to the provider.
        block["attributes"].pop("alias", None)
        return
    for name, attribute in block["attributes"].items():
        is_filled = name == "id" or (kind == "TerraformResource" and name in FILLED_BY_API)
        if is_filled and "optional" in attribute:
            attribute["computed"] = True
    _mark_sensitive(block, type_name)


def _mark_sensitive(block: Block, type_name: str) -> None:
    for name, attribute in block["attributes"].items():
        if name in SENSITIVE or f"{type_name}.{name}" in SENSITIVE:
            attribute["sensitive"] = True
    for nested_block in block["block_types"].values():
        _mark_sensitive(nested_block["block"], type_name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
