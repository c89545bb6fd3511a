"""payments: the money that comes in for the bookings of every station.

Does    records payments, never more than is owed; lists them; tells what was paid for each booking,
        finally once it takes no more, and what is due to be given back.
Owns    the schema `payments`; the events payments.Payment and payments.Account. Nothing of it is referred to by others.
Calls   identity (stations that rows refer to; revocations), bookings (the booking that money is for, asked every time).
Read    domain, then usecases, then store; wire and rpc are the way in.
"""
