"""The trigger that guards a column that refers, and its refusals."""

from sqlalchemy import Table

from dbcommon import parked
from dbcommon.references.states import Known
from faults import Fault, FeedStale, ReferenceClosed


def guard(service: str, table: str, column: str, *, known: Table, owner: str, tenant: str | None = None) -> list[str]:
    """The trigger that lets a row refer only to an OPEN entity, in a database that has caught up with its owner (rules 1, 6, 7).

    `tenant` is the column, of both tables, that must agree besides. Refuses under the names of `refusals`.
    """
    name, key = f"{table}_{column}", next(iter(known.primary_key)).name
    same = f" AND k.{tenant} = NEW.{tenant}" if tenant else ""
    function = f"""CREATE FUNCTION {service}.{name}_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found_state smallint;
  caught_up boolean;
BEGIN
  IF NEW.{column} IS NULL THEN
    RETURN NEW;
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a row that refers is written at READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  SELECT k.state, (SELECT s.ready_incarnation = {service}.incarnation() AND '{table}.{column}' = ANY (s.ready_columns)
                     FROM {service}.feed_state s WHERE s.owner = '{owner}')
      AND NOT {parked.lies_aside(service, owner, f"NEW.{column}")}
    INTO found_state, caught_up FROM {service}.{known.name} k WHERE k.{key} = NEW.{column}{same} FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = '{name}_known';
  END IF;
  IF caught_up IS NOT TRUE THEN
    RAISE EXCEPTION 'not caught up with {owner}' USING ERRCODE = 'check_violation', CONSTRAINT = '{name}_ready';
  END IF;
  IF found_state <> {Known.OPEN:d} THEN
    RAISE EXCEPTION 'not open' USING ERRCODE = 'check_violation', CONSTRAINT = '{name}_open';
  END IF;
  RETURN NEW;
END $$"""
    return [
        function,
        f"REVOKE ALL ON FUNCTION {service}.{name}_guard() FROM PUBLIC",
        f"CREATE TRIGGER {name}_guard BEFORE INSERT OR UPDATE OF {column} ON {service}.{table} FOR EACH ROW EXECUTE FUNCTION {service}.{name}_guard()",
    ]


def refusals(table: str, column: str, *, type: str, owner: str) -> dict[str, Fault]:
    """What the guard of a column refuses, as faults."""
    name = f"{table}_{column}"
    return {
        f"{name}_open": ReferenceClosed(f"the {type} that {column} names is not in use", field=column, type=type),
        f"{name}_known": FeedStale(f"the {type} that {column} names has to be checked again", feed=owner),
        f"{name}_ready": FeedStale(f"not caught up with what {owner} says of the {type} that {column} names", feed=owner),
    }
