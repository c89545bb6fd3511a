"""All SQL of bookings, as functions of a transaction."""
