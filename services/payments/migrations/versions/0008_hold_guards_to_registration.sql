ALTER TABLE payments.feed_state ADD COLUMN ready_columns TEXT[] DEFAULT '{}' NOT NULL;

UPDATE payments.feed_state SET ready_columns = ARRAY['payments.booking_id']
WHERE owner = 'bookings';

UPDATE payments.feed_state SET ready_columns = ARRAY['payments.station_id']
WHERE owner = 'identity';

CREATE OR REPLACE FUNCTION payments.incarnation() RETURNS text LANGUAGE sql AS $$
  SELECT extract(epoch FROM pg_postmaster_start_time())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
         || '/' || to_regclass('payments.feed_head')::oid::text || '/' || to_regclass('payments.known_stations')::oid::text || '/' || to_regclass('payments.booking_accounts')::oid::text
$$;

CREATE OR REPLACE FUNCTION payments.payments_station_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found_state smallint;
  caught_up boolean;
BEGIN
  IF NEW.station_id IS NULL THEN
    RETURN NEW;
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a row that refers is written at READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  SELECT k.state, (SELECT s.ready_incarnation = payments.incarnation() AND 'payments.station_id' = ANY (s.ready_columns)
                     FROM payments.feed_state s WHERE s.owner = 'identity')
      AND NOT EXISTS (SELECT FROM payments.parked_events p WHERE p.owner = 'identity' AND p.entity_id = NEW.station_id)
    INTO found_state, caught_up FROM payments.known_stations k WHERE k.id = NEW.station_id FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'payments_station_id_known';
  END IF;
  IF caught_up IS NOT TRUE THEN
    RAISE EXCEPTION 'not caught up with identity' USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_station_id_ready';
  END IF;
  IF found_state <> 1 THEN
    RAISE EXCEPTION 'not open' USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_station_id_open';
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION payments.payments_booking_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found_state smallint;
  caught_up boolean;
BEGIN
  IF NEW.booking_id IS NULL THEN
    RETURN NEW;
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a row that refers is written at READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  SELECT k.state, (SELECT s.ready_incarnation = payments.incarnation() AND 'payments.booking_id' = ANY (s.ready_columns)
                     FROM payments.feed_state s WHERE s.owner = 'bookings')
      AND NOT EXISTS (SELECT FROM payments.parked_events p WHERE p.owner = 'bookings' AND p.entity_id = NEW.booking_id)
    INTO found_state, caught_up FROM payments.booking_accounts k WHERE k.booking_id = NEW.booking_id AND k.station_id = NEW.station_id FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'payments_booking_id_known';
  END IF;
  IF caught_up IS NOT TRUE THEN
    RAISE EXCEPTION 'not caught up with bookings' USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_booking_id_ready';
  END IF;
  IF found_state <> 1 THEN
    RAISE EXCEPTION 'not open' USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_booking_id_open';
  END IF;
  RETURN NEW;
END $$;
