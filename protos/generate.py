"""Makes the Python stubs of protos/teppan, the gRPC service config of its clients and the registry of references, and checks it all.

`generate.py` writes protos/python; `--check` fails where what is committed differs; `--lint` runs buf's lint, and buf's
breaking against protos/baseline.binpb where that is committed; `--baseline` moves the baseline to the present contract.
"""

import argparse
import filecmp
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import google.type as google_type
import grpc_tools
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc

PROTOS = Path(__file__).resolve().parent
THIRD_PARTY = PROTOS.parent / "third_party" / "protovalidate"
PACKAGE = PROTOS / "python"
BASELINE = PROTOS / "baseline.binpb"
BIN = Path(sys.executable).parent
GENERATED = ("teppan", "buf")
SERVICE_CONFIG = Path("teppan") / "service_config.json"
REFERENCES = Path("teppan") / "references.json"
RETRIED = ("RETRY_CLASS_READ", "RETRY_CLASS_REQUEST_ID")
RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
"""Five attempts are the most that gRPC allows; four of them wait at most 2.4 s together."""
THROTTLING = {"maxTokens": 100, "tokenRatio": 0.1}
"""Where half of the last hundred calls failed, a client stops to repeat: else it would add to what is wrong."""


def sources() -> list[str]:
    """All contract files, relative to their roots, and the validation rules' own."""
    return [*sorted(str(p.relative_to(PROTOS)) for p in (PROTOS / "teppan").rglob("*.proto")), "buf/validate/validate.proto"]


def run_protoc(*options: str) -> None:
    """Runs protoc over all sources; its own messages name what is wrong."""
    # The paths that grpcio-tools and googleapis-common-protos were installed to hold the protos of google.*.
    roots = (PROTOS, THIRD_PARTY, Path(grpc_tools.__path__[0]) / "_proto", Path(google_type.__path__[0]).parents[1])
    if protoc.main(["protoc", *(f"-I{root}" for root in roots), *options, *sources()]):
        raise SystemExit("protoc refused the protos; its message is above")


def generate(target: Path) -> None:
    """Writes the stubs, typed, below `target`."""
    options = [f"--python_out={target}", f"--grpc_python_out={target}"]
    for name in ("mypy", "mypy_grpc"):
        options += [f"--plugin=protoc-gen-{name}={BIN / f'protoc-gen-{name}'}", f"--{name}_out=quiet:{target}"]
    run_protoc(*options)
    for source in list(target.rglob("*_pb2_grpc.py")):
        if "Servicer" not in source.read_text():  # a file without a service: nothing is in it
            source.unlink()
            source.with_suffix(".pyi").unlink()
    for folder in sorted({source.parent for source in target.rglob("*.py")}):
        for package in (folder, *folder.parents):
            if package == target:
                break
            (package / "__init__.py").touch()
            (package / "py.typed").touch() if package.parent == target else None
    described = contract()
    (target / SERVICE_CONFIG).write_text(json.dumps(service_config(described), indent=2) + "\n")
    (target / REFERENCES).write_text(json.dumps(references(described), indent=2) + "\n")


def contract() -> FileDescriptorSet:
    """The protos and their imports, described."""
    with tempfile.TemporaryDirectory() as folder:
        return FileDescriptorSet.FromString(descriptor_set(Path(folder) / "contract.binpb", comments=False).read_bytes())


def service_config(described: FileDescriptorSet) -> dict[str, object]:
    """The service config of clients in any language: which calls are safe to send again, as the methods' policies say.

    No deadlines: grpcio ends those of a service config one to two seconds early (grpc/grpc#40633; measured with 1.76: 2 s end
    after 0.1 to 1 s). The server bounds every call anyway, and clients set each call's deadline themselves.
    """
    pool = pool_of(described)
    options = GetMessageClass(pool.FindMessageTypeByName("google.protobuf.MethodOptions"))
    policy = pool.FindExtensionByName("teppan.common.v1.policy")
    retry = pool.FindEnumTypeByName("teppan.common.v1.RetryClass").values_by_number
    names = [
        {"service": f"{file.package}.{service.name}", "method": method.name}
        for file in described.file
        for service in file.service
        for method in service.method
        if retry[options.FromString(method.options.SerializeToString()).Extensions[policy].retry].name in RETRIED  # type: ignore[index]  # an extension of the pool, and not of a stub
    ]
    return {"methodConfig": [{"name": names, "retryPolicy": RETRY}], "retryThrottling": THROTTLING}


