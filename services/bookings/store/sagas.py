"""The sagas that bookings began, or whose next step is here, and that have not ended: for the metrics, and for `make sagas`."""

from dbcommon.sagas import Kind

KINDS = (
    Kind(
        name="expiring",
        waits_for="payments, which closes the account and says what was paid",
        unfinished="SELECT id AS entity_id, station_id, expiring_time AS since FROM bookings.bookings WHERE state = 3",
    ),
    Kind(
        name="money_lost",
        waits_for="an operator: payments lost it in a restore (deploy/README.md)",
        unfinished="SELECT booking_id AS entity_id, station_id, found_time AS since FROM bookings.lost_money WHERE settled_time IS NULL",
    ),
    Kind(
        name="deposit_parked",
        waits_for="an operator: make events S=bookings",
        unfinished=(
            "SELECT entity_id, station_id, aside_time AS since FROM bookings.parked_events"
            " WHERE owner = 'payments' AND type = 'payments.Account' AND (next_attempt_time IS NOT NULL OR parked_time IS NOT NULL)"
        ),
    ),
)
