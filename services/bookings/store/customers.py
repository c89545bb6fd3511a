"""Customers. Email and phone are sealed; equality goes by their blind indexes."""

from typing import Any
from uuid import UUID

from bookings.domain.customers import Customer, CustomerEmailTaken, CustomerNotFound
from bookings.tables import customers
from dbcommon import references
from dbcommon.constraints import refusing
from dbcommon.database import Database, Transaction
from dbcommon.private import Keyring
from dbcommon.statements import inserting


async def insert_customer(tx: Transaction, keyring: Keyring, customer: Customer) -> Customer:
    """Raises CustomerEmailTaken, ReferenceClosed, FeedStale."""
    row = {
        "station_id": customer.station_id,
        "id": customer.customer_id,
        "user_id": customer.user_id,
        "name": customer.name,
        "email": keyring.seal(customer.email, place=_place(customer.customer_id, "email")),
        "email_index": keyring.index(customer.email, column="customers.email"),
        "phone": keyring.seal(customer.phone, place=_place(customer.customer_id, "phone")) if customer.phone else None,
        "phone_index": keyring.index(customer.phone, column="customers.phone") if customer.phone else None,
        "version": customer.version,
        "create_time": customer.create_time,
        "update_time": customer.update_time,
    }
    faults = {
        "customers_station_id_email_index_key": CustomerEmailTaken("another customer of the station has that email"),
        **references.refusals("customers", "station_id", type="identity.Station", owner="identity"),
        **references.refusals("customers", "user_id", type="identity.User", owner="identity"),
    }
    with refusing(faults):
        await tx.execute(inserting(customers, row), row)
    return customer


async def get_customer(app: Database, keyring: Keyring, station_id: UUID, customer_id: UUID) -> Customer:
    """Raises CustomerNotFound."""
    body = f"SELECT {COLUMNS} FROM bookings.customers b WHERE b.station_id = s.tenant AND b.id = $2 LIMIT 1"
    rows = await app.read(body, customer_id, tenant=station_id)
    if not rows:
        raise CustomerNotFound("there is no such customer in this station", customer_id=customer_id)
    return _customer(rows[0], keyring)


COLUMNS = "id, station_id, name, email, phone, user_id, version, create_time, update_time"


def _place(customer_id: UUID, column: str) -> str:
    return f"customers.{column}:{customer_id}"


def _customer(row: Any, keyring: Keyring) -> Customer:
    id = row["id"]
    return Customer(
        customer_id=id,
        station_id=row["station_id"],
        name=row["name"],
        email=keyring.open(row["email"], place=_place(id, "email")),
        phone=keyring.open(row["phone"], place=_place(id, "phone")) if row["phone"] else "",
        user_id=row["user_id"],
        version=row["version"],
        create_time=row["create_time"],
        update_time=row["update_time"],
    )
