/* Feeds any plan and any rows to the compiled encoder: nothing may be read or written out of bounds, and how a page is cut into
 * calls and buffers may not change its bytes. tests/unit/test_rowwire_fuzz.py builds and runs it.
 *
 * Input: kind, rows_max, bytes_max (two bytes), then for kinds of an arbitrary plan a count and as many words, then rows. */

#include "../../libs/rowwire/rowwire.c"

#include <stdio.h>
#include <stdlib.h>

#define WORDS_MAX 1024
#define CHECK(what) ((what) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what), abort()))
enum kind { COPY_FRAMING = 1, EVERY_CODE = 2, SMALL = 4 };

typedef struct { int32_t words[WORDS_MAX]; int64_t count; int32_t framing; const uint8_t *data; int64_t size; } input;
typedef struct { uint8_t *out; int64_t room; progress progress; int32_t status; } outcome;

/* Encodes into buffers of the very size that is said to be there, so that the sanitizer sees a byte too much. */
static void encode(const input *input, outcome *to, int64_t rows_min, int64_t rows_max, int64_t bytes_max) {
    for (;;) {
        progress before = to->progress;
        to->status = rowwire_encode(input->words, input->count, input->framing, input->data, input->size, to->out, to->room, rows_min,
                                    rows_max, bytes_max, &to->progress);
        const progress *now = &to->progress;
        CHECK(to->status >= DATA && to->status <= BAD_TEXT);
        CHECK(before.size <= now->size && now->size <= to->room && before.rows <= now->rows && now->rows <= rows_max);
        CHECK(before.end <= now->end && now->end <= input->size && (now->rows == 0 || now->last <= now->end));
        CHECK(now->rows <= rows_min || now->size <= bytes_max);
        CHECK(now->column >= -1 && now->column < COLUMNS_MAX);
        if (to->status != ROOM) return;
        uint8_t *larger = malloc((size_t)(2 * to->room + 1));
        memcpy(larger, to->out, (size_t)now->size);
        free(to->out);
        to->out = larger;
        to->room = 2 * to->room + 1;
    }
}

static uint64_t get_varint(const uint8_t **at, const uint8_t *end) {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        CHECK(*at < end && shift < 70);
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        CHECK(byte != 0 || shift == 0); /* no varint is longer than it has to be */
        if (byte < 0x80) return value;
    }
}

/* Whether fields are whole, and each is behind those with lower numbers. */
static void walk(const uint8_t *at, const uint8_t *end) {
    for (uint64_t last = 0; at < end;) {
        uint64_t tag = get_varint(&at, end);
        CHECK(tag >> 3 > last);
        last = tag >> 3;
        uint64_t size = tag % 8 == 1 ? 8 : tag % 8 == 5 ? 4 : 0;
        if (tag % 8 == 0) get_varint(&at, end);
        if (tag % 8 == 2) size = get_varint(&at, end);
        CHECK((uint64_t)(end - at) >= size);
        at += size;
    }
}

static void step(input *input, int32_t code, int32_t column, int32_t number, int32_t wire, int32_t flags) {
    const int32_t words[] = {code, column, number << 3 | wire, flags};
    memcpy(input->words + input->count, words, sizeof words);
    input->count += 4;
}

/* A plan with every code for every type that it takes, in messages of four fields each; or of the first columns only. */
static void fixed_plan(input *input, int small) {
    static const int32_t WIRES[CODES] = {2, 2, 0, 0, 5, 1, 2, 0, 5, 1, 2, 2, 2, 2, 2, 2};
    int32_t columns = 0, types[64], codes[64];
    for (int32_t code = small ? AS_TEXT : AS_VARINT; code < CODES; code++)
        for (int32_t type = 0; type < TYPES; type++)
            if (TAKES[code] & BIT(type) && !(small && columns == 3)) { types[columns] = type; codes[columns++] = code; }
    const int32_t head[] = {ABI, 1 << 3 | 2, columns, 0};
    memcpy(input->words, head, sizeof head);
    memcpy(input->words + 4, types, sizeof *types * (size_t)columns);
    input->count = 4 + columns;
    for (int32_t i = 0; i < columns; i++) {
        if (i % 4 == 0) step(input, OPEN, 0, 300 + i, 2, 0);
        step(input, codes[i], i, 14 + i, WIRES[codes[i]], i % 2 | i % 3 << 1);
        if (i % 4 == 3 || i == columns - 1) step(input, CLOSE, 0, 0, 0, 0);
    }
    input->words[3] = (int32_t)(input->count - 4 - columns) / 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static input input;
    if (size < 5) return 0;
    int32_t kind = bytes[0];
    int64_t rows_max = bytes[1], bytes_max = bytes[2] << 8 | bytes[3];
    bytes += 4, size -= 4;
    int fixed = kind & (EVERY_CODE | SMALL);
    input.framing = kind & COPY_FRAMING;
    if (fixed) {
        fixed_plan(&input, kind & SMALL);
    } else {
        input.count = *bytes++;
        size--;
        if (size / 4 < (size_t)input.count) input.count = (int64_t)(size / 4);
        memcpy(input.words, bytes, 4 * (size_t)input.count);
        bytes += 4 * input.count, size -= 4 * (size_t)input.count;
    }
    input.data = bytes, input.size = (int64_t)size;

    outcome page = {.out = malloc(1), .room = 1}, single = {.out = malloc(1), .room = 1};
    encode(&input, &page, 1, rows_max, bytes_max);
    CHECK(!fixed || page.status != BAD_CALL);
    while (single.progress.rows < page.progress.rows) encode(&input, &single, 1, single.progress.rows + 1, INT64_MAX);
    CHECK(single.progress.size == page.progress.size && single.progress.end == page.progress.end);
    CHECK(memcmp(single.out, page.out, (size_t)page.progress.size) == 0);
    if (fixed) {
        const uint8_t *at = page.out, *end = at + page.progress.size;
        for (int64_t rows = page.progress.rows; rows > 0; rows--) {
            CHECK(get_varint(&at, end) == (1 << 3 | 2));
            uint64_t length = get_varint(&at, end);
            CHECK((uint64_t)(end - at) >= length);
            walk(at, at + length);
            at += length;
        }
        CHECK(at == end);
    }
    free(page.out);
    free(single.out);
    return 0;
}
