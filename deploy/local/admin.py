"""The first platform administrator of a stack on this machine, and how others call the stack."""

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import grpc
from teppan.identity.v1 import tokens_pb2, tokens_pb2_grpc

from local import secret
from local.database import ROOT
from local.stack import NO_PROXY, PYTHONPATH, Stack, StackFails

EMAIL = "admin@teppan.example"
NAME = "First Administrator"
LOGIN_SECONDS = 10.0


def describe(stack: Stack) -> Mapping[str, str]:
    """Makes the administrator where there is none, logs in, and writes `stack.json`: addresses, token, database."""
    password_file = stack.folder / "secrets" / "admin.password"
    if not password_file.exists():
        secret.write(password_file, secrets.token_urlsafe(18).encode())
    _bootstrap(stack, str(password_file))
    token = asyncio.run(_login(stack.address("identity"), password_file.read_text()))
    known = {
        **{service: stack.address(service) for service in stack.ports},
        "token": token,
        "email": EMAIL,
        "password_file": str(password_file),
        "database_url": stack.server.url(stack.database),
    }
    secret.write(stack.folder / "stack.json", (json.dumps(known, indent=2) + "\n").encode())
    return known


def greeting(stack: Stack, known: Mapping[str, str]) -> str:
    """What `make up` says when all is up."""
    services = "\n".join(f"  {service:9} {stack.address(service)}" for service in stack.ports)
    return f"""Teppan serves (gRPC, plaintext, this machine only):
{services}
Platform administrator: {known["email"]}, password in {known["password_file"]}
A token of theirs, good for 15 minutes (`make token` gives another), to be sent as `authorization: Bearer <token>`:
{known["token"]}
All of this: {stack.folder / "stack.json"}. Next: `make status`, `make logs S=bookings`, `make psql S=bookings`, `make down`."""


def _bootstrap(stack: Stack, password_file: str) -> None:
    command = [
        sys.executable, "-m", "identity", "bootstrap", "--email", EMAIL, "--name", NAME, "--password-file", password_file,
    ]  # fmt: skip
    environ = {"PYTHONPATH": PYTHONPATH, **stack.environ("identity")}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StackFails(f"the first administrator cannot be made: {done.stderr.strip()}")


async def _login(address: str, password: str) -> str:
    async with grpc.aio.insecure_channel(address, options=NO_PROXY) as channel:
        stub: Any = tokens_pb2_grpc.TokensServiceStub(channel)
        request = tokens_pb2.LoginRequest(email=EMAIL, password=password)
        return str((await stub.Login(request, timeout=LOGIN_SECONDS)).access_token)
