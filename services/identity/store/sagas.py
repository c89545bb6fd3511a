"""The sagas that identity began and that have not ended: for the metrics, and for `make sagas`."""

from dbcommon.sagas import Kind

KINDS = (
    Kind(
        name="purge",
        waits_for="those who refer to it, to say that nothing is left",
        unfinished=(
            "SELECT id AS entity_id, CASE WHEN type = 'identity.Station' THEN id END AS station_id, purging_time AS since"
            " FROM identity.purges WHERE purging_time IS NOT NULL"
        ),
    ),
)
