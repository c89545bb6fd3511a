"""The composed stack's secrets: who can read them, what stays when they are made again, and what is renewed."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from compose import secrets
from local import secret
from local.database import ROOT, SERVICES
from local.stack import StackFails, alone

TLS = (*SERVICES, "envoy", "prometheus")
RENEWED = {"tls.crt", "tls.key", "edge.crt", "edge.key"}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o000])
def test_only_their_owner_enters_and_containers_read_what_is_theirs(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)  # it was there before
    before = os.umask(umask)
    try:
        secrets.make(folder, "teppan")
    finally:
        os.umask(before)
    assert mode(folder) == 0o700
    for name in (*TLS, "postgres", "roles", "admin", *(f"{service}-owner" for service in SERVICES)):
        assert mode(folder / name) == 0o755
        assert {mode(path) for path in (folder / name).iterdir()} == {0o644}
    assert mode(folder / "authority" / "ca.key") == 0o600
    assert {mode(path) for path in (folder / "keys").iterdir()} == {0o600}


def test_made_again_everything_stays_but_the_certificates(tmp_path: Path) -> None:
    secrets.make(tmp_path, "teppan")
    before = contents(tmp_path)
    secrets.make(tmp_path, "teppan")
    after = contents(tmp_path)
    assert set(before) == set(after)
    assert {Path(name).name for name in before if before[name] != after[name]} == RENEWED


def test_certificates_are_of_the_authority_in_the_names_that_they_are_called_by(tmp_path: Path) -> None:
    secrets.make(tmp_path, "teppan")
    authority = x509.load_pem_x509_certificate((tmp_path / "authority" / "ca.crt").read_bytes())
    for name in TLS:
        own = x509.load_pem_x509_certificate((tmp_path / name / "tls.crt").read_bytes())
        own.verify_directly_issued_by(authority)
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        assert names == [name, "localhost"]
        key = load_pem_private_key((tmp_path / name / "tls.key").read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert key.public_key() == own.public_key()
        assert (tmp_path / name / "ca.crt").read_bytes() == (tmp_path / "authority" / "ca.crt").read_bytes()


def test_envoy_shows_its_clients_another_certificate_than_the_services(tmp_path: Path) -> None:
    secrets.make(tmp_path, "teppan")
    folder = tmp_path / "envoy"
    own, edge = [x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes()) for name in ("tls", "edge")]
    assert own.public_key() != edge.public_key()
    edge.verify_directly_issued_by(x509.load_pem_x509_certificate((folder / "edge-ca.crt").read_bytes()))


def test_certificates_that_somebody_brought_stay_and_a_new_authority_renews_the_old_ones(tmp_path: Path) -> None:
    secrets.make(tmp_path, "teppan")
    acme = trustme.CA(organization_name="Acme")
    brought = acme.issue_cert("envoy")
    secret.write(tmp_path / "envoy" / "edge.crt", brought.cert_chain_pems[0].bytes())
    secret.write(tmp_path / "envoy" / "edge.key", brought.private_key_pem.bytes())
    secret.write(tmp_path / "envoy" / "edge-ca.crt", acme.cert_pem.bytes())
    for path in (tmp_path / "authority").iterdir():
        path.unlink()
    secrets.make(tmp_path, "teppan")
    assert (tmp_path / "envoy" / "edge.crt").read_bytes() == brought.cert_chain_pems[0].bytes()
    assert (tmp_path / "envoy" / "edge-ca.crt").read_bytes() == acme.cert_pem.bytes()
    authority = x509.load_pem_x509_certificate((tmp_path / "authority" / "ca.crt").read_bytes())
    for name in ("bookings", "envoy"):
        x509.load_pem_x509_certificate((tmp_path / name / "tls.crt").read_bytes()).verify_directly_issued_by(authority)


def test_a_broken_certificate_is_named(tmp_path: Path) -> None:
    secrets.make(tmp_path, "teppan")
    (tmp_path / "bookings" / "tls.crt").write_text("broken")
    with pytest.raises(StackFails, match=r"bookings/tls\.crt is no certificate"):
        secrets.make(tmp_path, "teppan")


def test_a_password_that_somebody_brought_is_quoted_where_it_is_used(tmp_path: Path) -> None:
    secrets.make(tmp_path, "teppan")
    (tmp_path / "keys" / "bookings_app.password").write_text("it's@/:%\n")
    secrets.make(tmp_path, "teppan")
    assert "ALTER ROLE bookings_app PASSWORD 'it''s@/:%';\n" in (tmp_path / "roles" / "passwords.sql").read_text()
    url = urlsplit((tmp_path / "bookings" / "app.url").read_text())
    assert unquote(url.password or "") == "it's@/:%"
    (tmp_path / "keys" / "bookings_app.password").write_text("\n")
    with pytest.raises(StackFails, match=r"bookings_app\.password is empty"):
        secrets.make(tmp_path, "teppan")


def test_keys_that_were_rotated_in_keys_reach_the_container(tmp_path: Path) -> None:
    secrets.make(tmp_path, "teppan")
    with (tmp_path / "keys" / "signing.pem").open("ab") as both:
        both.write((tmp_path / "keys" / "bookings.pem").read_bytes())
    secrets.make(tmp_path, "teppan")
    assert (tmp_path / "identity" / "signing.pem").read_bytes().count(b"BEGIN PRIVATE KEY") == 2


def test_a_service_whose_key_was_lost_is_known_by_its_new_one(tmp_path: Path) -> None:
    secrets.make(tmp_path, "teppan")
    before = json.loads((tmp_path / "payments" / "services.jwks.json").read_text())["keys"]
    (tmp_path / "keys" / "bookings.pem").unlink()
    secrets.make(tmp_path, "teppan")
    after = json.loads((tmp_path / "payments" / "services.jwks.json").read_text())["keys"]
    assert [old["kid"] for old, new in zip(before, after, strict=True) if old != new] == ["bookings"]


def test_two_at_once_do_not_mix(tmp_path: Path) -> None:
    with alone(tmp_path / ".lock"), pytest.raises(StackFails, match="another command is at it"):
        secrets.make(tmp_path, "teppan")


def test_a_disk_that_is_full_leaves_no_half_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            secret.write(tmp_path / "keyring.json", b"{}")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environ = {
        **os.environ,
        "TEPPAN_COMPOSE_FOLDER": str(tmp_path / "file" / "below"),
        "PYTHONPATH": "services:libs:protos/python:deploy",
    }
    done = subprocess.run(
        [sys.executable, "-m", "compose", "certs"], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Not a directory" in done.stderr
    assert "Traceback" not in done.stderr