def references(described: FileDescriptorSet) -> list[dict[str, str]]:
    """The registry of references: every column that is declared to hold the ID of another service's thing, and its rule."""
    pool = pool_of(described)
    options = GetMessageClass(pool.FindMessageTypeByName("google.protobuf.FieldOptions"))
    reference = pool.FindExtensionByName("teppan.common.v1.reference")
    rules = pool.FindEnumTypeByName("teppan.common.v1.OnDelete").values_by_number
    found = []
    for file in described.file:
        for field in [field for message in file.message_type for field in fields(message)]:
            declared: Any = options.FromString(field.options.SerializeToString()).Extensions[reference]  # type: ignore[index]  # an extension of the pool, and not of a stub
            for column in declared.columns:
                rule = rules[declared.on_delete].name.removeprefix("ON_DELETE_")
                found.append({"column": f"{file.package.split('.')[1]}.{column}", "to": declared.to, "on_delete": rule})
    return sorted(found, key=lambda each: each["column"])


def fields(message: DescriptorProto) -> Sequence[FieldDescriptorProto]:
    """The fields of a message, and of those within it."""
    return [*message.field, *(field for nested in message.nested_type for field in fields(nested))]


def pool_of(described: FileDescriptorSet) -> DescriptorPool:
    """All of it, linked."""
    pool = DescriptorPool()
    for file in described.file:
        pool.Add(file)
    return pool


def differences(made: Path, committed: Path) -> Iterator[str]:
    """What `make proto` would change, one sentence each."""
    for name in GENERATED:
        fresh = {p.relative_to(made) for p in (made / name).rglob("*") if p.is_file()}
        there = {p.relative_to(committed) for p in (committed / name).rglob("*") if p.is_file() and "__pycache__" not in p.parts}
        there = {p for p in there if p.parts[:2] != ("teppan", "client")}  # written by hand
        yield from (f"{path} is missing" for path in sorted(fresh - there))
        yield from (f"{path} is made by no proto" for path in sorted(there - fresh))
        yield from (f"{p} differs" for p in sorted(fresh & there) if not filecmp.cmp(made / p, committed / p, shallow=False))


def check() -> None:
    """Fails where the committed stubs are not those of the protos."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        if found := list(differences(Path(folder), PACKAGE)):
            raise SystemExit("\n".join(["The committed stubs are not those of the protos; run `make proto`:", *found]))


def write() -> None:
    """Replaces the committed stubs."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        for name in GENERATED:
            for old in [
                p for p in (PACKAGE / name).rglob("*") if p.is_file() and p.relative_to(PACKAGE).parts[:2] != ("teppan", "client")
            ]:
                old.unlink()
            shutil.copytree(Path(folder) / name, PACKAGE / name, dirs_exist_ok=True)


def descriptor_set(target: Path, *, comments: bool) -> Path:
    """The contract and its imports as one FileDescriptorSet."""
    run_protoc(f"--descriptor_set_out={target}", "--include_imports", *(["--include_source_info"] if comments else []))
    return target


def lint() -> None:
    """Lints the contract, and compares it with the one that was promised."""
    buf = str(BIN / "buf")
    with tempfile.TemporaryDirectory() as folder:
        image = descriptor_set(Path(folder) / "contract.binpb", comments=True)
        calls = [[buf, "lint", str(image), "--config", str(PROTOS / "buf.yaml")]]
        if BASELINE.exists():
            calls.append([buf, "breaking", str(image), "--against", str(BASELINE), "--config", str(PROTOS / "buf.yaml")])
        environ = {**os.environ, "BUF_CACHE_DIR": folder}  # homes can be read-only
        codes = [subprocess.run(call, check=False, cwd=PROTOS, env=environ).returncode for call in calls]
        if any(codes):
            raise SystemExit(f"buf {importlib.metadata.version('buf-bin')} refused the contract; its message is above")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--check", action="store_true")
    choice.add_argument("--lint", action="store_true")
    choice.add_argument("--baseline", action="store_true")
    chosen = parser.parse_args()
    if chosen.check:
        check()
    elif chosen.lint:
        lint()
    elif chosen.baseline:
        descriptor_set(BASELINE, comments=False)
    else:
        write()


if __name__ == "__main__":
    main()
