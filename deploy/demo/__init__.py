"""`make demo`: what Teppan does, shown to a person, on a fresh stack and through gRPC only, as another backend would call it.

Read    scene (who there is), load (10,000 bookings), listing (streamed, broken, resumed), story (one booking, and refusals).
"""
