"""What `make audit` shows, and its exit code."""

from io import StringIO

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn
from teppan.common.v1 import audits_pb2 as pb
from teppan.common.v1 import options_pb2

from audit.report import CLEAN, DANGLING, FAILED, Report
from audit.streams import CannotAsk, wanted

ID = "01a21402-55c6-7103-b303-1b97276a29bc"


def step(**kind: object) -> pb.AuditReferencesResponse:
    return pb.AuditReferencesResponse(**kind)  # type: ignore[arg-type]  # one of its fields


def dangling(rule: int = options_pb2.ON_DELETE_CASCADE, rows: int = 3) -> pb.AuditReferencesResponse:
    found = pb.DanglingReference(column="slots.station_id", id=ID, station_id=ID, rows=rows)
    found.on_delete = rule  # type: ignore[assignment]  # a number of that enum
    return step(dangling=found)


END = step(end=pb.AuditEnd(columns=5, things_asked=1_234))


def shown(*steps: pb.AuditReferencesResponse, failed: dict[str, str] | None = None) -> tuple[int, str]:
    written = StringIO()
    report = Report(Console(file=written, width=160), None)
    for each in steps:
        report.told("bookings", each)
    return report.close(failed or {}), written.getvalue()


def test_where_nothing_dangles_the_totals_are_said() -> None:
    code, text = shown(END)
    assert (code, text) == (CLEAN, "5 columns, 1,234 things asked about, 0 not there, 0 rows repaired.\n")


def test_where_nobody_looks_each_column_has_a_line_once_it_is_through() -> None:
    def progress(asked: int, *, complete: bool) -> pb.AuditReferencesResponse:
        return step(progress=pb.AuditProgress(column="slots.station_id", rows_about=1_070, things_asked=asked, complete=complete))

    seen = shown(progress(3, complete=False), progress(5, complete=True), END)[1].splitlines()
    assert seen[0] == "bookings.slots.station_id: 5 things asked about, in some 1,070 rows"
    assert len(seen) == 2
    assert shown(progress(0, complete=True))[1].splitlines()[0] == "bookings.slots.station_id: no row refers to anything"


def test_what_dangles_is_shown_with_what_a_repair_does() -> None:
    code, text = shown(dangling(), END)
    assert code == DANGLING
    for said in ("bookings.slots.station_id", ID, "3, 1970", "a repair deletes the rows"):
        assert said in text
    assert "for an operator" in shown(dangling(options_pb2.ON_DELETE_RESTRICT), END)[1]
    assert "1,000+" in shown(dangling(rows=1_000), END)[1]


def test_what_was_repaired_is_summed() -> None:
    batch = step(repaired=pb.RepairedReference(column="slots.station_id", id=ID, rows=1_000))
    assert "repaired: 2,000 rows" in shown(dangling(rows=1_000), batch, batch, END)[1]


def test_what_is_undecided_fails_also_where_something_dangles() -> None:
    undecided = step(undecided=pb.UndecidedReferences(column="slots.station_id", ids=[ID], why="because"))
    code, text = shown(dangling(), undecided, END)
    assert code == FAILED
    assert f"bookings.slots.station_id: 1 things, {ID} among them: because" in text
    silent = step(undecided=pb.UndecidedReferences(column="slots.station_id", why="no answer"))
    assert "the rest of the column: no answer" in shown(silent, END)[1]


def test_a_service_that_did_not_come_to_an_end_fails() -> None:
    code, text = shown(END, failed={"payments": "the stream broke off"})
    assert code == FAILED
    assert "payments: the audit did not end: the stream broke off" in text


def test_where_somebody_looks_each_column_has_a_bar_that_ends_full() -> None:
    console = Console(file=StringIO(), force_terminal=True)
    with Progress(TextColumn("{task.description} {task.fields[asked]}"), console=console) as bars:
        report = Report(console, bars)
        for scanned, complete in ((0, False), (40, False), (90, True)):
            progress = pb.AuditProgress(column="a.b", rows_scanned=scanned, rows_about=100, things_asked=scanned, complete=complete)
            report.told("bookings", step(progress=progress))
        report.told("bookings", step(progress=pb.AuditProgress()))
        assert [(task.description, task.completed, task.total) for task in bars.tasks] == [("bookings.a.b", 100, 100)]


def test_columns_are_named_with_their_service() -> None:
    assert wanted("bookings.slots.station_id payments.payments.booking_id bookings.a.b") == {
        "bookings": ["slots.station_id", "a.b"], "payments": ["payments.booking_id"],
    }  # fmt: skip
    assert wanted(" ") == {"identity": (), "bookings": (), "payments": ()}
    for column in ("slots.station_id", "identity"):
        with pytest.raises(CannotAsk):
            wanted(column)
