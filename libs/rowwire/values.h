/* How single values are read from PostgreSQL's binary format, and written as protobuf.
 *
 * Each put_ function returns the end of what it wrote. The caller has made sure of SCALAR_ROOM bytes before. */

#include <stdint.h>
#include <string.h>

#define SCALAR_ROOM 64 /* more than any value but text and bytes takes, with its tag */

static uint32_t be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
static uint64_t be64(const uint8_t *p) { return (uint64_t)be32(p) << 32 | be32(p + 4); }

static uint8_t *put_varint(uint8_t *out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) *out++ = (uint8_t)(value | 0x80);
    *out++ = (uint8_t)value;
    return out;
}

static uint8_t *put_le(uint8_t *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) *out++ = (uint8_t)(value >> 8 * i);
    return out;
}

static uint8_t *put_decimal(uint8_t *out, int64_t value) {
    char digits[20];
    int count = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do digits[count++] = (char)('0' + rest % 10); while ((rest /= 10) != 0);
    int minus = value < 0;
    *out++ = (uint8_t)(count + minus);
    if (minus) *out++ = '-';
    while (count > 0) *out++ = (uint8_t)digits[--count];
    return out;
}

static uint8_t *put_be32(uint8_t *out, uint64_t value) { /* written out, it is one store */
    out[0] = (uint8_t)(value >> 24), out[1] = (uint8_t)(value >> 16), out[2] = (uint8_t)(value >> 8), out[3] = (uint8_t)value;
    return out + 4;
}

/* The eight hexadecimal digits of 32 bits: each in a byte of its own, all handled at once. */
static uint64_t hex(uint32_t bits) {
    uint64_t x = bits;
    x = (x << 16 | x) & 0x0000FFFF0000FFFF;
    x = (x << 8 | x) & 0x00FF00FF00FF00FF;
    x = (x << 4 | x) & 0x0F0F0F0F0F0F0F0F;
    uint64_t letters = (x + 0x0606060606060606) >> 4 & 0x0101010101010101; /* 1 where the digit is above 9 */
    return x + 0x3030303030303030 + letters * ('a' - '0' - 10);
}

static uint8_t *put_uuid(uint8_t *out, const uint8_t *in) {
    uint64_t first = hex(be32(in)), second = hex(be32(in + 4)), third = hex(be32(in + 8)), fourth = hex(be32(in + 12));
    *out++ = 36;
    put_be32(put_be32(out, first >> 32), first);
    out[8] = out[13] = out[18] = out[23] = '-';
    put_be32(out + 9, second >> 32);
    put_be32(out + 14, second);
    put_be32(out + 19, third >> 32);
    put_be32(out + 24, third);
    return put_be32(put_be32(out + 28, fourth >> 32), fourth);
}

/* A varint field of a message below, left out at zero. */
static uint8_t *put_part(uint8_t *out, uint8_t tag, uint64_t value) {
    if (value == 0) return out;
    *out++ = tag;
    return put_varint(out, value);
}

/* google.protobuf.Timestamp from microseconds since 2000; NULL outside of the years 1 to 9999. */
static uint8_t *put_timestamp(uint8_t *out, int64_t micros) {
    const int64_t first = -63082281600000000, last = 252455615999999999;
    if (micros < first || micros > last) return NULL;
    uint64_t since = (uint64_t)(micros - first); /* year 1 on, so that no division meets a negative */
    uint8_t *length = out++;
    out = put_part(out, 0x08, (uint64_t)((int64_t)(since / 1000000) - 62135596800));
    out = put_part(out, 0x10, since % 1000000 * 1000);
    *length = (uint8_t)(out - length - 1);
    return out;
}

/* google.type.Date from days since 2000; NULL outside of the years 1 to 9999.
 * The arithmetic counts years from March in eras of 400 years, so that a leap day is the last of its year. */
static uint8_t *put_date(uint8_t *out, int32_t days) {
    if (days < -730119 || days > 2921939) return NULL;
    uint32_t since = (uint32_t)(days + 730425); /* 0000-03-01 */
    uint32_t era = since / 146097, day = since % 146097;
    uint32_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    day -= 365 * year + year / 4 - year / 100;
    uint32_t month = (5 * day + 2) / 153;
    uint8_t *length = out++;
    out = put_part(out, 0x08, year + era * 400 + (month >= 10));
    out = put_part(out, 0x10, month < 10 ? month + 3 : month - 9);
    out = put_part(out, 0x18, day - (153 * month + 2) / 5 + 1);
    *length = (uint8_t)(out - length - 1);
    return out;
}

/* google.type.TimeOfDay from microseconds since midnight; 24:00:00 is a time to both sides. */
static uint8_t *put_time(uint8_t *out, int64_t micros) {
    if (micros < 0 || micros > 86400000000) return NULL;
    uint64_t since = (uint64_t)micros, seconds = since / 1000000;
    uint8_t *length = out++;
    out = put_part(out, 0x08, seconds / 3600);
    out = put_part(out, 0x10, seconds / 60 % 60);
    out = put_part(out, 0x18, seconds % 60);
    out = put_part(out, 0x20, since % 1000000 * 1000);
    *length = (uint8_t)(out - length - 1);
    return out;
}

/* Looks at the last eight bytes first, so that none remain to be looked at one by one. */
static int is_ascii(const uint8_t *p, const uint8_t *end) {
    uint64_t seen = 0, eight;
    if (end - p < 8) {
        while (p < end) seen |= *p++;
    } else {
        memcpy(&seen, end - 8, 8);
        for (; end - p > 8; p += 8) {
            memcpy(&eight, p, 8);
            seen |= eight;
        }
    }
    return (seen & 0x8080808080808080U) == 0;
}

/* Whether text is UTF-8 as RFC 3629 has it: no surrogates, nothing overlong, nothing above U+10FFFF. */
static int is_utf8(const uint8_t *p, const uint8_t *end) {
    if (is_ascii(p, end)) return 1;
    while (p < end) {
        uint8_t lead = *p++;
        if (lead < 0x80) continue;
        int more = lead < 0xC2 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : lead < 0xF5 ? 3 : 0;
        if (more == 0 || end - p < more) return 0;
        uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80, high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
        if (*p < low || *p > high) return 0;
        while (p++, --more > 0) if ((*p & 0xC0) != 0x80) return 0;
    }
    return 1;
}
