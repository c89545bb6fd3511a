"""bookings: customers, schedules, slots, prices and bookings of every station.

Does    takes bookings of slots, each within its capacity; lists them (the hot path); cancels them;
        has those expire whose deposit does not come.
Owns    the schema `bookings`; the types bookings.Booking and bookings.Customer.
Calls   identity (stations and users that rows refer to; revocations); hears of payments (deposits).
Read    domain, then usecases, then store; wire and rpc are the way in, workers what happens by itself.
"""
