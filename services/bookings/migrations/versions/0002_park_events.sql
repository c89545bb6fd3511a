CREATE TABLE bookings.dropped_events (
	seq BIGINT NOT NULL,
	owner TEXT NOT NULL,
	event_id UUID NOT NULL,
	type TEXT NOT NULL,
	entity_id UUID NOT NULL,
	station_id UUID,
	epoch UUID NOT NULL,
	position BIGINT NOT NULL,
	version BIGINT NOT NULL,
	event BYTEA NOT NULL,
	attempts INTEGER DEFAULT 0 NOT NULL,
	first_failed_time TIMESTAMP WITH TIME ZONE,
	error_class TEXT,
	error_sentence TEXT,
	drop_time TIMESTAMP WITH TIME ZONE NOT NULL,
	dropped_by TEXT NOT NULL,
	reason TEXT NOT NULL,
	CONSTRAINT dropped_events_pkey PRIMARY KEY (seq)
);

CREATE TABLE bookings.parked_events (
	seq BIGINT GENERATED ALWAYS AS IDENTITY (CACHE 1),
	owner TEXT NOT NULL,
	event_id UUID NOT NULL,
	type TEXT NOT NULL,
	entity_id UUID NOT NULL,
	station_id UUID,
	epoch UUID NOT NULL,
	position BIGINT NOT NULL,
	version BIGINT NOT NULL,
	event BYTEA NOT NULL,
	attempts INTEGER DEFAULT 0 NOT NULL,
	first_failed_time TIMESTAMP WITH TIME ZONE,
	error_class TEXT,
	error_sentence TEXT,
	aside_time TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	next_attempt_time TIMESTAMP WITH TIME ZONE,
	parked_time TIMESTAMP WITH TIME ZONE,
	CONSTRAINT parked_events_pkey PRIMARY KEY (seq),
	CONSTRAINT parked_events_parked_time_check CHECK (next_attempt_time IS NULL OR parked_time IS NULL)
);

CREATE UNIQUE INDEX parked_events_head_idx ON bookings.parked_events (owner, entity_id, type) WHERE next_attempt_time IS NOT NULL OR parked_time IS NOT NULL;

CREATE INDEX parked_events_lane_idx ON bookings.parked_events (owner, entity_id, type, seq);

GRANT SELECT, INSERT, UPDATE, DELETE ON bookings.parked_events TO bookings_platform;

GRANT SELECT, INSERT ON bookings.dropped_events TO bookings_platform;

CREATE OR REPLACE FUNCTION bookings.customers_station_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found_state smallint;
BEGIN
  IF NEW.station_id IS NULL THEN
    RETURN NEW;
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a row that refers is written at READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  IF NOT EXISTS (SELECT FROM bookings.feed_state s WHERE s.owner = 'identity' AND s.ready_incarnation = bookings.incarnation())
     OR EXISTS (SELECT FROM bookings.parked_events p WHERE p.owner = 'identity' AND p.entity_id = NEW.station_id) THEN
    RAISE EXCEPTION 'not caught up with identity' USING ERRCODE = 'check_violation', CONSTRAINT = 'customers_station_id_ready';
  END IF;
  SELECT k.state INTO found_state FROM bookings.known_stations k WHERE k.id = NEW.station_id FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'customers_station_id_known';
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
BEGIN
  IF NEW.user_id IS NULL THEN
    RETURN NEW;
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a row that refers is written at READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  IF NOT EXISTS (SELECT FROM bookings.feed_state s WHERE s.owner = 'identity' AND s.ready_incarnation = bookings.incarnation())
     OR EXISTS (SELECT FROM bookings.parked_events p WHERE p.owner = 'identity' AND p.entity_id = NEW.user_id) THEN
    RAISE EXCEPTION 'not caught up with identity' USING ERRCODE = 'check_violation', CONSTRAINT = 'customers_user_id_ready';
  END IF;
  SELECT k.state INTO found_state FROM bookings.known_users k WHERE k.id = NEW.user_id FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'customers_user_id_known';
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
BEGIN
  IF NEW.station_id IS NULL THEN
    RETURN NEW;
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a row that refers is written at READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  IF NOT EXISTS (SELECT FROM bookings.feed_state s WHERE s.owner = 'identity' AND s.ready_incarnation = bookings.incarnation())
     OR EXISTS (SELECT FROM bookings.parked_events p WHERE p.owner = 'identity' AND p.entity_id = NEW.station_id) THEN
    RAISE EXCEPTION 'not caught up with identity' USING ERRCODE = 'check_violation', CONSTRAINT = 'schedules_station_id_ready';
  END IF;
  SELECT k.state INTO found_state FROM bookings.known_stations k WHERE k.id = NEW.station_id FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'schedules_station_id_known';
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
BEGIN
  IF NEW.station_id IS NULL THEN
    RETURN NEW;
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a row that refers is written at READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  IF NOT EXISTS (SELECT FROM bookings.feed_state s WHERE s.owner = 'identity' AND s.ready_incarnation = bookings.incarnation())
     OR EXISTS (SELECT FROM bookings.parked_events p WHERE p.owner = 'identity' AND p.entity_id = NEW.station_id) THEN
    RAISE EXCEPTION 'not caught up with identity' USING ERRCODE = 'check_violation', CONSTRAINT = 'slots_station_id_ready';
  END IF;
  SELECT k.state INTO found_state FROM bookings.known_stations k WHERE k.id = NEW.station_id FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'slots_station_id_known';
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
BEGIN
  IF NEW.station_id IS NULL THEN
    RETURN NEW;
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a row that refers is written at READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  IF NOT EXISTS (SELECT FROM bookings.feed_state s WHERE s.owner = 'identity' AND s.ready_incarnation = bookings.incarnation())
     OR EXISTS (SELECT FROM bookings.parked_events p WHERE p.owner = 'identity' AND p.entity_id = NEW.station_id) THEN
    RAISE EXCEPTION 'not caught up with identity' USING ERRCODE = 'check_violation', CONSTRAINT = 'bookings_station_id_ready';
  END IF;
  SELECT k.state INTO found_state FROM bookings.known_stations k WHERE k.id = NEW.station_id FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'bookings_station_id_known';
  END IF;
  IF found_state <> 1 THEN
    RAISE EXCEPTION 'not open' USING ERRCODE = 'check_violation', CONSTRAINT = 'bookings_station_id_open';
  END IF;
  RETURN NEW;
END $$;
