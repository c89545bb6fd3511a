-- The first tables of payments. A statement ends in a semicolon before an empty line.

CREATE TABLE payments.booking_accounts (
  booking_id UUID NOT NULL,
  epoch UUID NOT NULL,
  version BIGINT NOT NULL,
  state SMALLINT NOT NULL,
  fence BIGINT DEFAULT 0 NOT NULL,
  station_id UUID NOT NULL,
  customer_id UUID NOT NULL,
  currency_code TEXT NOT NULL,
  total_minor BIGINT NOT NULL,
  refund_basis_points INTEGER,
  captured_minor BIGINT DEFAULT 0 NOT NULL,
  refunded_minor BIGINT DEFAULT 0 NOT NULL,
  gratuity_minor BIGINT DEFAULT 0 NOT NULL,
  money_version BIGINT DEFAULT 0 NOT NULL,
  CONSTRAINT booking_accounts_pkey PRIMARY KEY (booking_id),
  CONSTRAINT booking_accounts_refunded_minor_check CHECK (refunded_minor BETWEEN 0 AND captured_minor),
  CONSTRAINT booking_accounts_gratuity_minor_check CHECK (gratuity_minor >= 0),
  CONSTRAINT booking_accounts_station_id_booking_id_key UNIQUE (station_id, booking_id),
  CONSTRAINT booking_accounts_booking_id_fence_key UNIQUE (booking_id, fence)
);

CREATE INDEX booking_accounts_closing_idx ON payments.booking_accounts (booking_id) WHERE state = 2;

CREATE TABLE payments.epochs (
  epoch UUID NOT NULL,
  incarnation TEXT NOT NULL,
  first_position BIGINT NOT NULL,
  seq BIGINT GENERATED ALWAYS AS IDENTITY,
  CONSTRAINT epochs_pkey PRIMARY KEY (epoch)
);

