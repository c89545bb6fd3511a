CREATE TABLE identity.purges (
  type TEXT NOT NULL,
  id UUID NOT NULL,
  epoch UUID NOT NULL,
  version BIGINT NOT NULL,
  begin_time TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  purging_time TIMESTAMP WITH TIME ZONE,
  CONSTRAINT purges_pkey PRIMARY KEY (type, id)
);

CREATE TABLE identity.referrers (
  service TEXT NOT NULL,
  type TEXT NOT NULL,
  "column" TEXT NOT NULL,
  rule SMALLINT NOT NULL,
  since TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
  CONSTRAINT referrers_pkey PRIMARY KEY (service, type, "column")
);

CREATE TABLE identity.registry (
  "only" BOOLEAN DEFAULT true NOT NULL,
  version BIGINT DEFAULT 0 NOT NULL,
  CONSTRAINT registry_pkey PRIMARY KEY ("only")
);

GRANT SELECT, INSERT ON identity.referrers TO identity_platform;

GRANT SELECT, UPDATE ON identity.registry TO identity_platform;

GRANT SELECT, INSERT, UPDATE, DELETE ON identity.purges TO identity_platform;

INSERT INTO identity.registry DEFAULT VALUES;
