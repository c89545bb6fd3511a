"""Customers."""

from teppan.bookings.v1 import customers_pb2 as pb

from bookings.domain.customers import Customer, NewCustomer, normalise_email
from ids import parsed
from rpccommon.values import name_from_pb, optional_id, set_instant


def new_customer_from_pb(request: pb.CreateCustomerRequest) -> NewCustomer:
    """The customer that is asked for, normalised. Raises InvalidArgument for what is no name."""
    return NewCustomer(
        station_id=parsed(request.station_id),
        name=name_from_pb(request.name, "name"),
        email=normalise_email(request.email),
        phone=request.phone,
        user_id=optional_id(request.user_id),
    )


def customer_to_pb(customer: Customer) -> pb.Customer:
    """A customer, private data included."""
    message = pb.Customer(
        customer_id=str(customer.customer_id),
        station_id=str(customer.station_id),
        user_id=str(customer.user_id) if customer.user_id else "",
        name=customer.name,
        email=customer.email,
        phone=customer.phone,
        etag=str(customer.version),
    )
    set_instant(message.create_time, customer.create_time)
    set_instant(message.update_time, customer.update_time)
    return message
