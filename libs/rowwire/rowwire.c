/* Turns PostgreSQL's binary rows into the protobuf bytes of a page, as a plan says. values.h knows how each value is written.
 *
 * plans.py makes the plan. tests/rowwire_reference.py does the same in Python, and tests compare the two byte for byte.
 * Nothing here allocates or keeps state. Every read and write is bounds-checked, whatever plan and data hold. */

#include "values.h"

#define ABI 1
#define COLUMNS_MAX 1664 /* a row of PostgreSQL has no more */
#define DEPTH_MAX 64
#define EXPORT __attribute__((visibility("default")))

enum type { UUID, TEXT, BYTES, BOOL, INT2, INT4, INT8, FLOAT4, FLOAT8, TIMESTAMPTZ, DATE, TIME, TYPES };
static const int32_t SIZES[TYPES] = {16, -1, -1, 1, 2, 4, 8, 4, 8, 8, 4, 8}; /* -1: of any length */
static const uint32_t OIDS[TYPES][3] = {
    {2950, 2950, 2950}, {25, 1043, 1042}, {17, 17, 17},    {16, 16, 16},       {21, 21, 21},       {23, 23, 23},
    {20, 20, 20},       {700, 700, 700},  {701, 701, 701}, {1184, 1184, 1184}, {1082, 1082, 1082}, {1083, 1083, 1083},
};

enum code {
    OPEN, CLOSE, AS_VARINT, AS_ZIGZAG, AS_FIXED32, AS_FIXED64, AS_DECIMAL, AS_BOOL, AS_FLOAT, AS_DOUBLE, AS_TEXT, AS_BYTES, AS_UUID,
    AS_TIMESTAMP, AS_DATE, AS_TIME, CODES
};
#define BIT(type) (1U << (type))
#define INTEGERS (BIT(INT2) | BIT(INT4) | BIT(INT8))
static const uint32_t TAKES[CODES] = { /* the types that each code can write */
    0, 0, INTEGERS, INTEGERS, INTEGERS, INTEGERS, INTEGERS, BIT(BOOL), BIT(FLOAT4), BIT(FLOAT4) | BIT(FLOAT8), BIT(TEXT), BIT(BYTES),
    BIT(UUID), BIT(TIMESTAMPTZ), BIT(DATE), BIT(TIME),
};
enum range { INT64, INT32, UINT32, UNSIGNED }; /* what an integer has to be within */
#define EXPLICIT 1                             /* flag: the field has presence, so that its default is written too */

typedef struct { int32_t code, column, tag, flags; } op; /* flags: EXPLICIT | range << 1 */
typedef struct { const int32_t *types; const op *ops; int32_t columns, count; uint32_t tag; } plan;
typedef struct { const uint8_t *at; int32_t length; } cell; /* length -1: NULL */

/* Why a call ended. The first four are no faults; after ROOM the same call goes on with a larger buffer. */
enum status { DATA, ROWS, FULL, END, ROOM, BAD_CALL, BAD_CUT, BAD_COUNT, BAD_TYPE, BAD_LENGTH, BAD_RANGE, BAD_TEXT };
enum framing { RECORDS, COPY };

typedef struct {
    int64_t size;   /* bytes written */
    int64_t rows;   /* rows written */
    int64_t last;   /* where the last of them begins */
    int64_t end;    /* where the next row begins; the call begins there too */
    int32_t column; /* the column of a fault; -1 where it is the row's */
} progress;

/* Finds a row's cells. Answers DATA and moves `*from` behind the row, or what is wrong; END at the trailer of a COPY. */
static enum status read_row(const plan *plan, int copy, const uint8_t **from, const uint8_t *end, cell *cells, int32_t *column) {
    const uint8_t *at = *from;
    *column = -1;
    if (end - at < (copy ? 2 : 4)) return BAD_CUT;
    uint32_t count = copy ? (uint32_t)at[0] << 8 | at[1] : be32(at);
    if (copy && count == 0xFFFF) return END;
    if (count != (uint32_t)plan->columns) return BAD_COUNT;
    at += copy ? 2 : 4;
    for (int32_t i = 0; i < plan->columns; i++) {
        int32_t type = plan->types[i], size = SIZES[type];
        *column = i;
        if (end - at < (copy ? 4 : 8)) return BAD_CUT;
        if (!copy) {
            uint32_t oid = be32(at);
            if (oid != OIDS[type][0] && oid != OIDS[type][1] && oid != OIDS[type][2]) return BAD_TYPE;
            at += 4;
        }
        int32_t length = (int32_t)be32(at);
        at += 4;
        cells[i] = (cell){at, length};
        if (length == -1) continue;
        if (length < 0 || (size >= 0 && length != size)) return BAD_LENGTH;
        if (end - at < length) return BAD_CUT;
        at += length;
    }
    *from = at;
    return DATA;
}

