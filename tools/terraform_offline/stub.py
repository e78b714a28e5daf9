"""Serve stand-ins of Terraform providers, which have schemas but no cloud.

    stub.py SCHEMA.json SOCKET_DIR

`run.py` runs this file as a program. SCHEMA.json has the format of `terraform providers schema
-json`. The program serves each provider of this file over plugin protocol 6 on its own socket. When
all providers are ready, it prints one line, the value for TF_REATTACH_PROVIDERS. With this variable
Terraform connects to the sockets, and does not start programs of providers. This program ends when
its standard input is closed.

The stand-ins are enough for `terraform validate` and for tests with `mock_provider`. Terraform
itself checks names, types and nesting with the schema, and invents the answers of a mocked
provider. It leaves one check to the provider, so a stand-in makes this check: no value may be
assigned to a read-only attribute. A stand-in refuses every request that needs a cloud.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

# gRPC reads this variable when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc
import msgpack
from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc as rpc

PROTOCOL_VERSION = 6

# Stands for a value that Terraform will know only later.
UNKNOWN = object()

# Both google providers accept this in a `provider_meta` block. The format of the published schema
# has no place for it.
GOOGLE_META = {
    "attributes": {"module_name": {"type": "string", "optional": True}},
    "block_types": {},
}

AttributePath = tuple[str | int, ...]


class StubProvider(rpc.ProviderServicer):  # type: ignore[misc]
    """A provider that accepts any configuration that fits its schema.

    The messages of the protocol are generated without types, so they are Any here.

    Args:
        address: the address of the provider, such as `registry.terraform.io/hashicorp/google`.
        schema: the part of `terraform providers schema -json` for this provider.
    """

    def __init__(self, address: str, schema: Mapping[str, Any]) -> None:
        self.address = address
        self.name = address.rpartition("/")[2]
        self.schema = pb.GetProviderSchema.Response(
            provider=_build_schema(schema["provider"]["block"]),
            resource_schemas=_build_schemas(schema["resource_schemas"]),
            data_source_schemas=_build_schemas(schema["data_source_schemas"]),
            server_capabilities=pb.ServerCapabilities(get_provider_schema_optional=True),
        )
        if self.name in ("google", "google-beta"):
            self.schema.provider_meta.CopyFrom(_build_schema(GOOGLE_META))

    def GetProviderSchema(self, request: Any, context: Any) -> Any:
        return self.schema

    def GetMetadata(self, request: Any, context: Any) -> Any:
        message = pb.GetMetadata
        resources = self.schema.resource_schemas
        data_sources = self.schema.data_source_schemas
        return message.Response(
            resources=[message.ResourceMetadata(type_name=name) for name in resources],
            data_sources=[message.DataSourceMetadata(type_name=name) for name in data_sources],
            server_capabilities=self.schema.server_capabilities,
        )

    def GetFunctions(self, request: Any, context: Any) -> Any:
        return pb.GetFunctions.Response()

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:
        return pb.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        schema = self.schema.resource_schemas[request.type_name]
        diagnostics = _check_read_only(schema.block, request.config)
        return pb.ValidateResourceConfig.Response(diagnostics=diagnostics)

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:
        schema = self.schema.data_source_schemas[request.type_name]
        diagnostics = _check_read_only(schema.block, request.config)
        return pb.ValidateDataResourceConfig.Response(diagnostics=diagnostics)

    def ConfigureProvider(self, request: Any, context: Any) -> Any:
        return pb.ConfigureProvider.Response()

    def StopProvider(self, request: Any, context: Any) -> Any:
        return pb.StopProvider.Response()

    def ReadDataSource(self, request: Any, context: Any) -> Any:
        return pb.ReadDataSource.Response(diagnostics=[self._no_cloud(request.type_name)])

    def ReadResource(self, request: Any, context: Any) -> Any:
        return pb.ReadResource.Response(diagnostics=[self._no_cloud(request.type_name)])

    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        return pb.PlanResourceChange.Response(diagnostics=[self._no_cloud(request.type_name)])

    def ApplyResourceChange(self, request: Any, context: Any) -> Any:
        return pb.ApplyResourceChange.Response(diagnostics=[self._no_cloud(request.type_name)])

    def ImportResourceState(self, request: Any, context: Any) -> Any:
        return pb.ImportResourceState.Response(diagnostics=[self._no_cloud(request.type_name)])

    def _no_cloud(self, type_name: str) -> Any:
        return pb.Diagnostic(
            severity=pb.Diagnostic.ERROR,
            summary=f"The stand-in for {self.address} has no cloud behind it",
            detail=(
                f'{type_name} cannot be planned or read for real: add `mock_provider "{self.name}"'
                " {}` to the test."
            ),
        )


def _build_schemas(types: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: _build_schema(schema["block"]) for name, schema in types.items()}


def _build_schema(block: Mapping[str, Any]) -> Any:
    return pb.Schema(version=0, block=_build_block(block))


def _build_block(block: Mapping[str, Any]) -> Any:
    message = pb.Schema.Block()
    for name, attribute in block["attributes"].items():
        message.attributes.add(
            name=name,
            type=json.dumps(attribute["type"]).encode(),
            required=attribute.get("required", False),
            optional=attribute.get("optional", False),
            computed=attribute.get("computed", False),
            sensitive=attribute.get("sensitive", False),
        )
    for name, nested in block["block_types"].items():
        message.block_types.add(
            type_name=name,
            block=_build_block(nested["block"]),
            nesting=pb.Schema.NestedBlock.NestingMode.Value(nested["nesting_mode"].upper()),
            min_items=nested.get("min_items", 0),
            max_items=nested.get("max_items", 0),
        )
    return message


def _check_read_only(block: Any, config: Any) -> list[Any]:
    """Return a diagnostic for each read-only attribute with a value."""
    # Terraform sends a value that it does not know yet as an extension type of MessagePack.
    values = msgpack.unpackb(
        config.msgpack, ext_hook=lambda code, data: UNKNOWN, strict_map_key=False
    )
    diagnostics = []
    for path in _find_read_only(block, values, ()):
        diagnostic = pb.Diagnostic(
            severity=pb.Diagnostic.ERROR,
            summary="Value for unconfigurable attribute",
            detail=f'Nothing can be assigned to "{path[-1]}": the provider decides its value.',
            attribute=pb.AttributePath(steps=[_build_step(part) for part in path]),
        )
        diagnostics.append(diagnostic)
    return diagnostics


def _find_read_only(
    block: Any, values: Mapping[str, Any], parent: AttributePath
) -> Iterator[AttributePath]:
    """Yield the paths of read-only attributes that have a value, at any depth.

    Args:
        block: the schema of a block.
        values: the configuration of the block.
        parent: the path of the block.
    """
    for attribute in block.attributes:
        can_be_set = attribute.required or attribute.optional
        if not can_be_set and values.get(attribute.name) is not None:
            yield (*parent, attribute.name)
    for nested in block.block_types:
        path = (*parent, nested.type_name)
        value = values.get(nested.type_name)
        # A block that can occur only once, such as `timeouts`, is a dictionary.
        if isinstance(value, dict):
            yield from _find_read_only(nested.block, value, path)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    yield from _find_read_only(nested.block, item, (*path, index))


def _build_step(part: str | int) -> Any:
    if isinstance(part, int):
        return pb.AttributePath.Step(element_key_int=part)
    return pb.AttributePath.Step(attribute_name=part)


def serve(schemas: Mapping[str, Mapping[str, Any]], socket_folder: Path) -> tuple[list[Any], str]:
    """Serve all providers.

    Returns:
        The running servers, and the value of TF_REATTACH_PROVIDERS that leads Terraform to them.
    """
    servers = []
    reattach = {}
    for number, (address, schema) in enumerate(schemas.items()):
        socket = socket_folder / f"{number}.sock"
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=10))
        rpc.add_ProviderServicer_to_server(StubProvider(address, schema), server)
        server.add_insecure_port(f"unix://{socket}")
        server.start()
        servers.append(server)
        # The format is that of github.com/hashicorp/terraform-plugin-go, tf6server.
        reattach[address] = {
            "Protocol": "grpc",
            "ProtocolVersion": PROTOCOL_VERSION,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": {"Network": "unix", "String": str(socket)},
        }
    return servers, json.dumps(reattach)


def main(arguments: list[str]) -> int:
    """Serve until standard input is closed, and return the exit code."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    schemas = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))["provider_schemas"]
    servers, reattach = serve(schemas, Path(arguments[1]).absolute())
    print(reattach, flush=True)
    sys.stdin.read()
    for server in servers:
        server.stop(grace=None)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
