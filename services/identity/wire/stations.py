"""Stations."""

from teppan.identity.v1 import stations_pb2 as pb

from faults import PageTokenInvalid
from identity.domain.stations import NewStation, Station
from identity.usecases.stations import Change
from ids import parsed
from pages import PAGE_BYTES_MAX, Page, TokenRefused, Tokens, bound
from rpccommon.values import all_of, name_from_pb, packed, set_instant

Changing = (
    pb.SuspendStationRequest
    | pb.ResumeStationRequest
    | pb.DeleteStationRequest
    | pb.UndeleteStationRequest
    | pb.PurgeStationRequest
)
"""Requests that are alike but for their names."""


def new_station_from_pb(request: pb.CreateStationRequest) -> NewStation:
    """The station that is asked for. Raises InvalidArgument for what is no name; it may have no other to be shown by."""
    name, display_name = all_of(
        lambda: name_from_pb(request.name, "name"),
        lambda: name_from_pb(request.display_name, "display_name") if request.display_name else "",
    )
    return NewStation(
        code=request.code,
        name=name,
        display_name=display_name,
        time_zone=request.time_zone,
        currency_code=request.currency_code,
    )


def change_from_pb(request: Changing) -> Change:
    """Which station is to change its state."""
    return Change(station_id=parsed(request.station_id), etag=request.etag)


def station_to_pb(station: Station) -> pb.Station:
    """A station."""
    message = pb.Station(
        station_id=str(station.station_id),
        code=station.code,
        name=station.name,
        display_name=station.display_name,
        time_zone=station.time_zone,
        currency_code=station.currency_code,
        state=station.state.value,  # type: ignore[arg-type]  # a number of that enum
        etag=str(station.version),
    )
    set_instant(message.create_time, station.create_time)
    set_instant(message.update_time, station.update_time)
    if station.delete_time:
        set_instant(message.delete_time, station.delete_time)
    return message


def event_to_pb(station: Station) -> bytes:
    """The payload of a station's events, and its facts for other services."""
    return packed(station_to_pb(station))


def purpose_of(request: pb.ListStationsRequest) -> str:
    """Binds tokens to the list: they say a code. What the caller may see is decided anew for each page."""
    return bound("ListStations", show_deleted=True) if request.show_deleted else "ListStations"


def code_from_pb(request: pb.ListStationsRequest, tokens: Tokens) -> str | None:
    """The code that a page begins after; None for the first one. Raises PageTokenInvalid."""
    if not request.page_token:
        return None
    try:
        return str(tokens.open(purpose_of(request), request.page_token)["after"])
    except TokenRefused as refused:
        raise PageTokenInvalid({"page_token": f"{refused}; begin at the first page"}) from refused


def page_to_pb(page: Page[Station], tokens: Tokens, purpose: str) -> pb.ListStationsResponse:
    """A page, cut where it is larger than 1 MiB; the last page of the data has no token."""
    message = pb.ListStationsResponse(stations=map(station_to_pb, page.rows))
    if message.ByteSize() > PAGE_BYTES_MAX and len(page.rows) > 1:
        half = page.rows[: len(page.rows) // 2]
        return page_to_pb(Page(rows=half, next=(half[-1].code,)), tokens, purpose)
    if page.next:
        message.next_page_token = tokens.sign(purpose, {"after": page.next[0]})
    return message
