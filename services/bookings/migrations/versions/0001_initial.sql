-- The first tables of bookings. A statement ends in a semicolon before an empty line.

CREATE TABLE bookings.epochs (
  epoch UUID NOT NULL,
  incarnation TEXT NOT NULL,
  first_position BIGINT NOT NULL,
  seq BIGINT GENERATED ALWAYS AS IDENTITY,
  CONSTRAINT epochs_pkey PRIMARY KEY (epoch)
);

CREATE TABLE bookings.events (
  position BIGINT NOT NULL,
  publish_time TIMESTAMP WITH TIME ZONE NOT NULL,
  epoch UUID NOT NULL,
  event_id UUID NOT NULL,
  type TEXT NOT NULL,
  entity_id UUID NOT NULL,
  station_id UUID NOT NULL,
  version BIGINT NOT NULL,
  referent_state SMALLINT NOT NULL,
  payload BYTEA NOT NULL,
  CONSTRAINT events_pkey PRIMARY KEY (position, publish_time)
)
 PARTITION BY RANGE (publish_time);

CREATE TABLE bookings.feed_head (
  "only" BOOLEAN DEFAULT true NOT NULL,
  epoch UUID,
  position BIGINT DEFAULT 0 NOT NULL,
  complete_until TIMESTAMP WITH TIME ZONE DEFAULT '-infinity' NOT NULL,
  dropped_through BIGINT DEFAULT 0 NOT NULL,
  CONSTRAINT feed_head_pkey PRIMARY KEY ("only")
);

CREATE TABLE bookings.feed_state (
  owner TEXT NOT NULL,
  cursor TEXT,
  epoch UUID,
  position BIGINT,
  complete_until TIMESTAMP WITH TIME ZONE DEFAULT '-infinity' NOT NULL,
  ready_incarnation TEXT,
  CONSTRAINT feed_state_pkey PRIMARY KEY (owner)
);

CREATE TABLE bookings.known_stations (
  id UUID NOT NULL,
  epoch UUID NOT NULL,
  version BIGINT NOT NULL,
  state SMALLINT NOT NULL,
  fence BIGINT DEFAULT 0 NOT NULL,
  code TEXT NOT NULL,
  time_zone TEXT NOT NULL,
  currency_code TEXT NOT NULL,
  CONSTRAINT known_stations_pkey PRIMARY KEY (id),
  CONSTRAINT known_stations_id_fence_key UNIQUE (id, fence)
);

CREATE INDEX known_stations_closing_idx ON bookings.known_stations (id) WHERE state = 2;

CREATE TABLE bookings.known_users (
  id UUID NOT NULL,
  epoch UUID NOT NULL,
  version BIGINT NOT NULL,
  state SMALLINT NOT NULL,
  fence BIGINT DEFAULT 0 NOT NULL,
  CONSTRAINT known_users_pkey PRIMARY KEY (id),
  CONSTRAINT known_users_id_fence_key UNIQUE (id, fence)
);

CREATE INDEX known_users_closing_idx ON bookings.known_users (id) WHERE state = 2;

CREATE TABLE bookings.outbox (
  seq BIGINT GENERATED ALWAYS AS IDENTITY (CACHE 1),
  event_id UUID NOT NULL,
  type TEXT NOT NULL,
  entity_id UUID NOT NULL,
  station_id UUID NOT NULL,
  version BIGINT NOT NULL,
  referent_state SMALLINT NOT NULL,
  payload BYTEA NOT NULL,
  CONSTRAINT outbox_pkey PRIMARY KEY (seq)
);

CREATE TABLE bookings.requests (
  station_id UUID NOT NULL,
  caller TEXT NOT NULL,
  method TEXT NOT NULL,
  request_id UUID NOT NULL,
  fingerprint BYTEA NOT NULL,
  made_id UUID,
  refusal_code SMALLINT,
  refusal_reason TEXT,
  refusal_common BOOLEAN,
  refusal_message TEXT,
  refusal_metadata TEXT,
  create_time TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT requests_pkey PRIMARY KEY (station_id, caller, method, request_id)
);

CREATE TABLE bookings.schema_compatibility (
  compatible_from TEXT NOT NULL,
  CONSTRAINT schema_compatibility_pkey PRIMARY KEY (compatible_from)
);

