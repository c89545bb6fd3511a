"""What a connection URL says, and what it must not."""

import pytest

import settings
from dbcommon.urls import CONNECT_SECONDS, UrlInvalid, endpoint
from settings import Reader


def test_what_libpq_knows_means_here_what_it_means_there() -> None:
    found = endpoint(
        "postgres://bookings_app:pw@db:5433/teppan?sslmode=verify-full&sslrootcert=/ca.pem&application_name=me&connect_timeout=3"
    )
    assert found.arguments(idle_session_timeout="5s") == {
        "dsn": "postgresql://bookings_app:pw@db:5433/teppan?sslmode=verify-full&sslrootcert=%2Fca.pem",
        "timeout": 3.0,
        "server_settings": {"application_name": "me", "idle_session_timeout": "5s"},
    }


@pytest.mark.parametrize(
    "hosts", ["", "db", "db.", "one:5432,two,[::1]:5433,[::1]", "10.0.0.1:1", f"%2Ftmp%2F{'x' * 64}%20y:65535"]
)
def test_hosts_are_taken_as_they_are(hosts: str) -> None:
    url = f"postgresql://a:secret@{hosts}/b?port=5432,5433"
    assert endpoint(url).dsn == url.replace(",5433", "%2C5433")


@pytest.mark.parametrize("query", ["", "?connect_timeout=0", "?connect_timeout="])
def test_without_a_timeout_it_is_ours(query: str) -> None:
    assert endpoint(f"postgresql://a@/b{query}").seconds == CONNECT_SECONDS


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://a:secret@/b?ssl_mode=require&keepalives=1", r"has keepalives, ssl_mode, which is not supported; .*sslmode"),
        ("mysql://a:secret@/b", "begins with postgresql:// or postgres://, and not with mysql"),
        ("a:secret@b", "begins with postgresql://"),
        ("", "and not with nothing"),
        ("postgresql://a:secret@db:65536/b", "a port of the database's URL is no number up to 65535"),
        ("postgresql://a:secret@one:5432,[::1]:0,three:x/b?port=5432,", "a port of"),
        ("postgresql://a:secret@/b?port=-1", "a port of"),
        ("postgresql://a:secret@db..example:5432/b", "a host of the database's URL is no name"),
        ("postgresql:///b?host=a..b", "a host of the database's URL is no name"),
        ("postgresql://a:secret#x@db/b", "written as %2F"),
        ("postgresql://a:secret/x@db/b", "written as %2F"),
        ("postgresql://a:x?secret@db/b", "written as %2F"),
        ("postgresql://a:secret[x@db/b", "cannot be read"),
        ("postgresql://a:secret@[foo]/b", "cannot be read"),
        (f"postgresql://a:secret@db:{'9' * 5_000}/b", "a port of"),
        ("postgresql://a:secret@db/b?SECRET=1", "has a parameter that is none"),
        ("postgresql://a:secret@db/b?sslmode=bogus", "sslmode of the database's URL is one of"),
        ("postgresql://a:secret@db/b?target_session_attrs=zz", "target_session_attrs of the database's URL is one of"),
        (f"postgresql://a:secret@one,{'x' * 64}/b", "a host of the database's URL is no name"),
        ("postgresql://a:secret@/b?connect_timeout=soon", "connect_timeout of the database's URL is no number"),
    ],
)
def test_what_is_not_understood_is_one_sentence_without_the_password(url: str, said: str) -> None:
    with pytest.raises(UrlInvalid, match=said) as refused:
        endpoint(url)
    assert "secret" not in str(refused.value)


def test_a_service_names_a_wrong_url_with_all_else_that_is_wrong() -> None:
    reader = Reader({"TEPPAN_DATABASE_APP_URL": "postgresql://a@/b?sslmod=require", "TEPPAN_DATABASE_PREPARED": "maybe"})
    settings.read("bookings", reader, peers=())
    assert any(problem.startswith("TEPPAN_DATABASE_APP_URL: ") and "sslmod" in problem for problem in reader.problems)
    assert "TEPPAN_DATABASE_PREPARED is 'maybe', and not on or off" in reader.problems
