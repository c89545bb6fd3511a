"""`python -m compose COMMAND`: the stack in containers, as the Makefile offers it."""

import argparse
import os
import sys
from pathlib import Path

import grpc

from compose import secrets
from compose.stack import DATABASE, Composed, EngineFails, engine
from local.database import ROOT
from local.ports import PORTS, BadPorts, chosen_ports, refuse_shared
from local.stack import StackFails

FOLDER = Path(os.environ.get("TEPPAN_COMPOSE_FOLDER") or ROOT / "build" / "compose").resolve()
"""Where the secrets and the description are."""
PROJECT = os.environ.get("TEPPAN_PROJECT") or "teppan"
OTHERS = {"version": "TEPPAN_VERSION", "email": "TEPPAN_ADMIN_EMAIL"}
REFUSED = 2


def main(arguments: list[str]) -> int:
    """Runs a command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m compose", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run in {"certs": certs, "up": up, "down": down}.items():
        commands.add_parser(name, help=run.__doc__).set_defaults(run=run)
    commands.choices["up"].add_argument("--ports", default="", help="'identity=6051 bookings=6052': others than 50051 to 50053")
    commands.choices["down"].add_argument("--data", action="store_true", help="remove the data too")
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except (BadPorts, EngineFails, StackFails, OSError) as refusal:
        print(refusal, file=sys.stderr)
    except grpc.RpcError as error:
        print(f"The stack is up, and the administrator cannot log in: {error}", file=sys.stderr)
    return REFUSED


def certs(chosen: argparse.Namespace) -> int:
    """Make the secrets that are missing, and new certificates by the development authority"""
    secrets.make(FOLDER / "secrets", DATABASE)
    print(f"{FOLDER / 'secrets'}: a folder for each container; certificates hold {secrets.CERTIFICATE_DAYS} days.")
    return 0


def up(chosen: argparse.Namespace) -> int:
    """Make the images, start the stack, and say how to call it"""
    engine("info")
    chosen_by_name = {name: os.environ[variable] for name, variable in OTHERS.items() if os.environ.get(variable)}
    ports = chosen_ports(chosen.ports)
    refuse_shared(ports, {})
    stack = Composed(folder=FOLDER, project=PROJECT, ports=ports, **chosen_by_name)
    stack.up(show=True)
    known = stack.describe()
    print(f"""
Teppan serves (gRPC over TLS, this machine only):
{chr(10).join(f"  {service:9} {stack.address(service)}" for service in stack.ports)}
Clients believe it by {known["ca"]}
Platform administrator: {known["email"]}, password in {known["password_file"]}
All of this, and a token: {FOLDER / "stack.json"}. Next: deploy/README.md; `make compose-down`.""")
    return 0


def down(chosen: argparse.Namespace) -> int:
    """Stop the stack and remove its containers; data stay, unless --data"""
    engine("info")
    Composed(folder=FOLDER, project=PROJECT, ports=PORTS).down(data=chosen.data, show=True)
    print("Nothing of it runs, and its data are gone." if chosen.data else "Nothing of it runs; data stay in its volumes.")
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
