package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/golang/protobuf/ptypes/timestamp"
	"github.com/jackc/pgtype"
	"google.golang.org/genproto/googleapis/type/date"
	"google.golang.org/genproto/googleapis/type/timeofday"

	pb "teppan/bookingspb"
)

const columns = "id, station_id, reference, customer_id, state, slot_date, slot_start, start_time, end_time, time_zone, adults, children," +
	" infants, currency_code, total_minor, deposit_minor, paid_minor, policy_version, deposit_deadline_time, created_by," +
	" created_by_name, confirm_time, cancel_time, cancelled_by, refund_basis_points, version, create_time, update_time"

// row has the columns above.
type row struct {
	id, station, customer, createdBy    pgtype.UUID
	reference, timeZone, currency, name string
	state, adults, children, infants    int16
	slotDate, start, end                time.Time
	slotStart                           pgtype.Time
	total, deposit, paid, version       int64
	policyVersion                       int32
	deadline, created, updated          time.Time
	confirmed, cancelled                pgtype.Timestamptz
	cancelledBy                         pgtype.Int2
	refundBasisPoints                   pgtype.Int4
}

func (r *row) targets() []interface{} {
	return []interface{}{
		&r.id, &r.station, &r.reference, &r.customer, &r.state, &r.slotDate, &r.slotStart, &r.start, &r.end, &r.timeZone, &r.adults,
		&r.children, &r.infants, &r.currency, &r.total, &r.deposit, &r.paid, &r.policyVersion, &r.deadline, &r.createdBy, &r.name,
		&r.confirmed, &r.cancelled, &r.cancelledBy, &r.refundBasisPoints, &r.version, &r.created, &r.updated,
	}
}

func (r *row) booking() *pb.Booking {
	year, month, day := r.slotDate.Date()
	minutes := r.slotStart.Microseconds / 60_000_000
	booking := &pb.Booking{
		BookingId:           id(r.id.Bytes).String(),
		StationId:           id(r.station.Bytes).String(),
		Reference:           r.reference,
		CustomerId:          id(r.customer.Bytes).String(),
		State:               pb.BookingState(r.state),
		SlotDate:            &date.Date{Year: int32(year), Month: int32(month), Day: int32(day)},
		SlotStart:           &timeofday.TimeOfDay{Hours: int32(minutes / 60), Minutes: int32(minutes % 60)},
		StartTime:           instant(r.start),
		EndTime:             instant(r.end),
		TimeZone:            r.timeZone,
		Guests:              &pb.Guests{Adults: int32(r.adults), Children: int32(r.children), Infants: int32(r.infants)},
		CurrencyCode:        r.currency,
		TotalMinor:          r.total,
		DepositMinor:        r.deposit,
		PaidMinor:           r.paid,
		PolicyVersion:       r.policyVersion,
		DepositDeadlineTime: instant(r.deadline),
		CreatedByName:       r.name,
		Etag:                strconv.FormatInt(r.version, 10),
		CreateTime:          instant(r.created),
		UpdateTime:          instant(r.updated),
	}
	if r.createdBy.Status == pgtype.Present {
		booking.CreatedBy = id(r.createdBy.Bytes).String()
	}
	if r.confirmed.Status == pgtype.Present {
		booking.ConfirmTime = instant(r.confirmed.Time)
	}
	if r.cancelled.Status == pgtype.Present {
		booking.CancelTime = instant(r.cancelled.Time)
		booking.CancelledBy = pb.CancelledBy(r.cancelledBy.Int)
	}
	if r.refundBasisPoints.Status == pgtype.Present {
		booking.RefundBasisPoints = r.refundBasisPoints.Int
	}
	return booking
}

func instant(t time.Time) *timestamp.Timestamp {
	return &timestamp.Timestamp{Seconds: t.Unix(), Nanos: int32(t.Nanosecond())}
}

// read makes a statement of a body whose tenant is {tenant}; $1 is the tenant. With checks, the statement sets the tenant that row-level
// security compares with, and the body, which ends in a literal LIMIT, runs after that: one round trip, and no transaction.
func (s *server) read(body string) string {
	if !s.checked {
		return strings.Replace(body, "{tenant}", "$1", 1)
	}
	return "SELECT b.* FROM (SELECT set_config('teppan.station_id', $1::uuid::text, true)::uuid AS tenant OFFSET 0) s, LATERAL (" +
		strings.Replace(body, "{tenant}", "s.tenant", 1) + ") b"
}
