/* Sends a COPY on a connection that is idle, and gathers its rows until PostgreSQL is ready for the next query.
 *
 * PostgreSQL sends 8 KiB at a time: to wake a thread, let alone a Python one, for each of them costs more than to read them. So nobody is
 * woken: what waits is let grow for a moment, and is read at once. Every length is checked against the buffer; nothing here allocates. */

#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#define EXPORT __attribute__((visibility("default")))
#define HEAD 5                  /* a message's type, and its length without the type */
#define MESSAGE_MAX (1U << 30)  /* PostgreSQL has none that is larger */
#define ROOM_MIN 16384          /* less room than this is not worth a call to the kernel */
#define GROW_NANOSECONDS 150000 /* some 60 rows of a list: measured with 50, 80, 150 and 300 us, this is the cheapest that is not slower */

enum status { READY, MORE_ROOM, CLOSED, FAILED, BROKEN };

typedef struct {
    int64_t sent;      /* bytes of the query */
    int64_t size;      /* bytes of rows, at the beginning of the buffer */
    int64_t at, end;   /* what has come and is not looked at yet, behind them; after FAILED, the error's message */
    int64_t messages;  /* with rows: PostgreSQL sends one for each, and one for the trailer */
    int64_t starts[3]; /* where the last three of them begin, the latest first */
} copying;

static uint32_t length_of(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void keep(uint8_t *out, copying *state, int64_t length) {
    memmove(out + state->size, out + state->at + HEAD, (size_t)length);
    memmove(state->starts + 1, state->starts, sizeof(int64_t) * 2);
    state->starts[0] = state->size;
    state->messages++;
    state->size += length;
}

/* Looks at the messages that have come as a whole; MORE_ROOM: there are no more of them. */
static enum status look(uint8_t *out, copying *state) {
    while (state->end - state->at >= HEAD) {
        uint32_t length = length_of(out + state->at + 1);
        if (length < HEAD - 1 || length > MESSAGE_MAX) return BROKEN;
        if (state->end - state->at < (int64_t)length + 1) break;
        switch (out[state->at]) {
        case 'd': keep(out, state, (int64_t)length - (HEAD - 1)); break;
        case 'E': return FAILED;
        case 'Z': return state->end - state->at == (int64_t)length + 1 ? READY : BROKEN;
        case 'H': case 'c': case 'C': case 'N': case 'S': case 'A': break;
        default: return BROKEN;
        }
        state->at += (int64_t)length + 1;
    }
    return MORE_ROOM;
}

static int wait_for(int socket, short events) {
    struct pollfd one = {.fd = socket, .events = events};
    int ready;
    do ready = poll(&one, 1, -1);
    while (ready < 0 && errno == EINTR);
    return ready < 0;
}

static enum status send_query(int socket, const uint8_t *query, int64_t length, copying *state) {
    while (state->sent < length) {
        ssize_t sent = send(socket, query + state->sent, (size_t)(length - state->sent), MSG_NOSIGNAL);
        if (sent >= 0) state->sent += sent;
        else if (errno == EAGAIN ? wait_for(socket, POLLOUT) : errno != EINTR) return CLOSED;
    }
    return READY;
}

/* Runs until the query has ended, or what has come does not fit: then the same call goes on with a larger buffer that begins alike.
 * The socket does not block. Whoever wants an end of it shuts the socket down. */
EXPORT int32_t rowwire_copy(int32_t socket, const uint8_t *query, int64_t length, uint8_t *out, int64_t room, copying *state) {
    if (length < 0 || room < 0 || state->size < 0 || state->at < state->size || state->end < state->at || room < state->end) return BROKEN;
    enum status status = send_query(socket, query, length, state);
    int must_wait = 1; /* nothing has come since the last nap: the next time nothing is there, sleep until something is */
    while (status == READY) {
        if ((status = look(out, state)) != MORE_ROOM) return status;
        if (state->at > state->size) {
            memmove(out + state->size, out + state->at, (size_t)(state->end - state->at));
            state->end -= state->at - state->size;
            state->at = state->size;
        }
        if (room - state->end < ROOM_MIN) return MORE_ROOM;
        ssize_t came = recv(socket, out + state->end, (size_t)(room - state->end), 0);
        status = READY;
        if (came > 0) {
            state->end += came;
            must_wait = 0;
        } else if (came == 0 || (errno != EAGAIN && errno != EINTR)) {
            return CLOSED;
        } else if (errno == EAGAIN) {
            if (must_wait && wait_for(socket, POLLIN)) return CLOSED;
            nanosleep(&(struct timespec){.tv_nsec = GROW_NANOSECONDS}, NULL);
            must_wait = !must_wait; /* what is there after a wait is read before the next */
        }
    }
    return status;
}
