/* Feeds the reader of COPY any bytes in the place of a server's: nothing may be read or written out of bounds, and where it says that all
 * is well, it has gathered the rows. tests/unit/test_rowwire_fuzz.py builds and runs it. */

#include "../../libs/rowwire/copying.c"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CHECK(what) ((what) ? (void)0 : (fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what), abort()))
#define SIZE_MAX_SENT 65536 /* fits into a socket */

/* Whether these are the rows of what was sent, read in the plainest way. */
static void compare(const uint8_t *sent, size_t size, const uint8_t *rows, const copying *state) {
    int64_t taken = 0, messages = 0, starts[3] = {0};
    for (size_t at = 0; at < size; at += 1 + length_of(sent + at + 1)) {
        int64_t length = (int64_t)length_of(sent + at + 1) - 4;
        if (sent[at] == 'Z') break;
        if (sent[at] != 'd') continue;
        CHECK(taken + length <= state->size && memcmp(rows + taken, sent + at + HEAD, (size_t)length) == 0);
        starts[2] = starts[1], starts[1] = starts[0], starts[0] = taken;
        taken += length;
        messages++;
    }
    CHECK(taken == state->size && messages == state->messages && memcmp(starts, state->starts, sizeof starts) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    int pair[2];
    if (size > SIZE_MAX_SENT) return -1;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && send(pair[0], data, size, 0) == (ssize_t)size);
    CHECK(shutdown(pair[0], SHUT_WR) == 0); /* then nothing is ever waited for */
    copying state = {0};
    int64_t room = ROOM_MIN;
    uint8_t *out = malloc((size_t)room);
    int32_t status;
    while ((status = rowwire_copy(pair[1], (const uint8_t *)"query", 5, out, room, &state)) == MORE_ROOM) {
        uint8_t *larger = malloc((size_t)(room + ROOM_MIN + 1)); /* of the very size, so that the sanitizer sees a byte too much */
        memcpy(larger, out, (size_t)state.end);
        free(out);
        out = larger;
        room += ROOM_MIN + 1;
    }
    CHECK(status >= READY && status <= BROKEN && state.size <= state.at && state.at <= state.end && state.end <= room);
    if (status == READY) compare(data, size, out, &state);
    if (status == FAILED) CHECK(out[state.at] == 'E' && 1 + (int64_t)length_of(out + state.at + 1) <= state.end - state.at);
    free(out);
    close(pair[0]);
    close(pair[1]);
    return 0;
}
