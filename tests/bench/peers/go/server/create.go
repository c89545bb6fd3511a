package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang/protobuf/proto"
	"github.com/golang/protobuf/ptypes"
	"github.com/jackc/pgconn"
	"github.com/jackc/pgtype"
	"github.com/jackc/pgx/v4"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "teppan/bookingspb"
)

const (
	open           = 1
	requestsMax    = 500
	lockedSlot     = "SELECT capacity, taken FROM bookings.slots WHERE station_id = $1 AND local_date = $2 AND local_start = $3 FOR NO KEY UPDATE"
	insertRequest  = "INSERT INTO bookings.requests (station_id, caller, method, request_id, fingerprint, made_id) VALUES ($1, $2, 'CreateBooking', $3, $4, $5) ON CONFLICT DO NOTHING"
	presentRequest = "SELECT r.fingerprint, r.made_id FROM bookings.requests r WHERE r.station_id = {tenant} AND r.caller = $2 AND r.method = 'CreateBooking' AND r.request_id = $3 LIMIT 1"
	insertBooking  = `INSERT INTO bookings.bookings (station_id, id, reference, customer_id, state, slot_date, slot_start, start_time, end_time, time_zone,
		adults, children, infants, currency_code, total_minor, deposit_minor, policy_version, requests, deposit_deadline_time, created_by,
		created_by_name, version, create_time, update_time)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, 1, $22, $22)`
	insertLine   = "INSERT INTO bookings.price_lines (station_id, booking_id, line, kind, quantity, unit_minor, amount_minor) VALUES ($1, $2, $3, $4, $5, $6, $7)"
	insertOutbox = "INSERT INTO bookings.outbox (event_id, type, entity_id, station_id, version, referent_state, payload) VALUES ($1, 'bookings.Booking', $2, $3, 1, 1, $4)"
)

var errRepeated = errors.New("the request was here before")

// creation is a CreateBooking on its way.
type creation struct {
	req                              *pb.CreateBookingRequest
	caller                           *claims
	station, customer, request, made id
	slot                             *slot
	start                            pgtype.Time
	fingerprint                      []byte
	timeZone, currency               string
	taken, present                   int32
	found                            bool
}

func (s *server) CreateBooking(ctx context.Context, req *pb.CreateBookingRequest) (*pb.CreateBookingResponse, error) {
	c, err := s.parse(ctx, req)
	if err != nil {
		return nil, err
	}
	var booking *pb.Booking
	err = s.pool.BeginFunc(ctx, func(tx pgx.Tx) error {
		if err := s.check(ctx, tx, c); err != nil {
			return err
		}
		booking, err = s.write(ctx, tx, c)
		return err
	})
	if errors.Is(err, errRepeated) {
		booking, err = s.again(ctx, c)
	}
	if err != nil {
		return nil, failed(err)
	}
	return &pb.CreateBookingResponse{Booking: booking}, nil
}

func (s *server) parse(ctx context.Context, req *pb.CreateBookingRequest) (*creation, error) {
	c := &creation{req: req, made: newID()}
	var err error
	for _, each := range []struct {
		field, text string
		into        *id
	}{{"request_id", req.RequestId, &c.request}, {"station_id", req.StationId, &c.station}, {"customer_id", req.CustomerId, &c.customer}} {
		if *each.into, err = parseID(each.field, each.text); err != nil {
			return nil, err
		}
	}
	if c.caller, err = s.permit(ctx, c.station, roleAgent, false); err != nil {
		return nil, err
	}
	if req.ValidateOnly {
		return nil, status.Error(codes.Unimplemented, "this peer does not only validate")
	}
	if req.OverrideLeadTime && c.caller.Platform != administers {
		return nil, status.Error(codes.PermissionDenied, "only a platform administrator books within the lead time")
	}
	if err := checkGuests(req.Guests); err != nil {
		return nil, err
	}
	if utf8.RuneCountInString(req.Requests) > requestsMax {
		return nil, status.Error(codes.InvalidArgument, "requests: at most 500 characters")
	}
	if c.slot, err = wantedSlot(req); err != nil {
		return nil, err
	}
	c.start = pgtype.Time{Microseconds: int64(c.slot.minute) * 60_000_000, Status: pgtype.Present}
	content, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, s.key)
	mac.Write(content)
	c.fingerprint = mac.Sum(nil)
	return c, nil
}

