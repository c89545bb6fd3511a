"""The rows of a COPY are read off a socket: whole however they come, and with the error that the server sent."""

import random
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from rowwire import COPY_HEADER, COPY_TRAILER, ConnectionBroke, Copied, CopyFailed, CopyReader, Loaded
from rowwire.copying import BUFFER_BYTES
from tests.encoders import copy_reader

BEGINS, READY, NOTICE = b"H\0\0\0\x0b\1\0\2\0\1\0\1", b"Z\0\0\0\5I", b"N\0\0\0\x0bSINFO\0\0"
ENDS = b"c\0\0\0\4" + b"C\0\0\0\x0bCOPY 2\0" + READY
ERROR = b"SERROR\0C22012\0Mdivision by zero\0\0"
QUERY = "SELECT 'ä'"
PIECE_BYTES_MAX = 9_000
PATIENCE_SECONDS = 10.0


@pytest.fixture(scope="module")
def reader(compiled_library: Loaded) -> CopyReader:
    return copy_reader(compiled_library)


def message(data: bytes, kind: bytes = b"d") -> bytes:
    return kind + (len(data) + 4).to_bytes(4, "big") + data


def sent(rows: Sequence[bytes]) -> bytes:
    """What PostgreSQL sends of rows: the header together with the first, the trailer by itself."""
    if not rows:
        return BEGINS + message(COPY_HEADER + COPY_TRAILER) + ENDS
    return BEGINS + b"".join(message(row) for row in [COPY_HEADER + rows[0], *rows[1:], COPY_TRAILER]) + ENDS


@contextmanager
def server(pieces: Sequence[bytes], *, ends: bool = True) -> Iterator[socket.socket]:
    """Gives the socket of a client, whose server sends these pieces once it has the query; then it closes, or waits for the client."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(PATIENCE_SECONDS)
    asked = bytearray()

    def serve() -> None:
        with theirs:
            while not asked.endswith(b"\0"):
                asked.extend(theirs.recv(1_000))
            for piece in pieces:
                theirs.sendall(piece)
            while not ends and theirs.recv(1_000):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    with ours:
        yield ours
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    text = "COPY (SELECT 'ä') TO STDOUT (FORMAT binary)".encode() + b"\0"
    assert bytes(asked) == message(text, b"Q")


def read(reader: CopyReader, pieces: Sequence[bytes], *, ends: bool = True) -> Copied:
    with server(pieces, ends=ends) as client:
        return reader.copied(reader.read(client.fileno(), QUERY))


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_whole_however_they_come(reader: CopyReader, seed: int) -> None:
    chance = random.Random(seed)
    rows = [chance.randbytes(chance.choice([2, 300, 300, 300, 20_000])) for _ in range(chance.choice([0, 1, 2, 3, 400]))]
    whole, pieces, at = sent(rows), [], 0
    while at < len(whole):
        pieces.append(whole[at : at + chance.randint(1, PIECE_BYTES_MAX)])
        at += len(pieces[-1])
    copied = read(reader, pieces, ends=chance.random() < 0.5)
    assert copied.data == COPY_HEADER + b"".join(rows) + COPY_TRAILER
    assert copied.rows == len(rows)
    before_last = len(COPY_HEADER) + sum(map(len, rows[:-2])) if len(rows) > 1 else None
    assert copied.before_last == before_last


def test_more_than_a_buffer_holds_is_read(reader: CopyReader) -> None:
    rows = [bytes([number]) * BUFFER_BYTES for number in range(1, 4)]
    assert read(reader, [sent(rows)]).data == COPY_HEADER + b"".join(rows) + COPY_TRAILER


def test_what_was_read_stays_when_the_next_is_read(reader: CopyReader) -> None:
    first, second = (read(reader, [sent([letter * 1_000])]) for letter in (b"a", b"b"))
    assert (first.data.count(b"a"), first.data.count(b"b"), second.data.count(b"b")) == (1_000, 0, 1_000)


def test_notices_and_settings_between_rows_are_passed_over(reader: CopyReader) -> None:
    setting = message(b"TimeZone\0UTC\0", b"S")
    pieces = [NOTICE + BEGINS + message(COPY_HEADER + b"row"), setting, NOTICE + message(COPY_TRAILER) + ENDS]
    assert read(reader, pieces).data == COPY_HEADER + b"row" + COPY_TRAILER


@pytest.mark.parametrize("before", [b"", BEGINS + message(COPY_HEADER + b"row"), BEGINS + message(bytes(BUFFER_BYTES))])
def test_the_servers_error_is_told(reader: CopyReader, before: bytes) -> None:
    with pytest.raises(CopyFailed) as failed:
        read(reader, [before + message(ERROR, b"E") + READY])
    assert failed.value.fields == {"S": "ERROR", "C": "22012", "M": "division by zero"}


@pytest.mark.parametrize(
    ("came", "said"),
    [
        (b"", "CLOSED"),
        (sent([b"row"])[:-1], "CLOSED"),
        (message(ERROR, b"E")[:-1], "CLOSED"),
        (BEGINS + b"x\0\0\0\4", "BROKEN"),
        (BEGINS + b"d\0\0\0\3", "BROKEN"),
        (BEGINS + b"d\xff\xff\xff\xff", "BROKEN"),
        (sent([b"row"]) + NOTICE, "BROKEN"),
    ],
)
def test_a_connection_that_ends_or_says_something_else_is_broken(reader: CopyReader, came: bytes, said: str) -> None:
    with pytest.raises(ConnectionBroke, match=said):
        read(reader, [came])


def test_who_shuts_the_socket_down_ends_it(reader: CopyReader) -> None:
    with server([BEGINS], ends=False) as client:
        timer = threading.Timer(0.05, client.shutdown, [socket.SHUT_RDWR])
        timer.start()
        with pytest.raises(ConnectionBroke, match="CLOSED"):
            reader.read(client.fileno(), QUERY)
        timer.join()
