-- The roles and schemas of the three services, in the database that this runs in. Run it as a superuser, or as a role with
-- CREATEROLE that owns the database; it may run again. Passwords are the operator's: ALTER ROLE ... PASSWORD '...'.
--
--   <service>_owner     owns schema and tables: migrations and backups only
--   <service>_app       what a service does for one station: the verbs that its migrations grant, under row-level security
--   <service>_platform  what crosses stations: feeds, workers, login, checks of references

DO $$
DECLARE
  service text;
  kind text;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('teppan roles', 0));
  FOREACH service IN ARRAY ARRAY['identity', 'bookings', 'payments'] LOOP
    FOREACH kind IN ARRAY ARRAY['owner', 'app', 'platform'] LOOP
      IF to_regrole(service || '_' || kind) IS NULL THEN
        EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', service || '_' || kind);
      END IF;
      EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), service || '_' || kind);
    END LOOP;
    -- Whoever hangs lets go, of locks and of a connection, well before anybody calls a feed stale (30 s).
    EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''10s''', service || '_app');
    EXECUTE format('ALTER ROLE %I SET idle_in_transaction_session_timeout = ''10s''', service || '_platform');
    EXECUTE format('ALTER ROLE %I SET statement_timeout = ''30s''', service || '_app');
    -- A list is a range of its own index. Whose list it is the planner does not know: where stations have few rows on average it
    -- would rather sort, all that a station has for each page of it, and one station has a million. (On 16 and 17 a sort that
    -- cannot be avoided looks dear enough to be compiled, which takes longer than the sort.)
    EXECUTE format('ALTER ROLE %I SET enable_sort = off', service || '_app');
    EXECUTE format('ALTER ROLE %I SET jit = off', service || '_app');
    IF to_regnamespace(service) IS NULL THEN
      EXECUTE format('GRANT %I TO CURRENT_USER', service || '_owner');
      EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', service, service || '_owner');
      EXECUTE format('REVOKE %I FROM CURRENT_USER', service || '_owner');
    END IF;
    EXECUTE format('REVOKE ALL ON SCHEMA %I FROM PUBLIC', service);
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', service, service || '_app', service || '_platform');
  END LOOP;
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  REVOKE ALL ON SCHEMA public FROM PUBLIC;
END $$;