/* Puts the length of what lies between `body` and `at` before it, where `held` bytes are free; NULL where there is no room. */
static uint8_t *put_length(uint8_t *body, uint8_t *at, const uint8_t *end, int held) {
    uint64_t length = (uint64_t)(at - body);
    int bytes = 1;
    for (uint64_t rest = length; rest >= 0x80; rest >>= 7) bytes++;
    if (bytes != held) {
        if (bytes - held > end - at) return NULL;
        memmove(body + bytes - held, body, (size_t)length);
    }
    put_varint(body - held, length);
    return at + bytes - held;
}

/* The put_ functions below return the end of what they wrote, or NULL for a value that the field cannot hold. */

static uint8_t *put_integer(const op *op, const cell *cell, uint8_t *out) {
    int64_t value = cell->length == 2   ? (int16_t)(cell->at[0] << 8 | cell->at[1])
                    : cell->length == 4 ? (int32_t)be32(cell->at)
                                        : (int64_t)be64(cell->at);
    int range = op->flags >> 1;
    if (range == INT32 ? value < INT32_MIN || value > INT32_MAX : range != INT64 && value < 0) return NULL;
    if (range == UINT32 && value > UINT32_MAX) return NULL;
    if (value == 0 && op->code != AS_DECIMAL && !(op->flags & EXPLICIT)) return out;
    out = put_varint(out, (uint32_t)op->tag);
    uint64_t bits = (uint64_t)value;
    switch (op->code) {
    case AS_VARINT: return put_varint(out, bits);
    case AS_ZIGZAG: return put_varint(out, bits << 1 ^ (value < 0 ? UINT64_MAX : 0));
    case AS_FIXED32: return put_le(out, bits, 4);
    case AS_FIXED64: return put_le(out, bits, 8);
    default: return put_decimal(out, value);
    }
}

/* A NaN is written as the one that everybody writes, whatever it carried. */
static uint8_t *put_floating(const op *op, const cell *cell, uint8_t *out) {
    uint64_t bits;
    if (cell->length == 4) {
        uint32_t half = be32(cell->at);
        if ((half & 0x7FFFFFFF) > 0x7F800000) half = 0x7FC00000;
        bits = half;
        if (op->code == AS_DOUBLE) {
            float narrow;
            memcpy(&narrow, &half, 4);
            double wide = (double)narrow;
            memcpy(&bits, &wide, 8);
        }
    } else {
        bits = be64(cell->at);
        if ((bits & INT64_MAX) > 0x7FF0000000000000) bits = 0x7FF8000000000000;
    }
    if (bits == 0 && !(op->flags & EXPLICIT)) return out;
    return put_le(put_varint(out, (uint32_t)op->tag), bits, op->code == AS_FLOAT ? 4 : 8);
}

static uint8_t *put_bool(const op *op, const cell *cell, uint8_t *out) {
    uint8_t value = cell->at[0];
    if (value > 1) return NULL;
    return value || op->flags & EXPLICIT ? put_le(put_varint(out, (uint32_t)op->tag), value, 1) : out;
}

static uint8_t *put_string(const op *op, const cell *cell, uint8_t *out) {
    if (op->code == AS_TEXT && !is_utf8(cell->at, cell->at + cell->length)) return NULL;
    if (cell->length == 0 && !(op->flags & EXPLICIT)) return out;
    out = put_varint(put_varint(out, (uint32_t)op->tag), (uint64_t)cell->length);
    memcpy(out, cell->at, (size_t)cell->length);
    return out + cell->length;
}

static uint8_t *put_cell(const op *op, const cell *cell, uint8_t *out) {
    switch (op->code) {
    case AS_TEXT:
    case AS_BYTES: return put_string(op, cell, out);
    case AS_BOOL: return put_bool(op, cell, out);
    case AS_FLOAT:
    case AS_DOUBLE: return put_floating(op, cell, out);
    case AS_UUID: return put_uuid(put_varint(out, (uint32_t)op->tag), cell->at);
    case AS_TIMESTAMP: return put_timestamp(put_varint(out, (uint32_t)op->tag), (int64_t)be64(cell->at));
    case AS_DATE: return put_date(put_varint(out, (uint32_t)op->tag), (int32_t)be32(cell->at));
    case AS_TIME: return put_time(put_varint(out, (uint32_t)op->tag), (int64_t)be64(cell->at));
    default: return put_integer(op, cell, out);
    }
}

