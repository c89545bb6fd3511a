ALTER TABLE bookings.feed_state ADD COLUMN ready_columns TEXT[] DEFAULT '{}' NOT NULL;

UPDATE bookings.feed_state SET ready_columns = ARRAY['bookings.station_id', 'customers.station_id', 'customers.user_id', 'schedules.station_id', 'slots.station_id']
WHERE owner = 'identity';

GRANT DELETE ON bookings.referrers TO bookings_platform;

CREATE OR REPLACE FUNCTION bookings.incarnation() RETURNS text LANGUAGE sql AS $$
  SELECT extract(epoch FROM pg_postmaster_start_time())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
         || '/' || to_regclass('bookings.feed_head')::oid::text || '/' || to_regclass('bookings.known_stations')::oid::text || '/' || to_regclass('bookings.known_users')::oid::text
$$;

CREATE OR REPLACE FUNCTION bookings.customers_station_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
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
  SELECT k.state, (SELECT s.ready_incarnation = bookings.incarnation() AND 'customers.station_id' = ANY (s.ready_columns)
                     FROM bookings.feed_state s WHERE s.owner = 'identity')
      AND NOT EXISTS (SELECT FROM bookings.parked_events p WHERE p.owner = 'identity' AND p.entity_id = NEW.station_id)
    INTO found_state, caught_up FROM bookings.known_stations k WHERE k.id = NEW.station_id FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'customers_station_id_known';
  END IF;
  IF caught_up IS NOT TRUE THEN
    RAISE EXCEPTION 'not caught up with identity' USING ERRCODE = 'check_violation', CONSTRAINT = 'customers_station_id_ready';
  END IF;
  IF found_state <> 1 THEN
    RAISE EXCEPTION 'not open' USING ERRCODE = 'check_violation', CONSTRAINT = 'customers_station_id_open';
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION bookings.customers_user_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found_state smallint;
  caught_up boolean;
BEGIN
  IF NEW.user_id IS NULL THEN
    RETURN NEW;
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a row that refers is written at READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  SELECT k.state, (SELECT s.ready_incarnation = bookings.incarnation() AND 'customers.user_id' = ANY (s.ready_columns)
                     FROM bookings.feed_state s WHERE s.owner = 'identity')
      AND NOT EXISTS (SELECT FROM bookings.parked_events p WHERE p.owner = 'identity' AND p.entity_id = NEW.user_id)
    INTO found_state, caught_up FROM bookings.known_users k WHERE k.id = NEW.user_id FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'customers_user_id_known';
  END IF;
  IF caught_up IS NOT TRUE THEN
    RAISE EXCEPTION 'not caught up with identity' USING ERRCODE = 'check_violation', CONSTRAINT = 'customers_user_id_ready';
  END IF;
  IF found_state <> 1 THEN
    RAISE EXCEPTION 'not open' USING ERRCODE = 'check_violation', CONSTRAINT = 'customers_user_id_open';
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION bookings.schedules_station_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
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
  SELECT k.state, (SELECT s.ready_incarnation = bookings.incarnation() AND 'schedules.station_id' = ANY (s.ready_columns)
                     FROM bookings.feed_state s WHERE s.owner = 'identity')
      AND NOT EXISTS (SELECT FROM bookings.parked_events p WHERE p.owner = 'identity' AND p.entity_id = NEW.station_id)
    INTO found_state, caught_up FROM bookings.known_stations k WHERE k.id = NEW.station_id FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'schedules_station_id_known';
  END IF;
  IF caught_up IS NOT TRUE THEN
    RAISE EXCEPTION 'not caught up with identity' USING ERRCODE = 'check_violation', CONSTRAINT = 'schedules_station_id_ready';
  END IF;
  IF found_state <> 1 THEN
    RAISE EXCEPTION 'not open' USING ERRCODE = 'check_violation', CONSTRAINT = 'schedules_station_id_open';
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION bookings.slots_station_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
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
  SELECT k.state, (SELECT s.ready_incarnation = bookings.incarnation() AND 'slots.station_id' = ANY (s.ready_columns)
                     FROM bookings.feed_state s WHERE s.owner = 'identity')
      AND NOT EXISTS (SELECT FROM bookings.parked_events p WHERE p.owner = 'identity' AND p.entity_id = NEW.station_id)
    INTO found_state, caught_up FROM bookings.known_stations k WHERE k.id = NEW.station_id FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'slots_station_id_known';
  END IF;
  IF caught_up IS NOT TRUE THEN
    RAISE EXCEPTION 'not caught up with identity' USING ERRCODE = 'check_violation', CONSTRAINT = 'slots_station_id_ready';
  END IF;
  IF found_state <> 1 THEN
    RAISE EXCEPTION 'not open' USING ERRCODE = 'check_violation', CONSTRAINT = 'slots_station_id_open';
  END IF;
  RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION bookings.bookings_station_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
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
  SELECT k.state, (SELECT s.ready_incarnation = bookings.incarnation() AND 'bookings.station_id' = ANY (s.ready_columns)
                     FROM bookings.feed_state s WHERE s.owner = 'identity')
      AND NOT EXISTS (SELECT FROM bookings.parked_events p WHERE p.owner = 'identity' AND p.entity_id = NEW.station_id)
    INTO found_state, caught_up FROM bookings.known_stations k WHERE k.id = NEW.station_id FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'bookings_station_id_known';
  END IF;
  IF caught_up IS NOT TRUE THEN
    RAISE EXCEPTION 'not caught up with identity' USING ERRCODE = 'check_violation', CONSTRAINT = 'bookings_station_id_ready';
  END IF;
  IF found_state <> 1 THEN
    RAISE EXCEPTION 'not open' USING ERRCODE = 'check_violation', CONSTRAINT = 'bookings_station_id_open';
  END IF;
  RETURN NEW;
END $$;
