package main

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v4"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "teppan/bookingspb"
)

const (
	pageSizeDefault = 100
	pageSizeMax     = 1000
)

// key is where a page ends; its microseconds are those that Postgres keeps.
type key struct {
	start time.Time
	id    id
}

func (k key) token() string {
	var content [24]byte
	binary.BigEndian.PutUint64(content[:8], uint64(k.start.UnixNano()/1000))
	copy(content[8:], k.id[:])
	return base64.RawURLEncoding.EncodeToString(content[:])
}

func keyOf(token string) (*key, error) {
	if token == "" {
		return nil, nil
	}
	content, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(content) != 24 {
		return nil, status.Error(codes.InvalidArgument, "page_token is not one of this list")
	}
	found := &key{start: time.Unix(0, int64(binary.BigEndian.Uint64(content[:8]))*1000)}
	copy(found.id[:], content[8:])
	return found, nil
}

func (s *server) ListBookings(req *pb.ListBookingsRequest, stream pb.BookingsService_ListBookingsServer) error {
	ctx := stream.Context()
	station, err := parseID("station_id", req.StationId)
	if err != nil {
		return err
	}
	if _, err := s.permit(ctx, station, roleViewer, true); err != nil {
		return err
	}
	if len(req.States) > 0 || req.StartTimeFrom != nil || req.StartTimeBefore != nil || req.OrderBy == pb.BookingOrder_BOOKING_ORDER_START_TIME_ASC {
		return status.Error(codes.Unimplemented, "this peer lists all bookings of a station, the latest first")
	}
	if req.PageSize < 0 || req.PageLimit < 0 {
		return status.Error(codes.InvalidArgument, "page_size and page_limit are not negative")
	}
	size := int(req.PageSize)
	if size == 0 {
		size = pageSizeDefault
	} else if size > pageSizeMax {
		size = pageSizeMax
	}
	after, err := keyOf(req.PageToken)
	if err != nil {
		return err
	}
	for sent := int32(0); req.PageLimit == 0 || sent < req.PageLimit; sent++ {
		page, next, err := s.page(ctx, station, size, after)
		if err != nil {
			return failed(err)
		}
		if err := stream.Send(page); err != nil {
			return err
		}
		if next == nil {
			return nil
		}
		after = next
	}
	return nil
}

// page reads one row more than it shows: that tells whether another page follows.
func (s *server) page(ctx context.Context, station id, size int, after *key) (*pb.ListBookingsResponse, *key, error) {
	beyond, parameters := "", []interface{}{[16]byte(station)}
	if after != nil {
		beyond = " AND (b.start_time, b.id) < ($2, $3)"
		parameters = append(parameters, after.start, [16]byte(after.id))
	}
	body := fmt.Sprintf("SELECT %s FROM bookings.bookings b WHERE b.station_id = {tenant}%s ORDER BY start_time DESC, id DESC LIMIT %d", columns, beyond, size+1)
	rows, err := s.pool.Query(ctx, s.read(body), parameters...)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	var read row
	targets := read.targets()
	page := &pb.ListBookingsResponse{Bookings: make([]*pb.Booking, 0, size)}
	var last key
	for rows.Next() {
		if len(page.Bookings) == size {
			page.NextPageToken = last.token()
			return page, &last, nil
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, nil, err
		}
		page.Bookings = append(page.Bookings, read.booking())
		last = key{read.start, read.id.Bytes}
	}
	return page, nil, rows.Err()
}

func (s *server) GetBooking(ctx context.Context, req *pb.GetBookingRequest) (*pb.GetBookingResponse, error) {
	station, err := parseID("station_id", req.StationId)
	if err != nil {
		return nil, err
	}
	wanted, err := parseID("booking_id", req.BookingId)
	if err != nil {
		return nil, err
	}
	if _, err := s.permit(ctx, station, roleViewer, true); err != nil {
		return nil, err
	}
	booking, err := s.get(ctx, station, wanted)
	if err != nil {
		return nil, err
	}
	return &pb.GetBookingResponse{Booking: booking}, nil
}

const (
	oneBooking = "SELECT " + columns + ", requests FROM bookings.bookings b WHERE b.station_id = {tenant} AND b.id = $2 LIMIT 1"
	itsLines   = "SELECT kind, quantity, unit_minor, amount_minor FROM bookings.price_lines l" +
		" WHERE l.station_id = {tenant} AND l.booking_id = $2 ORDER BY line LIMIT 100"
)

// get reads a booking and its lines in one round trip.
func (s *server) get(ctx context.Context, station, wanted id) (*pb.Booking, error) {
	batch := &pgx.Batch{}
	batch.Queue(s.read(oneBooking), [16]byte(station), [16]byte(wanted))
	batch.Queue(s.read(itsLines), [16]byte(station), [16]byte(wanted))
	results := s.pool.SendBatch(ctx, batch)
	defer results.Close()
	var read row
	var requests string
	err := results.QueryRow().Scan(append(read.targets(), &requests)...)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, status.Error(codes.NotFound, "there is no such booking in this station")
	}
	if err != nil {
		return nil, failed(err)
	}
	booking := read.booking()
	booking.Requests = requests
	lines, err := results.Query()
	if err != nil {
		return nil, failed(err)
	}
	defer lines.Close()
	for lines.Next() {
		line := &pb.PriceLine{}
		if err := lines.Scan(&line.Kind, &line.Quantity, &line.UnitMinor, &line.AmountMinor); err != nil {
			return nil, failed(err)
		}
		booking.PriceLines = append(booking.PriceLines, line)
	}
	if err := lines.Err(); err != nil {
		return nil, failed(err)
	}
	return booking, nil
}
