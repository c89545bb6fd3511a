"""Who a process is to others on the network: its certificate, and the authority that theirs have to come from.

Between services TLS is mutual. Plaintext is for loopback, or for where somebody asked for it by name.
"""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509


class TlsWrong(ValueError):
    """A certificate, a key or an authority is not what it should be; the message says which, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Three PEM files. They are read when a process starts: it learns of new ones by starting again."""

    certificate_file: Path
    """The process's own certificate, and what leads from it to the authority; for servers and clients alike."""
    key_file: Path
    ca_file: Path
    """Certificates of the authorities that others are believed by."""

    @property
    def certificate(self) -> bytes:
        """The certificate, PEM."""
        return self.certificate_file.read_bytes()

    @property
    def key(self) -> bytes:
        """Its private key, PEM."""
        return self.key_file.read_bytes()

    @property
    def ca(self) -> bytes:
        """The authorities, PEM."""
        return self.ca_file.read_bytes()

    def check(self, now: datetime) -> None:
        """Raises TlsWrong where the key is not that of the certificate, or the certificate does not hold at present."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_verify_locations(self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise TlsWrong(f"{self.ca_file} holds no certificate of an authority: {error}") from error
        try:
            context.load_cert_chain(self.certificate_file, self.key_file, password="")  # else it would ask, on a terminal
        except (OSError, ssl.SSLError) as error:
            raise TlsWrong(f"{self.certificate_file} and {self.key_file} are not a certificate and its key: {error}") from error
        own = x509.load_pem_x509_certificate(self.certificate)
        if not own.not_valid_before_utc <= now < own.not_valid_after_utc:
            raise TlsWrong(f"{self.certificate_file} holds from {own.not_valid_before_utc} to {own.not_valid_after_utc} only")

    @property
    def not_after(self) -> datetime:
        """Until when the certificate holds."""
        return x509.load_pem_x509_certificate(self.certificate).not_valid_after_utc

    @property
    def name(self) -> str:
        """The first name that the certificate is for."""
        own = x509.load_pem_x509_certificate(self.certificate)
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return next(iter(names.get_values_for_type(x509.DNSName)), "localhost")


def on_loopback(address: str) -> bool:
    """Whether `host:port` is of this machine only, whatever is configured elsewhere."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