CREATE TABLE bookings.customers (
  station_id UUID NOT NULL,
  id UUID NOT NULL,
  user_id UUID,
  name TEXT NOT NULL,
  email BYTEA NOT NULL,
  email_index BYTEA NOT NULL,
  phone BYTEA,
  phone_index BYTEA,
  version BIGINT NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  update_time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT customers_pkey PRIMARY KEY (station_id, id),
  CONSTRAINT customers_station_id_email_index_key UNIQUE (station_id, email_index),
  CONSTRAINT customers_station_id_fkey FOREIGN KEY(station_id) REFERENCES bookings.known_stations (id),
  CONSTRAINT customers_user_id_fkey FOREIGN KEY(user_id) REFERENCES bookings.known_users (id)
);

CREATE INDEX customers_station_id_phone_index_idx ON bookings.customers (station_id, phone_index);

CREATE TABLE bookings.schedules (
  station_id UUID NOT NULL,
  version BIGINT NOT NULL,
  update_time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT schedules_pkey PRIMARY KEY (station_id),
  CONSTRAINT schedules_station_id_fkey FOREIGN KEY(station_id) REFERENCES bookings.known_stations (id)
);

CREATE TABLE bookings.slots (
  station_id UUID NOT NULL,
  local_date DATE NOT NULL,
  local_start TIME WITHOUT TIME ZONE NOT NULL,
  start_time TIMESTAMP WITH TIME ZONE NOT NULL,
  end_time TIMESTAMP WITH TIME ZONE NOT NULL,
  capacity SMALLINT NOT NULL CONSTRAINT slots_capacity_check CHECK (capacity >= 0),
  taken SMALLINT DEFAULT 0 NOT NULL CONSTRAINT slots_taken_check CHECK (taken >= 0),
  CONSTRAINT slots_pkey PRIMARY KEY (station_id, local_date, local_start),
  CONSTRAINT slots_station_id_fkey FOREIGN KEY(station_id) REFERENCES bookings.known_stations (id)
);

CREATE TABLE bookings.bookings (
  station_id UUID NOT NULL,
  id UUID NOT NULL,
  reference TEXT NOT NULL,
  customer_id UUID NOT NULL,
  state SMALLINT NOT NULL CONSTRAINT bookings_state_check CHECK (state BETWEEN 1 AND 9),
  slot_date DATE NOT NULL,
  slot_start TIME WITHOUT TIME ZONE NOT NULL,
  start_time TIMESTAMP WITH TIME ZONE NOT NULL,
  end_time TIMESTAMP WITH TIME ZONE NOT NULL,
  time_zone TEXT NOT NULL,
  adults SMALLINT NOT NULL CONSTRAINT bookings_adults_check CHECK (adults >= 0),
  children SMALLINT NOT NULL CONSTRAINT bookings_children_check CHECK (children >= 0),
  infants SMALLINT NOT NULL CONSTRAINT bookings_infants_check CHECK (infants >= 0),
  currency_code TEXT NOT NULL,
  total_minor BIGINT NOT NULL CONSTRAINT bookings_total_minor_check CHECK (total_minor >= 0),
  deposit_minor BIGINT NOT NULL,
  paid_minor BIGINT DEFAULT 0 NOT NULL,
  paid_epoch UUID,
  paid_version BIGINT DEFAULT 0 NOT NULL,
  policy_version INTEGER NOT NULL,
  requests TEXT NOT NULL,
  deposit_deadline_time TIMESTAMP WITH TIME ZONE NOT NULL,
  created_by UUID,
  created_by_name TEXT NOT NULL,
  confirm_time TIMESTAMP WITH TIME ZONE,
  cancel_time TIMESTAMP WITH TIME ZONE,
  cancelled_by SMALLINT,
  refund_basis_points INTEGER,
  version BIGINT NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  update_time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT bookings_pkey PRIMARY KEY (station_id, id),
  CONSTRAINT bookings_guests_check CHECK (adults + children + infants BETWEEN 1 AND 50),
  CONSTRAINT bookings_deposit_minor_check CHECK (deposit_minor BETWEEN 0 AND total_minor),
  CONSTRAINT bookings_cancelled_check CHECK ((state = 7) = (cancel_time IS NOT NULL)),
  CONSTRAINT bookings_refund_basis_points_check CHECK (refund_basis_points BETWEEN 0 AND 10000),
  CONSTRAINT bookings_station_id_customer_id_fkey FOREIGN KEY(station_id, customer_id) REFERENCES bookings.customers (station_id, id),
  CONSTRAINT bookings_station_id_slot_date_slot_start_fkey FOREIGN KEY(station_id, slot_date, slot_start) REFERENCES bookings.slots (station_id, local_date, local_start),
  CONSTRAINT bookings_station_id_fkey FOREIGN KEY(station_id) REFERENCES bookings.known_stations (id),
  CONSTRAINT bookings_reference_key UNIQUE (reference)
);

