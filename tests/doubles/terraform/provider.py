"""A process that Terraform takes for the provider `hashicorp/google`: it has its schemas, and accepts every configuration.

`reattach()` is the value of TF_REATTACH_PROVIDERS with which Terraform uses it. Source: Terraform's plugin protocol 5.10, of
which `validate` and `test` with mocked resources need the schemas alone.
"""

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

_NESTINGS = {"single": 1, "list": 2, "set": 3}


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _schema(schema: Mapping[str, Any]) -> bytes:
    return _bytes(2, _block(schema["block"]))


def _block(block: Mapping[str, Any]) -> bytes:
    attributes = [
        _bytes(1, name)
        + _bytes(2, json.dumps(attr["type"]))
        + b"".join(
            _number(field, 1) for field, flag in ((4, "required"), (5, "optional"), (6, "computed")) if attr.get(flag)
        )
        for name, attr in block["attributes"].items()
    ]
    blocks = [
        _bytes(1, name)
        + _bytes(2, _block(nested["block"]))
        + _number(3, _NESTINGS[nested["nesting_mode"]])
        + _number(4, nested.get("min_items", 0))
        + _number(5, nested.get("max_items", 0))
        for name, nested in block.get("block_types", {}).items()
    ]
    return b"".join([*(_bytes(2, one) for one in attributes), *(_bytes(3, one) for one in blocks)])


class _Provider(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers GetSchema, returns what a provider may complete as it is, and has nothing to say about the rest."""

    def __init__(self, schemas: bytes) -> None:
        self._schemas = schemas

    def service(self, call: Any) -> Any:
        service, _, method = call.method.strip("/").partition("/")
        if service != "tfplugin5.Provider":
            return None

        def answered(request: bytes, _context: Any) -> bytes:
            return {"GetSchema": self._schemas, "PrepareProviderConfig": request}.get(method, b"")

        return grpc.unary_unary_rpc_method_handler(answered)


@contextmanager
def serving(path: Path, socket: Path) -> Iterator[str]:
    """Serve the schemas of a file at a socket until the block ends; yield the value of TF_REATTACH_PROVIDERS."""
    ((address, found),) = json.loads(path.read_text())["provider_schemas"].items()
    resources = [
        _bytes(2, _bytes(1, kind) + _bytes(2, _schema(schema))) for kind, schema in found["resource_schemas"].items()
    ]
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers((_Provider(_bytes(1, _schema(found["provider"])) + b"".join(resources)),))
    server.add_insecure_port(f"unix:{socket}")
    server.start()
    config = {
        "Protocol": "grpc",
        "ProtocolVersion": 5,
        "Pid": os.getpid(),
        "Test": True,
        "Addr": {"Network": "unix", "String": str(socket)},
    }
    try:
        yield json.dumps({address: config})
    finally:
        server.stop(None).wait()
