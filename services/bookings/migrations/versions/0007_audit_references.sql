CREATE TABLE bookings.dangling_references (
	"column" TEXT NOT NULL,
	id UUID NOT NULL,
	station_id UUID DEFAULT '00000000-0000-0000-0000-000000000000' NOT NULL,
	rows BIGINT NOT NULL,
	first_seen TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	last_seen TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	CONSTRAINT dangling_references_pkey PRIMARY KEY ("column", id, station_id)
);

CREATE TABLE bookings.reference_repairs (
	seq BIGINT GENERATED ALWAYS AS IDENTITY (CACHE 1),
	repair_time TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
	repaired_by TEXT NOT NULL,
	"column" TEXT NOT NULL,
	id UUID NOT NULL,
	rule SMALLINT NOT NULL,
	key JSONB NOT NULL,
	was JSONB NOT NULL,
	CONSTRAINT reference_repairs_pkey PRIMARY KEY (seq)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON bookings.dangling_references TO bookings_platform;

GRANT SELECT, INSERT ON bookings.reference_repairs TO bookings_platform;