CREATE INDEX bookings_station_id_customer_id_start_time_id_idx ON bookings.bookings (station_id, customer_id, start_time, id);

CREATE INDEX bookings_station_id_start_time_id_idx ON bookings.bookings (station_id, start_time, id);

CREATE INDEX bookings_station_id_state_start_time_id_idx ON bookings.bookings (station_id, state, start_time, id);

CREATE TABLE bookings.schedule_slots (
  station_id UUID NOT NULL,
  weekday SMALLINT NOT NULL CONSTRAINT schedule_slots_weekday_check CHECK (weekday BETWEEN 1 AND 7),
  local_start TIME WITHOUT TIME ZONE NOT NULL,
  length_minutes SMALLINT NOT NULL CONSTRAINT schedule_slots_length_minutes_check CHECK (length_minutes BETWEEN 15 AND 1440),
  capacity SMALLINT NOT NULL CONSTRAINT schedule_slots_capacity_check CHECK (capacity >= 0),
  CONSTRAINT schedule_slots_pkey PRIMARY KEY (station_id, weekday, local_start),
  CONSTRAINT schedule_slots_station_id_fkey FOREIGN KEY(station_id) REFERENCES bookings.schedules (station_id) ON DELETE CASCADE
);

CREATE TABLE bookings.price_lines (
  station_id UUID NOT NULL,
  booking_id UUID NOT NULL,
  line SMALLINT NOT NULL,
  kind TEXT NOT NULL,
  quantity INTEGER NOT NULL,
  unit_minor BIGINT NOT NULL,
  amount_minor BIGINT NOT NULL,
  CONSTRAINT price_lines_pkey PRIMARY KEY (station_id, booking_id, line),
  CONSTRAINT price_lines_station_id_booking_id_fkey FOREIGN KEY(station_id, booking_id) REFERENCES bookings.bookings (station_id, id)
);

ALTER TABLE bookings.requests ENABLE ROW LEVEL SECURITY;

ALTER TABLE bookings.requests FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON bookings.requests TO bookings_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON bookings.requests TO bookings_owner USING (true) WITH CHECK (true);

CREATE POLICY platform_all ON bookings.requests TO bookings_platform USING (true) WITH CHECK (true);

GRANT SELECT, INSERT ON bookings.requests TO bookings_app;

GRANT SELECT, INSERT, DELETE ON bookings.requests TO bookings_platform;

ALTER TABLE bookings.outbox ENABLE ROW LEVEL SECURITY;

ALTER TABLE bookings.outbox FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON bookings.outbox TO bookings_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON bookings.outbox TO bookings_owner USING (true) WITH CHECK (true);

CREATE POLICY platform_all ON bookings.outbox TO bookings_platform USING (true) WITH CHECK (true);

GRANT INSERT ON bookings.outbox TO bookings_app;

GRANT SELECT, INSERT, DELETE ON bookings.outbox TO bookings_platform;

GRANT SELECT, INSERT ON bookings.events TO bookings_platform;

GRANT SELECT, UPDATE ON bookings.feed_head TO bookings_platform;

GRANT SELECT, INSERT ON bookings.epochs TO bookings_platform;

GRANT SELECT, INSERT, UPDATE ON bookings.feed_state TO bookings_platform;

GRANT SELECT ON bookings.schema_compatibility TO bookings_app;

GRANT SELECT ON bookings.schema_compatibility TO bookings_platform;

ALTER TABLE bookings.known_stations ENABLE ROW LEVEL SECURITY;

