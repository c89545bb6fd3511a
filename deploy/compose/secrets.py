"""Secrets of a composed stack, made once; and certificates of a development authority, made anew each time.

Each container gets one folder, and finds in it what it needs under the same names as the others. The folder around them is
its owner's alone; what is in them has to be readable by the containers' users, whoever they are.
"""

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import trustme
from cryptography import x509
from cryptography.x509.oid import NameOID

from local import secret
from local.database import KINDS, SERVICES
from local.stack import StackFails, alone

CERTIFICATE_DAYS = 90
"""Long enough for any development stack, and short enough that nobody builds on them."""
NAMES_HERE = ("localhost", "127.0.0.1", "::1")
DEVELOPMENT = "development only"
"""By this its certificates are known."""
PASSWORD_BYTES = 24
DATABASE_HOST = "postgres:5432"


def certificates(folder: Path) -> None:
    """Certificates for every container that speaks TLS, by an authority that is made once: `authority/ca.crt`.

    Envoy has two: `tls.crt` for the services, `edge.crt` for its clients. Those of another authority are somebody's own, and stay as
    they are. Raises StackFails.
    """
    authority = _authority(folder / "authority")
    for name in (*SERVICES, "envoy", "prometheus"):
        _certificate(authority, folder / name, name, "tls", "ca.crt")
    _certificate(authority, folder / "envoy", "envoy", "edge", "edge-ca.crt")


def _certificate(authority: trustme.CA, folder: Path, name: str, file: str, ca: str) -> None:
    certificate = folder / f"{file}.crt"
    if _foreign(certificate):
        return
    made = authority.issue_cert(name, *NAMES_HERE, not_after=datetime.now(UTC) + timedelta(days=CERTIFICATE_DAYS))
    _write(certificate, b"".join(blob.bytes() for blob in made.cert_chain_pems))
    _write(certificate.with_suffix(".key"), made.private_key_pem.bytes())
    _write(folder / ca, authority.cert_pem.bytes())


def _foreign(certificate: Path) -> bool:
    """Whether there is a certificate, and it is of no development authority. Raises StackFails."""
    if not certificate.exists():
        return False
    try:
        issuer = x509.load_pem_x509_certificate(certificate.read_bytes()).issuer
    except ValueError as error:
        raise StackFails(
            f"{certificate} is no certificate (PEM): mend it, or remove it for one of the development authority"
        ) from error
    return DEVELOPMENT not in [each.value for each in issuer.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]


def make(folder: Path, database: str) -> None:
    """Everything that the containers are given: copies of what is in `keys/`, made once, and certificates. Raises StackFails."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    with alone(folder / ".lock"):
        _make(folder, database)


def _make(folder: Path, database: str) -> None:
    certificates(folder)
    keys = folder / "keys"
    secret.make(keys, SERVICES)
    for service in SERVICES:
        for name, source in {
            "service.pem": f"{service}.pem",
            "services.jwks.json": "services.jwks.json",
            "token.key": f"{service}.token.key",
            "keyring.json": f"{service}.keyring.json",
        }.items():
            _write(folder / service / name, (keys / source).read_bytes())
    _write(folder / "identity" / "signing.pem", (keys / "signing.pem").read_bytes())
    _passwords(folder, keys, database)


def _passwords(folder: Path, keys: Path, database: str) -> None:
    """The roles' passwords: in URLs for those who log in, as SQL for the job that sets them."""
    for holder in ("postgres", "roles"):
        _write(folder / holder / "password", _kept(keys / "postgres.password"))
    statements = []
    for service in SERVICES:
        for kind in KINDS:
            role = f"{service}_{kind}"
            password = _kept(keys / f"{role}.password").decode()
            statements.append("ALTER ROLE {} PASSWORD '{}';\n".format(role, password.replace("'", "''")))
            # The owner's is for the migrations only: no service logs in with it.
            holder = f"{service}-owner" if kind == "owner" else service
            _write(
                folder / holder / f"{kind}.url",
                f"postgresql://{role}:{quote(password, safe='')}@{DATABASE_HOST}/{database}\n".encode(),
            )
    _write(folder / "roles" / "passwords.sql", "".join(statements).encode())
    _write(folder / "admin" / "password", _kept(keys / "admin.password"))


def _authority(folder: Path) -> trustme.CA:
    certificate, key = folder / "ca.crt", folder / "ca.key"
    if key.exists():
        return trustme.CA.from_pem(certificate.read_bytes(), key.read_bytes())
    made = trustme.CA(organization_name="Teppan", organization_unit_name=DEVELOPMENT)
    _write(certificate, made.cert_pem.bytes())
    _write(key, made.private_key_pem.bytes(), mode=0o600)
    return made


def _kept(path: Path) -> bytes:
    """A password that is made once, or brought, without the line's end. Raises StackFails."""
    if not path.exists():
        _write(path, secrets.token_urlsafe(PASSWORD_BYTES).encode(), mode=0o600)
    password = path.read_bytes().rstrip(b"\r\n")
    if not password:
        raise StackFails(f"{path} is empty: put a password in, or remove it for another one")
    return password


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o755)  # whatever the umask: containers' users read in it, below a folder that only its owner enters
    secret.write(path, content, mode)
