"""Postgres, for every service alike: nothing here knows gRPC, a booking, a station or a payment.

Reading order: `database` (transactions and reads), `tenancy` (whose rows they see), `constraints` (what the database
refuses, as faults), `schema` and `migrate` (how tables come to be), `requests` (one effect for each request),
`feed` (what others learn from this service), `inbox` (what it learns from them), `references` (IDs that point elsewhere).
"""
