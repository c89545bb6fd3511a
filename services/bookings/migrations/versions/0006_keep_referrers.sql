CREATE TABLE bookings.purges (
  type TEXT NOT NULL,
  id UUID NOT NULL,
  epoch UUID NOT NULL,
  version BIGINT NOT NULL,
  begin_time TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  purging_time TIMESTAMP WITH TIME ZONE,
  CONSTRAINT purges_pkey PRIMARY KEY (type, id)
);

CREATE TABLE bookings.referrers (
  service TEXT NOT NULL,
  type TEXT NOT NULL,
  "column" TEXT NOT NULL,
  rule SMALLINT NOT NULL,
  since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT referrers_pkey PRIMARY KEY (service, type, "column")
);

CREATE TABLE bookings.registry (
  "only" BOOLEAN DEFAULT true NOT NULL,
  version BIGINT DEFAULT 0 NOT NULL,
  CONSTRAINT registry_pkey PRIMARY KEY ("only")
);

GRANT SELECT, INSERT ON bookings.referrers TO bookings_platform;

GRANT SELECT, UPDATE ON bookings.registry TO bookings_platform;

GRANT SELECT, INSERT, UPDATE, DELETE ON bookings.purges TO bookings_platform;

INSERT INTO bookings.registry DEFAULT VALUES;
