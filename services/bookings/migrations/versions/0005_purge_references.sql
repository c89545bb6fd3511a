ALTER TABLE bookings.feed_state ADD COLUMN resynchronisation UUID;

CREATE TABLE bookings.left_epochs (
	owner TEXT NOT NULL,
	epoch UUID NOT NULL,
	CONSTRAINT left_epochs_pkey PRIMARY KEY (owner, epoch)
);

GRANT SELECT, INSERT ON bookings.left_epochs TO bookings_platform;

ALTER TABLE bookings.known_stations ALTER COLUMN code SET DEFAULT '', ALTER COLUMN time_zone SET DEFAULT '', ALTER COLUMN currency_code SET DEFAULT '';

GRANT UPDATE (user_id) ON bookings.customers TO bookings_platform;

CREATE POLICY platform_all ON bookings.schedules TO bookings_platform USING (true) WITH CHECK (true);

GRANT SELECT, DELETE ON bookings.schedules TO bookings_platform;

GRANT DELETE ON bookings.slots TO bookings_platform;

CREATE OR REPLACE FUNCTION bookings.incarnation() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT extract(epoch FROM pg_postmaster_start_time())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
         || '/' || 'bookings.feed_head'::regclass::oid::text || '/' || 'bookings.known_stations'::regclass::oid::text || '/' || 'bookings.known_users'::regclass::oid::text
$$;