// check takes the request and reads what decides, the slot's row locked: one round trip, and two more where nobody took a place in the
// slot before.
func (s *server) check(ctx context.Context, tx pgx.Tx, c *creation) error {
	station := [16]byte(c.station)
	batch := &pgx.Batch{}
	if s.checked {
		batch.Queue("SELECT set_config('teppan.station_id', $1, true)", c.station.String())
	}
	batch.Queue(insertRequest, station, c.callerName(), [16]byte(c.request), c.fingerprint, [16]byte(c.made))
	batch.Queue("SELECT time_zone, currency_code, state FROM bookings.known_stations WHERE id = $1", station)
	batch.Queue("SELECT weekday, local_start, length_minutes, capacity FROM bookings.schedule_slots WHERE station_id = $1", station)
	batch.Queue("SELECT count(*) FROM bookings.customers WHERE station_id = $1 AND id = $2", station, [16]byte(c.customer))
	batch.Queue(lockedSlot, station, c.slot.date, c.start)
	results := tx.SendBatch(ctx, batch)
	week, err := s.read5(results, c)
	if closing := results.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	if err := c.slot.offer(week, c.timeZone); err != nil {
		return err
	}
	if c.found {
		return nil
	}
	insert := "INSERT INTO bookings.slots (station_id, local_date, local_start, start_time, end_time, capacity) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
	if _, err := tx.Exec(ctx, insert, station, c.slot.date, c.start, c.slot.start, c.slot.end, c.slot.capacity); err != nil {
		return err
	}
	return tx.QueryRow(ctx, lockedSlot, station, c.slot.date, c.start).Scan(&c.present, &c.taken)
}

func (s *server) read5(results pgx.BatchResults, c *creation) ([]scheduled, error) {
	if s.checked {
		if _, err := results.Exec(); err != nil {
			return nil, err
		}
	}
	tag, err := results.Exec()
	if err != nil {
		return nil, err
	}
	if tag.RowsAffected() == 0 {
		return nil, errRepeated
	}
	var state, customers int32
	err = results.QueryRow().Scan(&c.timeZone, &c.currency, &state)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, status.Error(codes.NotFound, "station_id: there is no such identity.Station")
	}
	if err != nil {
		return nil, err
	}
	if state != open {
		return nil, status.Error(codes.FailedPrecondition, "the station is not in use")
	}
	week, err := readWeek(results)
	if err != nil {
		return nil, err
	}
	if err := results.QueryRow().Scan(&customers); err != nil {
		return nil, err
	}
	if customers == 0 {
		return nil, status.Error(codes.NotFound, "there is no such customer in this station")
	}
	err = results.QueryRow().Scan(&c.present, &c.taken)
	c.found = err == nil
	if errors.Is(err, pgx.ErrNoRows) {
		err = nil
	}
	return week, err
}

func readWeek(results pgx.BatchResults) ([]scheduled, error) {
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var week []scheduled
	for rows.Next() {
		var each scheduled
		var start pgtype.Time
		if err := rows.Scan(&each.weekday, &start, &each.length, &each.capacity); err != nil {
			return nil, err
		}
		each.start = int(start.Microseconds / 60_000_000)
		week = append(week, each)
	}
	if len(week) == 0 {
		week = defaultWeek()
	}
	return week, rows.Err()
}

