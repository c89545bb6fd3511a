-- The first tables of identity. A statement ends in a semicolon before an empty line.

CREATE TABLE identity.epochs (
  epoch UUID NOT NULL,
  incarnation TEXT NOT NULL,
  first_position BIGINT NOT NULL,
  seq BIGINT GENERATED ALWAYS AS IDENTITY,
  CONSTRAINT epochs_pkey PRIMARY KEY (epoch)
);

CREATE TABLE identity.events (
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

CREATE TABLE identity.feed_head (
  "only" BOOLEAN DEFAULT true NOT NULL,
  epoch UUID,
  position BIGINT DEFAULT 0 NOT NULL,
  complete_until TIMESTAMP WITH TIME ZONE DEFAULT '-infinity' NOT NULL,
  dropped_through BIGINT DEFAULT 0 NOT NULL,
  CONSTRAINT feed_head_pkey PRIMARY KEY ("only")
);

CREATE TABLE identity.outbox (
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

CREATE TABLE identity.requests (
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

CREATE TABLE identity.schema_compatibility (
  compatible_from TEXT NOT NULL,
  CONSTRAINT schema_compatibility_pkey PRIMARY KEY (compatible_from)
);

CREATE TABLE identity.stations (
  id UUID NOT NULL,
  code TEXT NOT NULL,
  name TEXT NOT NULL,
  display_name TEXT NOT NULL,
  time_zone TEXT NOT NULL,
  currency_code TEXT NOT NULL,
  state SMALLINT NOT NULL CONSTRAINT stations_state_check CHECK (state BETWEEN 1 AND 5),
  version BIGINT NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  update_time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT stations_pkey PRIMARY KEY (id),
  CONSTRAINT stations_code_key UNIQUE (code)
);

CREATE TABLE identity.users (
  id UUID NOT NULL,
  name TEXT NOT NULL,
  email BYTEA NOT NULL,
  email_index BYTEA NOT NULL,
  password_hash TEXT NOT NULL,
  platform_role SMALLINT NOT NULL CONSTRAINT users_platform_role_check CHECK (platform_role BETWEEN 0 AND 2),
  state SMALLINT NOT NULL CONSTRAINT users_state_check CHECK (state BETWEEN 1 AND 3),
  failed_logins SMALLINT DEFAULT 0 NOT NULL CONSTRAINT users_failed_logins_check CHECK (failed_logins >= 0),
  locked_until TIMESTAMP WITH TIME ZONE,
  version BIGINT NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  update_time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT users_pkey PRIMARY KEY (id),
  CONSTRAINT users_email_index_key UNIQUE (email_index)
);

CREATE TABLE identity.memberships (
  station_id UUID NOT NULL,
  user_id UUID NOT NULL,
  role SMALLINT NOT NULL CONSTRAINT memberships_role_check CHECK (role BETWEEN 1 AND 4),
  expire_time TIMESTAMP WITH TIME ZONE,
  version BIGINT NOT NULL,
  create_time TIMESTAMP WITH TIME ZONE NOT NULL,
  CONSTRAINT memberships_pkey PRIMARY KEY (station_id, user_id),
  CONSTRAINT memberships_station_id_fkey FOREIGN KEY(station_id) REFERENCES identity.stations (id),
  CONSTRAINT memberships_user_id_fkey FOREIGN KEY(user_id) REFERENCES identity.users (id)
);

CREATE INDEX memberships_user_id_idx ON identity.memberships (user_id);

ALTER TABLE identity.requests ENABLE ROW LEVEL SECURITY;

ALTER TABLE identity.requests FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON identity.requests TO identity_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON identity.requests TO identity_owner USING (true) WITH CHECK (true);

CREATE POLICY platform_all ON identity.requests TO identity_platform USING (true) WITH CHECK (true);

GRANT SELECT, INSERT ON identity.requests TO identity_app;

GRANT SELECT, INSERT, DELETE ON identity.requests TO identity_platform;

ALTER TABLE identity.outbox ENABLE ROW LEVEL SECURITY;

ALTER TABLE identity.outbox FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON identity.outbox TO identity_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON identity.outbox TO identity_owner USING (true) WITH CHECK (true);

CREATE POLICY platform_all ON identity.outbox TO identity_platform USING (true) WITH CHECK (true);

GRANT INSERT ON identity.outbox TO identity_app;

GRANT SELECT, INSERT, DELETE ON identity.outbox TO identity_platform;

GRANT SELECT, INSERT ON identity.events TO identity_platform;

GRANT SELECT, UPDATE ON identity.feed_head TO identity_platform;

GRANT SELECT, INSERT ON identity.epochs TO identity_platform;

GRANT SELECT ON identity.schema_compatibility TO identity_app;

GRANT SELECT ON identity.schema_compatibility TO identity_platform;

ALTER TABLE identity.stations ENABLE ROW LEVEL SECURITY;

ALTER TABLE identity.stations FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON identity.stations TO identity_app USING (id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON identity.stations TO identity_owner USING (true) WITH CHECK (true);

CREATE POLICY platform_all ON identity.stations TO identity_platform USING (true) WITH CHECK (true);

GRANT SELECT ON identity.stations TO identity_app;

GRANT SELECT, INSERT, UPDATE ON identity.stations TO identity_platform;

GRANT SELECT, INSERT, UPDATE ON identity.users TO identity_platform;

ALTER TABLE identity.memberships ENABLE ROW LEVEL SECURITY;

ALTER TABLE identity.memberships FORCE ROW LEVEL SECURITY;

CREATE POLICY tenant ON identity.memberships TO identity_app USING (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid)) WITH CHECK (station_id = (SELECT NULLIF(current_setting('teppan.station_id', true), '')::uuid));

CREATE POLICY owner_all ON identity.memberships TO identity_owner USING (true) WITH CHECK (true);

CREATE POLICY platform_all ON identity.memberships TO identity_platform USING (true) WITH CHECK (true);

GRANT SELECT, INSERT ON identity.memberships TO identity_app;

GRANT SELECT ON identity.memberships TO identity_platform;

CREATE FUNCTION identity.incarnation() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT extract(epoch FROM pg_postmaster_start_time())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
         || '/' || 'identity.feed_head'::regclass::oid::text
$$;

CREATE FUNCTION identity.events_roll() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  day date;
  name text;
  dropped bigint;
BEGIN
  FOR day IN SELECT (now() AT TIME ZONE 'UTC')::date + n FROM generate_series(-1, 7) n LOOP
    name := 'events_' || to_char(day, 'YYYYMMDD');
    IF to_regclass('identity.' || name) IS NULL THEN
      EXECUTE format('CREATE TABLE identity.%I PARTITION OF identity.events FOR VALUES FROM (%L) TO (%L)',
                     name, day::text || ' 00:00+00', (day + 1)::text || ' 00:00+00');
    END IF;
  END LOOP;
  FOR name IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'identity.events'::regclass
                 AND c.relname < 'events_' || to_char((now() AT TIME ZONE 'UTC')::date - 30, 'YYYYMMDD') LOOP
    EXECUTE format('SELECT max(position) FROM identity.%I', name) INTO dropped;
    UPDATE identity.feed_head SET dropped_through = greatest(dropped_through, coalesce(dropped, 0));
    EXECUTE format('DROP TABLE identity.%I', name);
  END LOOP;
END $$;

REVOKE ALL ON FUNCTION identity.events_roll() FROM PUBLIC;

REVOKE ALL ON FUNCTION identity.incarnation() FROM PUBLIC;

GRANT EXECUTE ON FUNCTION identity.events_roll() TO identity_platform;

GRANT EXECUTE ON FUNCTION identity.incarnation() TO identity_platform, identity_app;

INSERT INTO identity.feed_head DEFAULT VALUES;

SELECT identity.events_roll();

INSERT INTO identity.schema_compatibility VALUES ('0001');

GRANT SELECT ON identity.alembic_version TO identity_app, identity_platform;

CREATE FUNCTION identity.memberships_per_user() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM FROM identity.users u WHERE u.id = NEW.user_id FOR NO KEY UPDATE;
  IF (SELECT count(*) FROM identity.memberships m WHERE m.user_id = NEW.user_id) > 20 THEN
    RAISE EXCEPTION 'too many memberships' USING ERRCODE = 'check_violation', CONSTRAINT = 'memberships_per_user';
  END IF;
  RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION identity.memberships_per_user() FROM PUBLIC;

CREATE TRIGGER memberships_per_user AFTER INSERT ON identity.memberships FOR EACH ROW EXECUTE FUNCTION identity.memberships_per_user();