CREATE TABLE payments.events (
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

CREATE TABLE payments.feed_head (
  "only" BOOLEAN DEFAULT true NOT NULL,
  epoch UUID,
  position BIGINT DEFAULT 0 NOT NULL,
  complete_until TIMESTAMP WITH TIME ZONE DEFAULT '-infinity' NOT NULL,
  dropped_through BIGINT DEFAULT 0 NOT NULL,
  CONSTRAINT feed_head_pkey PRIMARY KEY ("only")
);

CREATE TABLE payments.feed_state (
  owner TEXT NOT NULL,
  cursor TEXT,
  epoch UUID,
  position BIGINT,
  complete_until TIMESTAMP WITH TIME ZONE DEFAULT '-infinity' NOT NULL,
  ready_incarnation TEXT,
  CONSTRAINT feed_state_pkey PRIMARY KEY (owner)
);

CREATE TABLE payments.known_stations (
  id UUID NOT NULL,
  epoch UUID NOT NULL,
  version BIGINT NOT NULL,
  state SMALLINT NOT NULL,
  fence BIGINT DEFAULT 0 NOT NULL,
  CONSTRAINT known_stations_pkey PRIMARY KEY (id),
  CONSTRAINT known_stations_id_fence_key UNIQUE (id, fence)
);

CREATE INDEX known_stations_closing_idx ON payments.known_stations (id) WHERE state = 2;

CREATE TABLE payments.outbox (
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

CREATE TABLE payments.requests (
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

CREATE TABLE payments.schema_compatibility (
  compatible_from TEXT NOT NULL,
  CONSTRAINT schema_compatibility_pkey PRIMARY KEY (compatible_from)
);

CREATE TABLE payments.payments (
  station_id UUID NOT NULL,
  id UUID NOT NULL,
  booking_id UUID NOT NULL,
  customer_id UUID NOT NULL,
  kind SMALLINT NOT NULL CONSTRAINT payments_kind_check CHECK (kind BETWEEN 1 AND 4),
  method SMALLINT NOT NULL CONSTRAINT payments_method_check CHECK (method = 1),
  state SMALLINT NOT NULL CONSTRAINT payments_state_check CHECK (state = 1),
  amount_minor BIGINT NOT NULL CONSTRAINT payments_amount_minor_check CHECK (amount_minor > 0),
  currency_code TEXT NOT NULL,
  created_by UUID,
  created_by_name TEXT NOT NULL,
  version BIGINT NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  update_time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT payments_pkey PRIMARY KEY (station_id, id),
  CONSTRAINT payments_station_id_booking_id_fkey FOREIGN KEY(station_id, booking_id) REFERENCES payments.booking_accounts (station_id, booking_id),
  CONSTRAINT payments_station_id_fkey FOREIGN KEY(station_id) REFERENCES payments.known_stations (id)
);

CREATE INDEX payments_station_id_booking_id_create_time_id_idx ON payments.payments (station_id, booking_id, create_time, id);

CREATE INDEX payments_station_id_create_time_id_idx ON payments.payments (station_id, create_time, id);

ALTER TABLE payments.requests ENABLE ROW LEVEL SECURITY;

ALTER TABLE payments.requests FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON payments.requests TO payments_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON payments.requests TO payments_owner USING (true) WITH CHECK (true);

CREATE POLICY platform_all ON payments.requests TO payments_platform USING (true) WITH CHECK (true);

GRANT SELECT, INSERT ON payments.requests TO payments_app;

GRANT SELECT, INSERT, DELETE ON payments.requests TO payments_platform;

ALTER TABLE payments.outbox ENABLE ROW LEVEL SECURITY;

ALTER TABLE payments.outbox FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON payments.outbox TO payments_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON payments.outbox TO payments_owner USING (true) WITH CHECK (true);

CREATE POLICY platform_all ON payments.outbox TO payments_platform USING (true) WITH CHECK (true);

GRANT INSERT ON payments.outbox TO payments_app;

GRANT SELECT, INSERT, DELETE ON payments.outbox TO payments_platform;

GRANT SELECT, INSERT ON payments.events TO payments_platform;

GRANT SELECT, UPDATE ON payments.feed_head TO payments_platform;

GRANT SELECT, INSERT ON payments.epochs TO payments_platform;

GRANT SELECT, INSERT, UPDATE ON payments.feed_state TO payments_platform;

GRANT SELECT ON payments.schema_compatibility TO payments_app;

GRANT SELECT ON payments.schema_compatibility TO payments_platform;

ALTER TABLE payments.known_stations ENABLE ROW LEVEL SECURITY;

ALTER TABLE payments.known_stations FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON payments.known_stations TO payments_app USING (id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON payments.known_stations TO payments_owner USING (true) WITH CHECK (true);

CREATE POLICY platform_all ON payments.known_stations TO payments_platform USING (true) WITH CHECK (true);

GRANT SELECT ON payments.known_stations TO payments_app;

GRANT SELECT, INSERT, UPDATE ON payments.known_stations TO payments_platform;

ALTER TABLE payments.booking_accounts ENABLE ROW LEVEL SECURITY;

ALTER TABLE payments.booking_accounts FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON payments.booking_accounts TO payments_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON payments.booking_accounts TO payments_owner USING (true) WITH CHECK (true);

CREATE POLICY platform_all ON payments.booking_accounts TO payments_platform USING (true) WITH CHECK (true);

GRANT SELECT, UPDATE (captured_minor, gratuity_minor, money_version) ON payments.booking_accounts TO payments_app;

GRANT SELECT, INSERT, UPDATE ON payments.booking_accounts TO payments_platform;

ALTER TABLE payments.payments ENABLE ROW LEVEL SECURITY;

ALTER TABLE payments.payments FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON payments.payments TO payments_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON payments.payments TO payments_owner USING (true) WITH CHECK (true);

CREATE POLICY platform_all ON payments.payments TO payments_platform USING (true) WITH CHECK (true);

GRANT SELECT, INSERT ON payments.payments TO payments_app;

GRANT SELECT ON payments.payments TO payments_platform;

CREATE FUNCTION payments.incarnation() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT extract(epoch FROM pg_postmaster_start_time())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
         || '/' || 'payments.feed_head'::regclass::oid::text
$$;

CREATE FUNCTION payments.events_roll() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  day date;
  name text;
  dropped bigint;
BEGIN
  FOR day IN SELECT (now() AT TIME ZONE 'UTC')::date + n FROM generate_series(-1, 7) n LOOP
    name := 'events_' || to_char(day, 'YYYYMMDD');
    IF to_regclass('payments.' || name) IS NULL THEN
      EXECUTE format('CREATE TABLE payments.%I PARTITION OF payments.events FOR VALUES FROM (%L) TO (%L)',
                     name, day::text || ' 00:00+00', (day + 1)::text || ' 00:00+00');
    END IF;
  END LOOP;
  FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'payments.events'::regclass
                 AND c.relname < 'events_' || to_char((now() AT TIME ZONE 'UTC')::date - 30, 'YYYYMMDD') LOOP
    EXECUTE format('SELECT max(position) FROM payments.%I', name) INTO dropped;
    UPDATE payments.feed_head SET dropped_through = greatest(dropped_through, coalesce(dropped, 0));
    EXECUTE format('DROP TABLE payments.%I', name);
  END LOOP;
END $$;

REVOKE ALL ON FUNCTION payments.events_roll() FROM PUBLIC;

REVOKE ALL ON FUNCTION payments.incarnation() FROM PUBLIC;

GRANT EXECUTE ON FUNCTION payments.events_roll() TO payments_platform;

GRANT EXECUTE ON FUNCTION payments.incarnation() TO payments_platform, payments_app;

INSERT INTO payments.feed_head DEFAULT VALUES;

SELECT payments.events_roll();

INSERT INTO payments.schema_compatibility VALUES ('0001');

GRANT SELECT ON payments.alembic_version TO payments_app, payments_platform;

CREATE FUNCTION payments.payments_station_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
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
  IF NOT EXISTS (SELECT FROM payments.feed_state s WHERE s.owner = 'identity' AND s.ready_incarnation = payments.incarnation()) THEN
    RAISE EXCEPTION 'not caught up with identity' USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_station_id_ready';
  END IF;
  SELECT k.state INTO found_state FROM payments.known_stations k WHERE k.id = NEW.station_id FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'payments_station_id_known';
  END IF;
  IF found_state <> 1 THEN
    RAISE EXCEPTION 'not open' USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_station_id_open';
  END IF;
  RETURN NEW;
END $$;

REVOKE ALL ON FUNCTION payments.payments_station_id_guard() FROM PUBLIC;

CREATE TRIGGER payments_station_id_guard BEFORE INSERT OR UPDATE OF station_id ON payments.payments FOR EACH ROW EXECUTE FUNCTION payments.payments_station_id_guard();

CREATE FUNCTION payments.payments_booking_id_guard() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found_state smallint;
BEGIN
  IF NEW.booking_id IS NULL THEN
    RETURN NEW;
  END IF;
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'a row that refers is written at READ COMMITTED' USING ERRCODE = 'invalid_transaction_state';
  END IF;
  IF NOT EXISTS (SELECT FROM payments.feed_state s WHERE s.owner = 'bookings' AND s.ready_incarnation = payments.incarnation()) THEN
    RAISE EXCEPTION 'not caught up with bookings' USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_booking_id_ready';
  END IF;
  SELECT k.state INTO found_state FROM payments.booking_accounts k WHERE k.booking_id = NEW.booking_id AND k.station_id = NEW.station_id FOR KEY SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'not known' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'payments_booking_id_known';
  END IF;
  IF found_state <> 1 THEN
    RAISE EXCEPTION 'not open' USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_booking_id_open';
  END IF;
  RETURN NEW;
END $$;

REVOKE ALL ON FUNCTION payments.payments_booking_id_guard() FROM PUBLIC;

CREATE TRIGGER payments_booking_id_guard BEFORE INSERT OR UPDATE OF booking_id ON payments.payments FOR EACH ROW EXECUTE FUNCTION payments.payments_booking_id_guard();

CREATE FUNCTION payments.accounts_owed() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  was bigint := 0;
  paid bigint := NEW.captured_minor - NEW.refunded_minor;
BEGIN
  IF TG_OP = 'UPDATE' THEN
    was := OLD.captured_minor - OLD.refunded_minor;
  END IF;
  IF paid > NEW.total_minor AND paid > was THEN
    RAISE EXCEPTION 'more than is owed' USING ERRCODE = 'check_violation', CONSTRAINT = 'accounts_not_overpaid';
  END IF;
  RETURN NEW;
END $$;

REVOKE ALL ON FUNCTION payments.accounts_owed() FROM PUBLIC;

CREATE TRIGGER accounts_owed BEFORE INSERT OR UPDATE ON payments.booking_accounts FOR EACH ROW EXECUTE FUNCTION payments.accounts_owed();
