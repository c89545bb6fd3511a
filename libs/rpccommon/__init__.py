"""gRPC, for every service alike: nothing here knows SQL, a booking, a station or a payment.

Reading order: `policies` (what the contract says of a method), `auth` (who calls, and may they), `shape` (is the request well
formed), `calls` (what stands around every call, in which order), `status` (faults on the wire), `telemetry`, `server` with
`health`, `client`; then `feed` and `references`, whose SQL is in dbcommon.
"""
