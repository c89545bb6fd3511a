"""The contract of BookingsService without what only Teppan reads in it: options of other files, and the imports that declare them.

So the stubs of a peer need nothing but the well-known types, whatever language its generator makes.
"""

import subprocess
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto
from google.protobuf.timestamp_pb2 import DESCRIPTOR as TIMESTAMP
from google.type.date_pb2 import DESCRIPTOR as DATE
from google.type.timeofday_pb2 import DESCRIPTOR as TIMEOFDAY
from teppan.bookings.v1.bookings_pb2 import DESCRIPTOR as BOOKINGS

KEPT = (TIMESTAMP, DATE, TIMEOFDAY)
GO_PACKAGE = "teppan/bookingspb"
GO_PACKAGES = {
    TIMESTAMP.name: "github.com/golang/protobuf/ptypes/timestamp",
    DATE.name: "google.golang.org/genproto/googleapis/type/date",
    TIMEOFDAY.name: "google.golang.org/genproto/googleapis/type/timeofday",
}


class GeneratorFails(Exception):
    """The generator of stubs refused the contract; the message has what it said."""


def bare_contract() -> FileDescriptorProto:
    """Returns bookings.proto with no option and no import but the well-known types."""
    file = FileDescriptorProto()
    BOOKINGS.CopyToProto(file)
    kept = [each.name for each in KEPT]
    del file.dependency[:]
    file.dependency.extend(kept)
    file.ClearField("options")
    file.options.go_package = GO_PACKAGE
    for message in file.message_type:
        _strip(message)
    for enum in file.enum_type:
        enum.ClearField("options")
    for service in file.service:
        service.ClearField("options")
        for method in service.method:
            method.ClearField("options")
    return file


def _strip(message: DescriptorProto) -> None:
    message.ClearField("options")
    for field in message.field:
        field.ClearField("options")
    for nested in message.nested_type:
        _strip(nested)


def go_stubs(generator: str, target: Path) -> None:
    """Writes the messages and the gRPC service for Go below `target`. Raises GeneratorFails."""
    contract = bare_contract()
    packages = ",".join(f"M{name}={package}" for name, package in GO_PACKAGES.items())
    request = CodeGeneratorRequest(file_to_generate=[contract.name], parameter=f"plugins=grpc,{packages}")
    for each in KEPT:
        each.CopyToProto(request.proto_file.add())
    request.proto_file.append(contract)
    done = subprocess.run([generator], input=request.SerializeToString(), capture_output=True, check=False)
    answer = CodeGeneratorResponse.FromString(done.stdout) if done.returncode == 0 else CodeGeneratorResponse()
    if done.returncode or answer.error:
        raise GeneratorFails(answer.error or done.stderr.decode())
    for file in answer.file:
        path = target / Path(file.name).name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != file.content:  # a file that stays is not compiled again
            path.write_text(file.content)