// write books: one round trip.
func (s *server) write(ctx context.Context, tx pgx.Tx, c *creation) (*pb.Booking, error) {
	now := time.Now().UTC().Truncate(time.Microsecond)
	deadline, err := c.slot.deadline(now, c.req.OverrideLeadTime)
	if err != nil {
		return nil, err
	}
	if int(c.taken) >= c.slot.capacity {
		return nil, status.Errorf(codes.FailedPrecondition, "the slot on %s is full", c.slot)
	}
	lines, total, deposit := price(c.req.Guests)
	booking := c.booking(now, deadline, lines, total, deposit)
	event := proto.Clone(booking).(*pb.Booking)
	event.CreatedByName, event.Requests, event.PriceLines = "", "", nil
	packed, err := ptypes.MarshalAny(event)
	if err != nil {
		return nil, err
	}
	payload, err := proto.Marshal(packed)
	if err != nil {
		return nil, err
	}
	station, made, guests := [16]byte(c.station), [16]byte(c.made), c.req.Guests
	batch := &pgx.Batch{}
	if int(c.present) != c.slot.capacity {
		batch.Queue("UPDATE bookings.slots SET capacity = $4 WHERE station_id = $1 AND local_date = $2 AND local_start = $3", station, c.slot.date, c.start, c.slot.capacity)
	}
	batch.Queue(insertBooking, station, made, booking.Reference, [16]byte(c.customer), int32(booking.State), c.slot.date, c.start, c.slot.start, c.slot.end,
		c.timeZone, guests.Adults, guests.Children, guests.Infants, c.currency, total, deposit, policyVersion, c.req.Requests, deadline,
		c.createdBy(), c.caller.Name, now)
	for number, line := range lines {
		batch.Queue(insertLine, station, made, number, line.Kind, line.Quantity, line.UnitMinor, line.AmountMinor)
	}
	batch.Queue(insertOutbox, [16]byte(newID()), made, station, payload)
	results := tx.SendBatch(ctx, batch)
	for n := 0; n < batch.Len(); n++ {
		if _, err := results.Exec(); err != nil {
			results.Close()
			return nil, err
		}
	}
	return booking, results.Close()
}

func (c *creation) booking(now, deadline time.Time, lines []*pb.PriceLine, total, deposit int64) *pb.Booking {
	return &pb.Booking{
		BookingId: c.made.String(), StationId: c.station.String(), Reference: newReference(), CustomerId: c.customer.String(),
		State: pb.BookingState_BOOKING_STATE_PENDING, SlotDate: c.req.SlotDate, SlotStart: c.req.SlotStart, StartTime: instant(c.slot.start),
		EndTime: instant(c.slot.end), TimeZone: c.timeZone, Guests: c.req.Guests, CurrencyCode: c.currency, TotalMinor: total,
		DepositMinor: deposit, PolicyVersion: policyVersion, Requests: c.req.Requests, PriceLines: lines, DepositDeadlineTime: instant(deadline),
		CreatedBy: c.caller.Subject, CreatedByName: c.caller.Name, Etag: "1", CreateTime: instant(now), UpdateTime: instant(now),
	}
}

func (c *creation) callerName() string {
	return "user:" + c.caller.Subject
}

func (c *creation) createdBy() pgtype.UUID {
	var by pgtype.UUID
	if err := by.Set(c.caller.Subject); err != nil || c.caller.Subject == "" {
		return pgtype.UUID{Status: pgtype.Null}
	}
	return by
}

// again answers a repeated request with what it made.
func (s *server) again(ctx context.Context, c *creation) (*pb.Booking, error) {
	var fingerprint []byte
	var made pgtype.UUID
	err := s.pool.QueryRow(ctx, s.read(presentRequest), [16]byte(c.station), c.callerName(), [16]byte(c.request)).Scan(&fingerprint, &made)
	if err != nil {
		return nil, err
	}
	if !hmac.Equal(fingerprint, c.fingerprint) {
		return nil, status.Error(codes.InvalidArgument, "request_id: it was used for another request; send a new one")
	}
	return s.get(ctx, c.station, id(made.Bytes))
}

// failed turns what the database refuses into a status.
func failed(err error) error {
	if _, ok := status.FromError(err); ok {
		return err
	}
	var refused *pgconn.PgError
	switch {
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "the caller has gone")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "the deadline has passed")
	case errors.As(err, &refused) && refused.ConstraintName == "slots_within_capacity":
		return status.Error(codes.FailedPrecondition, "the slot is full")
	case errors.As(err, &refused) && strings.HasSuffix(refused.ConstraintName, "_open"):
		return status.Error(codes.FailedPrecondition, "the station is not in use")
	case errors.As(err, &refused) && strings.HasSuffix(refused.ConstraintName, "_ready"):
		return status.Error(codes.Unavailable, "the feed of stations is stale")
	case errors.As(err, &refused) && refused.Code == "55P03":
		return status.Error(codes.Aborted, "another call holds what this one needs")
	}
	return status.Errorf(codes.Internal, "the database: %v", err)
}
