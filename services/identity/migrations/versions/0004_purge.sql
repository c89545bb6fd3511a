CREATE OR REPLACE FUNCTION identity.memberships_per_user() RETURNS trigger LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM FROM identity.users u WHERE u.id = NEW.user_id AND u.state < 3 FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the user is purged' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'memberships_user_kept';
  END IF;
  PERFORM FROM identity.stations s WHERE s.id = NEW.station_id AND s.state < 4 FOR SHARE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the station is purged' USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'memberships_station_kept';
  END IF;
  IF (SELECT count(*) FROM identity.memberships m WHERE m.user_id = NEW.user_id) > 20 THEN
    RAISE EXCEPTION 'too many memberships' USING ERRCODE = 'check_violation', CONSTRAINT = 'memberships_per_user';
  END IF;
  RETURN NULL;
END $$;