ALTER TABLE bookings.known_stations FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON bookings.known_stations TO bookings_app USING (id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON bookings.known_stations TO bookings_owner USING (true) WITH CHECK (true);

CREATE POLICY platform_all ON bookings.known_stations TO bookings_platform USING (true) WITH CHECK (true);

GRANT SELECT ON bookings.known_stations TO bookings_app;

GRANT SELECT, INSERT, UPDATE ON bookings.known_stations TO bookings_platform;

GRANT SELECT, INSERT, UPDATE ON bookings.known_users TO bookings_platform;

ALTER TABLE bookings.customers ENABLE ROW LEVEL SECURITY;

ALTER TABLE bookings.customers FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON bookings.customers TO bookings_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON bookings.customers TO bookings_owner USING (true) WITH CHECK (true);

CREATE POLICY platform_all ON bookings.customers TO bookings_platform USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE ON bookings.customers TO bookings_app;

GRANT SELECT ON bookings.customers TO bookings_platform;

ALTER TABLE bookings.schedules ENABLE ROW LEVEL SECURITY;

ALTER TABLE bookings.schedules FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON bookings.schedules TO bookings_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON bookings.schedules TO bookings_owner USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE ON bookings.schedules TO bookings_app;

ALTER TABLE bookings.schedule_slots ENABLE ROW LEVEL SECURITY;

ALTER TABLE bookings.schedule_slots FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON bookings.schedule_slots TO bookings_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON bookings.schedule_slots TO bookings_owner USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, DELETE ON bookings.schedule_slots TO bookings_app;

ALTER TABLE bookings.slots ENABLE ROW LEVEL SECURITY;

ALTER TABLE bookings.slots FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON bookings.slots TO bookings_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON bookings.slots TO bookings_owner USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE ON bookings.slots TO bookings_app;

ALTER TABLE bookings.bookings ENABLE ROW LEVEL SECURITY;

ALTER TABLE bookings.bookings FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON bookings.bookings TO bookings_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON bookings.bookings TO bookings_owner USING (true) WITH CHECK (true);

CREATE POLICY platform_all ON bookings.bookings TO bookings_platform USING (true) WITH CHECK (true);

GRANT SELECT, INSERT, UPDATE ON bookings.bookings TO bookings_app;

GRANT SELECT, UPDATE ON bookings.bookings TO bookings_platform;

ALTER TABLE bookings.price_lines ENABLE ROW LEVEL SECURITY;

ALTER TABLE bookings.price_lines FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON bookings.price_lines TO bookings_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON bookings.price_lines TO bookings_owner USING (true) WITH CHECK (true);

GRANT SELECT, INSERT ON bookings.price_lines TO bookings_app;

CREATE FUNCTION bookings.incarnation() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT extract(epoch FROM pg_postmaster_start_time())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
         || '/' || 'bookings.feed_head'::regclass::oid::text
$$;

CREATE FUNCTION bookings.events_roll() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  day date;
  name text;
  dropped bigint;
BEGIN
  FOR day IN SELECT (now() AT TIME ZONE 'UTC')::date + n FROM generate_series(-1, 7) n LOOP
    name := 'events_' || to_char(day, 'YYYYMMDD');
    IF to_regclass('bookings.' || name) IS NULL THEN
      EXECUTE format('CREATE TABLE bookings.%I PARTITION OF bookings.events FOR VALUES FROM (%L) TO (%L)',
                     name, day::text || ' 00:00+00', (day + 1)::text || ' 00:00+00');
    END IF;
  END LOOP;
  FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'bookings.events'::regclass
                 AND c.relname < 'events_' || to_char((now() AT TIME ZONE 'UTC')::date - 30, 'YYYYMMDD') LOOP
    EXECUTE format('SELECT max(position) FROM bookings.%I', name) INTO dropped;
    UPDATE bookings.feed_head SET dropped_through = greatest(dropped_through, coalesce(dropped, 0));
    EXECUTE format('DROP TABLE bookings.%I', name);
  END LOOP;
END $$;

REVOKE ALL ON FUNCTION bookings.events_roll() FROM PUBLIC;

REVOKE ALL ON FUNCTION bookings.incarnation() FROM PUBLIC;

GRANT EXECUTE ON FUNCTION bookings.events_roll() TO bookings_platform;

GRANT EXECUTE ON FUNCTION bookings.incarnation() TO bookings_platform, bookings_app;

INSERT INTO bookings.feed_head DEFAULT VALUES;

SELECT bookings.events_roll();

INSERT INTO bookings.schema_compatibility VALUES ('0001');

GRANT SELECT ON bookings.alembic_version TO bookings_app, bookings_platform;

CREATE FUNCTION bookings.customers_station_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
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
  IF NOT EXISTS (SELECT FROM bookings.feed_state s WHERE s.owner = 'identity' AND s.ready_incarnation = bookings.incarnation()) THEN
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

REVOKE ALL ON FUNCTION bookings.customers_station_id_guard() FROM PUBLIC;

CREATE TRIGGER customers_station_id_guard BEFORE INSERT OR UPDATE OF station_id ON bookings.customers FOR EACH ROW EXECUTE FUNCTION bookings.customers_station_id_guard();

CREATE FUNCTION bookings.customers_user_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
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
  IF NOT EXISTS (SELECT FROM bookings.feed_state s WHERE s.owner = 'identity' AND s.ready_incarnation = bookings.incarnation()) THEN
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

REVOKE ALL ON FUNCTION bookings.customers_user_id_guard() FROM PUBLIC;

CREATE TRIGGER customers_user_id_guard BEFORE INSERT OR UPDATE OF user_id ON bookings.customers FOR EACH ROW EXECUTE FUNCTION bookings.customers_user_id_guard();

CREATE FUNCTION bookings.schedules_station_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
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
  IF NOT EXISTS (SELECT FROM bookings.feed_state s WHERE s.owner = 'identity' AND s.ready_incarnation = bookings.incarnation()) THEN
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

REVOKE ALL ON FUNCTION bookings.schedules_station_id_guard() FROM PUBLIC;

CREATE TRIGGER schedules_station_id_guard BEFORE INSERT OR UPDATE OF station_id ON bookings.schedules FOR EACH ROW EXECUTE FUNCTION bookings.schedules_station_id_guard();

CREATE FUNCTION bookings.slots_station_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
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
  IF NOT EXISTS (SELECT FROM bookings.feed_state s WHERE s.owner = 'identity' AND s.ready_incarnation = bookings.incarnation()) THEN
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

REVOKE ALL ON FUNCTION bookings.slots_station_id_guard() FROM PUBLIC;

CREATE TRIGGER slots_station_id_guard BEFORE INSERT OR UPDATE OF station_id ON bookings.slots FOR EACH ROW EXECUTE FUNCTION bookings.slots_station_id_guard();

CREATE FUNCTION bookings.bookings_station_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
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
  IF NOT EXISTS (SELECT FROM bookings.feed_state s WHERE s.owner = 'identity' AND s.ready_incarnation = bookings.incarnation()) THEN
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

REVOKE ALL ON FUNCTION bookings.bookings_station_id_guard() FROM PUBLIC;

CREATE TRIGGER bookings_station_id_guard BEFORE INSERT OR UPDATE OF station_id ON bookings.bookings FOR EACH ROW EXECUTE FUNCTION bookings.bookings_station_id_guard();

CREATE FUNCTION bookings.slots_occupancy() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was boolean := TG_OP <> 'INSERT' AND OLD.state BETWEEN 1 AND 5;
  is_ boolean := TG_OP <> 'DELETE' AND NEW.state BETWEEN 1 AND 5;
BEGIN
  IF was AND is_ AND (OLD.station_id, OLD.slot_date, OLD.slot_start) = (NEW.station_id, NEW.slot_date, NEW.slot_start) THEN
    RETURN NULL;
  END IF;
  IF was THEN
    UPDATE bookings.slots SET taken = taken - 1
     WHERE station_id = OLD.station_id AND local_date = OLD.slot_date AND local_start = OLD.slot_start;
  END IF;
  IF is_ THEN
    UPDATE bookings.slots SET taken = taken + 1
     WHERE station_id = NEW.station_id AND local_date = NEW.slot_date AND local_start = NEW.slot_start;
  END IF;
  RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION bookings.slots_occupancy() FROM PUBLIC;

CREATE TRIGGER slots_occupancy AFTER INSERT OR DELETE OR UPDATE OF state, slot_date, slot_start ON bookings.bookings FOR EACH ROW EXECUTE FUNCTION bookings.slots_occupancy();

CREATE FUNCTION bookings.slots_capacity() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.taken > NEW.capacity AND (TG_OP = 'INSERT' OR NEW.taken > OLD.taken) THEN
    RAISE EXCEPTION 'no place is left' USING ERRCODE = 'check_violation', CONSTRAINT = 'slots_within_capacity';
  END IF;
  RETURN NEW;
END $$;

REVOKE ALL ON FUNCTION bookings.slots_capacity() FROM PUBLIC;

CREATE TRIGGER slots_capacity BEFORE INSERT OR UPDATE ON bookings.slots FOR EACH ROW EXECUTE FUNCTION bookings.slots_capacity();

CREATE FUNCTION bookings.price_lines_sum() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF (SELECT coalesce(sum(l.amount_minor), 0) FROM bookings.price_lines l
       WHERE l.station_id = NEW.station_id AND l.booking_id = NEW.id) <> NEW.total_minor THEN
    RAISE EXCEPTION 'lines do not sum to the total' USING ERRCODE = 'check_violation', CONSTRAINT = 'price_lines_sum';
  END IF;
  RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION bookings.price_lines_sum() FROM PUBLIC;

CREATE CONSTRAINT TRIGGER price_lines_sum AFTER INSERT OR UPDATE OF total_minor ON bookings.bookings DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION bookings.price_lines_sum();
