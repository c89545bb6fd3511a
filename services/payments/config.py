"""What payments is told by its environment."""

from collections.abc import Mapping
from dataclasses import dataclass

import settings
from settings import Reader, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The common settings."""

    common: Settings


def read(environ: Mapping[str, str]) -> Config:
    """Raises SettingsWrong with every mistake."""
    reader = Reader(environ)
    common = settings.read("payments", reader, peers=("identity", "bookings"))
    reader.done()
    return Config(common=common)
