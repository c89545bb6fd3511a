ALTER TABLE payments.booking_accounts
  ADD COLUMN refund_due_minor BIGINT DEFAULT 0 NOT NULL,
  ADD COLUMN refund_due_time TIMESTAMP WITH TIME ZONE;

CREATE FUNCTION payments.accounts_refund_due() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  target bigint := (NEW.captured_minor * coalesce(NEW.refund_basis_points, 0) + 5000) / 10000;
BEGIN
  NEW.refund_due_minor := greatest(0, target - NEW.refunded_minor);
  NEW.refund_due_time := CASE WHEN NEW.refund_due_minor = 0 THEN NULL ELSE coalesce(NEW.refund_due_time, now()) END;
  RETURN NEW;
END $$;

REVOKE ALL ON FUNCTION payments.accounts_refund_due() FROM PUBLIC;

CREATE TRIGGER accounts_refund_due BEFORE INSERT OR UPDATE ON payments.booking_accounts FOR EACH ROW EXECUTE FUNCTION payments.accounts_refund_due();

UPDATE payments.booking_accounts SET refund_due_minor = 0 WHERE refund_basis_points > 0 AND captured_minor > 0;
