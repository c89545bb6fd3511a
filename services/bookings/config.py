"""What bookings is told by its environment."""

from collections.abc import Mapping
from dataclasses import dataclass

import settings
from dbcommon.private import Keyring
from settings import Reader, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The common settings, and the keys of private data."""

    common: Settings
    keyring: Keyring


def read(environ: Mapping[str, str]) -> Config:
    """Raises SettingsWrong with every mistake."""
    reader = Reader(environ)
    common = settings.read("bookings", reader, peers=("identity", "payments"))
    keyring = reader.file("TEPPAN_KEYRING_FILE", lambda text: Keyring.from_json(text.decode()))
    reader.done()
    return Config(common=common, keyring=keyring)  # type: ignore[arg-type]  # it was read, or `done` raised
