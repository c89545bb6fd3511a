"""Alembic's entry: everything is in dbcommon.migrate."""

from dbcommon import migrate
from payments.tables import SCHEMA

migrate.run(SCHEMA)
