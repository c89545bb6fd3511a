"""Alembic's entry: everything is in dbcommon.migrate."""

from dbcommon import migrate
from identity.tables import SCHEMA

migrate.run(SCHEMA)
