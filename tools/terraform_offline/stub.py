"""Plays Terraform providers that know their schemas and have nothing behind them; a process of its
own.

    stub.py SCHEMA.json SOCKET_DIR

SCHEMA.json has the format of `terraform providers schema -json`. Each provider in it is served over
plugin protocol 6 on a socket of its own. Once all listen, one line is printed: the value for
TF_REATTACH_PROVIDERS, which makes Terraform talk to this process instead of starting a provider for
every step. The process ends when its standard input closes.

That is enough for `terraform validate` and for tests that use `mock_provider`: Terraform itself
checks names, types and nesting against the schema, and makes up what a mocked provider answers. The
one check that Terraform leaves to the provider and the schema can answer is made here: nobody may
assign what is read-only. Whatever needs a cloud is refused.
"""

import json
import os
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc
import msgpack
from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc as rpc

PROTOCOL_VERSION = 6
UNKNOWN = object()
"""Stands for a value that Terraform will know only later."""
GOOGLE_META = {
    "attributes": {"module_name": {"type": "string", "optional": True}},
    "block_types": {},
}
"""What both google providers accept in a `provider_meta` block; the published schema format has no
place for it."""


class StubProvider(rpc.ProviderServicer):  # type: ignore[misc]
    """Knows its schema, accepts any configuration that fits it, and has no cloud behind it."""

    def __init__(self, address: str, schema: dict[str, Any]) -> None:
        self.address = address
        self.schema = pb.GetProviderSchema.Response(
            provider=_schema(schema["provider"]["block"]),
            resource_schemas={
                name: _schema(found["block"]) for name, found in schema["resource_schemas"].items()
            },
            data_source_schemas={
                name: _schema(found["block"])
                for name, found in schema["data_source_schemas"].items()
            },
            server_capabilities=pb.ServerCapabilities(get_provider_schema_optional=True),
        )
        if address.rpartition("/")[2] in ("google", "google-beta"):
            self.schema.provider_meta.CopyFrom(_schema(GOOGLE_META))

    def GetProviderSchema(self, request: Any, context: Any) -> Any:
        return self.schema

    def GetMetadata(self, request: Any, context: Any) -> Any:
        metadata = pb.GetMetadata
        return metadata.Response(
            resources=[
                metadata.ResourceMetadata(type_name=name) for name in self.schema.resource_schemas
            ],
            data_sources=[
                metadata.DataSourceMetadata(type_name=name)
                for name in self.schema.data_source_schemas
            ],
            server_capabilities=self.schema.server_capabilities,
        )

    def GetFunctions(self, request: Any, context: Any) -> Any:
        return pb.GetFunctions.Response()

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:
        return pb.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        schema = self.schema.resource_schemas[request.type_name]
        return pb.ValidateResourceConfig.Response(
            diagnostics=_assigned_read_only(schema.block, request.config)
        )

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:
        schema = self.schema.data_source_schemas[request.type_name]
        return pb.ValidateDataResourceConfig.Response(
            diagnostics=_assigned_read_only(schema.block, request.config)
        )

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
        name = self.address.rpartition("/")[2]
        return pb.Diagnostic(
            severity=pb.Diagnostic.ERROR,
            summary=f"The stand-in for {self.address} has no cloud behind it",
            detail=(
                f'{type_name} cannot be planned or read for real: add `mock_provider "{name}" {{}}`'
                " to the test."
            ),
        )


def _schema(block: dict[str, Any]) -> Any:
    return pb.Schema(version=0, block=_block(block))


def _block(block: dict[str, Any]) -> Any:
    return pb.Schema.Block(
        attributes=[
            pb.Schema.Attribute(
                name=name,
                type=json.dumps(attribute["type"]).encode(),
                required=attribute.get("required", False),
                optional=attribute.get("optional", False),
                computed=attribute.get("computed", False),
                sensitive=attribute.get("sensitive", False),
            )
            for name, attribute in block["attributes"].items()
        ],
        block_types=[
            pb.Schema.NestedBlock(
                type_name=name,
                block=_block(nested["block"]),
                nesting=pb.Schema.NestedBlock.NestingMode.Value(nested["nesting_mode"].upper()),
                min_items=nested.get("min_items", 0),
                max_items=nested.get("max_items", 0),
            )
            for name, nested in block["block_types"].items()
        ],
    )


def _assigned_read_only(block: Any, config: Any) -> list[Any]:
    values = msgpack.unpackb(
        config.msgpack, ext_hook=lambda code, data: UNKNOWN, strict_map_key=False
    )
    return [
        pb.Diagnostic(
            severity=pb.Diagnostic.ERROR,
            summary="Value for unconfigurable attribute",
            detail=f'Nothing can be assigned to "{path[-1]}": the provider decides its value.',
            attribute=pb.AttributePath(steps=[_step(part) for part in path]),
        )
        for path in _read_only_paths(block, values, ())
    ]


def _read_only_paths(
    block: Any, values: dict[str, Any], at: tuple[str | int, ...]
) -> Iterator[tuple[str | int, ...]]:
    """Yields where a read-only attribute has a value."""
    for attribute in block.attributes:
        settable = attribute.required or attribute.optional
        if not settable and values.get(attribute.name) is not None:
            yield (*at, attribute.name)
    for nested in block.block_types:
        found = values.get(nested.type_name)
        if isinstance(found, dict):  # a single block, as timeouts
            yield from _read_only_paths(nested.block, found, (*at, nested.type_name))
        elif isinstance(found, list):
            for number, element in enumerate(found):
                if isinstance(element, dict):
                    yield from _read_only_paths(
                        nested.block, element, (*at, nested.type_name, number)
                    )


def _step(part: str | int) -> Any:
    if isinstance(part, int):
        return pb.AttributePath.Step(element_key_int=part)
    return pb.AttributePath.Step(attribute_name=part)


def serve(schemas: dict[str, dict[str, Any]], socket_dir: Path) -> tuple[list[Any], str]:
    """Returns the running servers and the TF_REATTACH_PROVIDERS value that leads Terraform to
    them."""
    servers, reattach = [], {}
    for number, (address, schema) in enumerate(schemas.items()):
        socket = socket_dir / f"{number}.sock"
        server = grpc.server(futures.ThreadPoolExecutor(max_workers=10))
        rpc.add_ProviderServicer_to_server(StubProvider(address, schema), server)
        server.add_insecure_port(f"unix://{socket}")
        server.start()
        servers.append(server)
        reattach[address] = {
            "Protocol": "grpc",
            "ProtocolVersion": PROTOCOL_VERSION,
            "Pid": os.getpid(),
            "Test": True,
            "Addr": {"Network": "unix", "String": str(socket)},
        }
    return servers, json.dumps(reattach)


def main(arguments: list[str]) -> int:
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
