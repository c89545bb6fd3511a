"""Server reflection under both of its names: tools ask for v1 first, and grpcio-reflection has v1alpha only."""

from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from rpccommon.methods import Methods

STABLE = "grpc.reflection.v1.ServerReflection"


def add_reflection(methods: Methods, names: Sequence[str]) -> None:
    """Adds both services, which describe the services of these names and themselves."""
    _describe_stable()
    servicer = reflection.aio.ReflectionServicer([*names, reflection.SERVICE_NAME, STABLE])
    add: Any = reflection_pb2_grpc.add_ServerReflectionServicer_to_server  # has no types
    add(servicer, methods)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods.add_registered_method_handlers(STABLE, {"ServerReflectionInfo": handler})


def _describe_stable() -> None:
    """Makes the proto of v1 out of that of v1alpha, from which it differs by its package, for who asks what v1 is."""
    alpha, stable = descriptor_pb2.FileDescriptorProto(), descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(alpha)
    text_format.Parse(text_format.MessageToString(alpha).replace("v1alpha", "v1"), stable)
    descriptor_pool.Default().AddSerializedFile(stable.SerializeToString())