/* Writes a row with its tag and length. A message below that none of its columns made is taken back when it closes. */
static enum status write_row(const plan *plan, const cell *cells, uint8_t **out, const uint8_t *end, int32_t *column) {
    struct { uint8_t *begin, *body; int32_t seen; } open[DEPTH_MAX];
    uint8_t *at = *out;
    int32_t seen = 0, depth = 0;
    if (end - at < SCALAR_ROOM) return ROOM;
    uint8_t *body = at = put_varint(at, plan->tag) + 2; /* most rows are from 128 to 16,383 bytes long */
    for (const op *op = plan->ops; op < plan->ops + plan->count; op++) {
        if (op->code == OPEN) {
            if (end - at < SCALAR_ROOM) return ROOM;
            open[depth].begin = at;
            open[depth].seen = seen;
            open[depth++].body = at = put_varint(at, (uint32_t)op->tag) + 1;
        } else if (op->code == CLOSE) {
            at = open[--depth].seen == seen ? open[depth].begin : put_length(open[depth].body, at, end, 1);
            if (at == NULL) return ROOM;
        } else if (cells[op->column].length >= 0) {
            const cell *cell = &cells[op->column];
            if (end - at < SCALAR_ROOM + (int64_t)cell->length) return ROOM;
            at = put_cell(op, cell, at);
            if (at == NULL) {
                *column = op->column;
                return op->code == AS_TEXT ? BAD_TEXT : BAD_RANGE;
            }
            seen++;
        }
    }
    at = put_length(body, at, end, 2);
    if (at == NULL) return ROOM;
    *out = at;
    return DATA;
}

/* Checks every number of a plan, so that nothing above has to. */
static int read_plan(plan *plan, const int32_t *words, int64_t count) {
    if (count < 4 || words[0] != ABI || words[2] < 0 || words[2] > COLUMNS_MAX || words[3] < 0) return 0;
    if (count != 4 + (int64_t)words[2] + 4 * (int64_t)words[3]) return 0;
    plan->tag = (uint32_t)words[1];
    plan->columns = words[2];
    plan->count = words[3];
    plan->types = words + 4;
    plan->ops = (const op *)(words + 4 + plan->columns);
    for (int32_t i = 0; i < plan->columns; i++)
        if (plan->types[i] < 0 || plan->types[i] >= TYPES) return 0;
    int32_t depth = 0;
    for (int32_t i = 0; i < plan->count; i++) {
        op op = plan->ops[i];
        if (op.code < 0 || op.code >= CODES || op.flags < 0 || op.flags > (EXPLICIT | UNSIGNED << 1)) return 0;
        if (op.code == OPEN && ++depth > DEPTH_MAX) return 0;
        if (op.code == CLOSE && --depth < 0) return 0;
        if (op.code == OPEN || op.code == CLOSE) continue;
        if (op.column < 0 || op.column >= plan->columns || !(TAKES[op.code] & BIT(plan->types[op.column]))) return 0;
    }
    return depth == 0;
}

EXPORT int32_t rowwire_abi(void) { return ABI; }

/* Writes rows until there is a reason to stop, which it returns. `progress` is where it begins, and then where it stopped:
 * it never has a part of a row. At least `rows_min` rows are written, even if they exceed `bytes_max`. */
EXPORT int32_t rowwire_encode(const int32_t *words, int64_t count, int32_t framing, const uint8_t *data, int64_t size, uint8_t *out,
                              int64_t room, int64_t rows_min, int64_t rows_max, int64_t bytes_max, progress *progress) {
    plan plan;
    cell cells[COLUMNS_MAX];
    progress->column = -1;
    if (!read_plan(&plan, words, count) || (framing != RECORDS && framing != COPY)) return BAD_CALL;
    if (progress->end < 0 || progress->end > size || progress->size < 0 || progress->size > room) return BAD_CALL;
    const uint8_t *at = data + progress->end, *end = data + size, *out_end = out + room;
    for (uint8_t *to = out + progress->size;;) {
        if (progress->rows >= rows_max) return ROWS;
        if (at == end) return DATA;
        const uint8_t *row = at;
        enum status status = read_row(&plan, framing == COPY, &at, end, cells, &progress->column);
        if (status == BAD_CUT && framing == COPY) return DATA; /* the rest of it is still to come */
        if (status == DATA) status = write_row(&plan, cells, &to, out_end, &progress->column);
        if (status != DATA) return (int32_t)status;
        if (to - out > bytes_max && progress->rows >= rows_min) return FULL;
        progress->size = to - out;
        progress->rows++;
        progress->last = row - data;
        progress->end = at - data;
    }
}
