package main

import (
	"fmt"
	"sync"
	"time"
	_ "time/tzdata" // the machine may have none

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "teppan/bookingspb"
)

// The numbers of Teppan's policy, version 1.
const (
	policyVersion    = 1
	adultMinor       = 5_500
	childMinor       = 3_000
	infantMinor      = 0
	foodMinimumMinor = 55_000
	depositMinor     = 10_000
	leadTime         = 48 * time.Hour
	horizon          = 365 * 24 * time.Hour
	depositPatience  = 24 * time.Hour
)

func price(guests *pb.Guests) (lines []*pb.PriceLine, total, deposit int64) {
	add := func(kind string, quantity int32, unit int64) {
		if quantity > 0 {
			amount := int64(quantity) * unit
			lines = append(lines, &pb.PriceLine{Kind: kind, Quantity: quantity, UnitMinor: unit, AmountMinor: amount})
			total += amount
		}
	}
	add("adults", guests.Adults, adultMinor)
	add("children", guests.Children, childMinor)
	add("infants", guests.Infants, infantMinor)
	if missing := foodMinimumMinor - total; missing > 0 {
		add("minimum", 1, missing)
	}
	deposit = depositMinor
	if total < deposit {
		deposit = total
	}
	return lines, total, deposit
}

// scheduled is a slot of a station's week; weekday is 1 for Monday to 7 for Sunday, start the minute of the day.
type scheduled struct {
	weekday, start, length, capacity int
}

func defaultWeek() (week []scheduled) {
	for weekday := 1; weekday <= 7; weekday++ {
		for _, hour := range []int{12, 15, 18, 21} {
			week = append(week, scheduled{weekday, hour * 60, 180, 2})
		}
	}
	return week
}

// slot is what is booked: local date and start, and their instants.
type slot struct {
	year, month, day, minute int
	date                     time.Time
	start, end               time.Time
	capacity                 int
}

func (s *slot) String() string {
	return fmt.Sprintf("%s at %02d:%02d", s.date.Format("2006-01-02"), s.minute/60, s.minute%60)
}

func wantedSlot(req *pb.CreateBookingRequest) (*slot, error) {
	day, start := req.SlotDate, req.SlotStart
	if day == nil || start == nil {
		return nil, status.Error(codes.InvalidArgument, "slot_date and slot_start are required")
	}
	date := time.Date(int(day.Year), time.Month(day.Month), int(day.Day), 0, 0, 0, 0, time.UTC)
	if year, month, of := date.Date(); day.Year < 1 || year != int(day.Year) || int32(month) != day.Month || of != int(day.Day) {
		return nil, status.Error(codes.InvalidArgument, "slot_date: no such date")
	}
	if start.Seconds != 0 || start.Nanos != 0 || start.Hours < 0 || start.Hours > 23 || start.Minutes < 0 || start.Minutes > 59 {
		return nil, status.Error(codes.InvalidArgument, "slot_start: slots start at a whole minute of a day")
	}
	return &slot{year: int(day.Year), month: int(day.Month), day: int(day.Day), minute: int(start.Hours*60 + start.Minutes), date: date}, nil
}

var zones sync.Map

func zone(name string) (*time.Location, error) {
	if known, ok := zones.Load(name); ok {
		return known.(*time.Location), nil
	}
	location, err := time.LoadLocation(name)
	if err == nil {
		zones.Store(name, location)
	}
	return location, err
}

// offer fills in what the schedule says of a slot; it refuses one that is not offered, or that the date does not have.
func (s *slot) offer(week []scheduled, timeZone string) error {
	location, err := zone(timeZone)
	if err != nil {
		return err
	}
	weekday := int(s.date.Weekday()+6)%7 + 1
	for _, each := range week {
		if each.weekday != weekday || each.start != s.minute {
			continue
		}
		start := time.Date(s.year, time.Month(s.month), s.day, s.minute/60, s.minute%60, 0, 0, location)
		if start.Hour() != s.minute/60 || start.Minute() != s.minute%60 {
			break // clocks go forward
		}
		s.start, s.end, s.capacity = start.UTC(), start.UTC().Add(time.Duration(each.length)*time.Minute), each.capacity
		return nil
	}
	return status.Errorf(codes.FailedPrecondition, "the station has no slot on %s", s)
}

// deadline is until when a booking waits for its deposit; it refuses a slot that begins too soon, or too late.
func (s *slot) deadline(now time.Time, override bool) (time.Time, error) {
	if s.start.Sub(now) < leadTime && !override {
		return now, status.Error(codes.FailedPrecondition, "a booking is made at least 48 hours before its start")
	}
	if s.start.Sub(now) > horizon {
		return now, status.Error(codes.FailedPrecondition, "a booking is made at most 365 days ahead")
	}
	latest := s.start.Add(-leadTime)
	if !latest.After(now) {
		latest = s.start
	}
	if patient := now.Add(depositPatience); patient.Before(latest) {
		return patient, nil
	}
	return latest, nil
}

func checkGuests(guests *pb.Guests) error {
	if guests == nil {
		return status.Error(codes.InvalidArgument, "guests are required")
	}
	for _, count := range []int32{guests.Adults, guests.Children, guests.Infants} {
		if count < 0 || count > 50 {
			return status.Error(codes.InvalidArgument, "0 to 50 guests of each kind")
		}
	}
	if all := guests.Adults + guests.Children + guests.Infants; all < 1 || all > 50 {
		return status.Error(codes.InvalidArgument, "1 to 50 guests")
	}
	return nil
}
