"""gRPC, for every service alike: nothing here knows SQL, a booking, a station or a payment.

Reading order: `policies` (what the contract says of a method), `auth` (who calls, and may they), `calls` (what stands around
every call), `status` (faults on the wire), `server`, `client`; then `feed` and `references`, whose SQL is in dbcommon.
"""
