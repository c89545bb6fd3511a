"""The rules of bookings: nouns, prices, states and times. Pure: no clock, no ID, no I/O."""
