"""Alembic's entry: everything is in dbcommon.migrate."""

from bookings.tables import SCHEMA
from dbcommon import migrate

migrate.run(SCHEMA)
