package main

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// id is a UUID; pgx reads and writes it as 16 bytes.
type id [16]byte

func (i id) String() string {
	var text [36]byte
	hex.Encode(text[0:8], i[0:4])
	text[8] = '-'
	hex.Encode(text[9:13], i[4:6])
	text[13] = '-'
	hex.Encode(text[14:18], i[6:8])
	text[18] = '-'
	hex.Encode(text[19:23], i[8:10])
	text[23] = '-'
	hex.Encode(text[24:36], i[10:16])
	return string(text[:])
}

func parseID(field, text string) (id, error) {
	var parsed id
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return parsed, status.Errorf(codes.InvalidArgument, "%s is not a UUID", field)
	}
	digits := text[0:8] + text[9:13] + text[14:18] + text[19:23] + text[24:36]
	if _, err := hex.Decode(parsed[:], []byte(digits)); err != nil {
		return parsed, status.Errorf(codes.InvalidArgument, "%s is not a UUID", field)
	}
	return parsed, nil
}

// newID makes a UUIDv7: rows made one after the other lie side by side in an index.
func newID() id {
	var made id
	if _, err := rand.Read(made[:]); err != nil {
		panic(err)
	}
	var millis [8]byte
	binary.BigEndian.PutUint64(millis[:], uint64(time.Now().UnixNano()/int64(time.Millisecond)))
	copy(made[0:6], millis[2:8])
	made[6] = made[6]&0x0f | 0x70
	made[8] = made[8]&0x3f | 0x80
	return made
}

const referenceAlphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"

func newReference() string {
	var chosen [8]byte
	if _, err := rand.Read(chosen[:]); err != nil {
		panic(err)
	}
	for n, each := range chosen {
		chosen[n] = referenceAlphabet[int(each)%len(referenceAlphabet)]
	}
	return "TP-" + string(chosen[:])
}
