"""What the contract says of its methods, read from the options in the protos."""

from collections.abc import Mapping

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from teppan.common.v1 import options_pb2
from teppan.common.v1.options_pb2 import MethodPolicy

PUBLIC = MethodPolicy(scope=options_pb2.SCOPE_PUBLIC, retry=options_pb2.RETRY_CLASS_READ, permission="health")
OUTSIDE = {
    "/grpc.health.v1.Health/Check": PUBLIC,
    "/grpc.health.v1.Health/Watch": PUBLIC,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": PUBLIC,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": PUBLIC,
}
"""Methods of other people's protos, which have no options of ours."""


class PolicyMissing(Exception):
    """A method of ours says nothing of who may call it."""


def policies(*services: ServiceDescriptor) -> Mapping[str, MethodPolicy]:
    """The policy of every method, by its full path; raises PolicyMissing."""
    found = dict(OUTSIDE)
    for service in services:
        for method in service.methods:
            policy = method.GetOptions().Extensions[options_pb2.policy]
            if method.client_streaming:
                raise PolicyMissing(f"{method.full_name} streams requests, which nothing here would bound")
            roleless = policy.scope == options_pb2.SCOPE_STATION and not policy.role
            if not policy.scope or not policy.retry or not policy.permission or roleless:
                raise PolicyMissing(f"{method.full_name} has no complete (teppan.common.v1.policy) in its proto")
            found[path(method)] = policy
    return found


def path(method: MethodDescriptor) -> str:
    """As gRPC names a method on the wire."""
    return f"/{method.containing_service.full_name}/{method.name}"
