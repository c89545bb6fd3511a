ALTER TABLE payments.feed_state ADD COLUMN resynchronisation UUID;

CREATE TABLE payments.left_epochs (
	owner TEXT NOT NULL,
	epoch UUID NOT NULL,
	CONSTRAINT left_epochs_pkey PRIMARY KEY (owner, epoch)
);

GRANT SELECT, INSERT ON payments.left_epochs TO payments_platform;

CREATE OR REPLACE FUNCTION payments.incarnation() RETURNS text LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
  SELECT extract(epoch FROM pg_postmaster_start_time())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
         || '/' || 'payments.feed_head'::regclass::oid::text || '/' || 'payments.known_stations'::regclass::oid::text || '/' || 'payments.booking_accounts'::regclass::oid::text
$$;
