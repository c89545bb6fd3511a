GRANT DELETE ON identity.referrers TO identity_platform;

CREATE OR REPLACE FUNCTION identity.incarnation() RETURNS text LANGUAGE sql AS $$
  SELECT extract(epoch FROM pg_postmaster_start_time())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
         || '/' || to_regclass('identity.feed_head')::oid::text
$$;
