"""What another backend needs: `pip install ./protos/python`, the addresses, a login. Nothing of this repository besides."""

import shutil
import subprocess
import sys
from pathlib import Path

from local.database import ROOT
from tests.deployed import Deployment

SECONDS = 240.0
SCRIPT = """
import datetime, json, sys, uuid
import grpc
from google.type.date_pb2 import Date
from google.type.timeofday_pb2 import TimeOfDay
from teppan.bookings.v1 import bookings_pb2, bookings_pb2_grpc, customers_pb2, customers_pb2_grpc
from teppan.identity.v1 import stations_pb2, stations_pb2_grpc, tokens_pb2, tokens_pb2_grpc

known = json.load(open(sys.argv[1]))
def channel(address):
    if "ca" not in known:
        return grpc.insecure_channel(address)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(open(known["ca"], "rb").read()))
identity, bookings = channel(known["identity"]), channel(known["bookings"])
login = tokens_pb2.LoginRequest(email=known["email"], password=open(known["password_file"]).read())
token = tokens_pb2_grpc.TokensServiceStub(identity).Login(login).access_token
who = [("authorization", f"Bearer {token}")]
new = lambda: str(uuid.uuid4())
station = stations_pb2_grpc.StationsServiceStub(identity).CreateStation(stations_pb2.CreateStationRequest(
    request_id=new(), code="PLAIN", name="Plain", time_zone="Europe/Rome", currency_code="EUR"), metadata=who).station
customer = customers_pb2_grpc.CustomersServiceStub(bookings).CreateCustomer(customers_pb2.CreateCustomerRequest(
    request_id=new(), station_id=station.station_id, name="Ada", email="ada@example.com"), metadata=who).customer
day = datetime.date.today() + datetime.timedelta(days=14)
stub = bookings_pb2_grpc.BookingsServiceStub(bookings)
made = stub.CreateBooking(bookings_pb2.CreateBookingRequest(
    request_id=new(), station_id=station.station_id, customer_id=customer.customer_id,
    slot_date=Date(year=day.year, month=day.month, day=day.day), slot_start=TimeOfDay(hours=18),
    guests=bookings_pb2.Guests(adults=4)), metadata=who).booking
pages = stub.ListBookings(bookings_pb2.ListBookingsRequest(station_id=station.station_id), metadata=who)
assert [b.booking_id for page in pages for b in page.bookings] == [made.booking_id]
print("booked", made.reference)
"""


def test_a_plain_file_logs_in_creates_and_lists(running: Deployment, tmp_path: Path) -> None:
    running.describe()
    package = tmp_path / "package"  # a copy: building leaves nothing in the repository
    shutil.copytree(ROOT / "protos" / "python", package, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    python = str(tmp_path / "venv" / "bin" / "python")
    run(python, "-m", "pip", "install", "--quiet", str(package))
    (tmp_path / "plain.py").write_text(SCRIPT)
    said = run(python, str(tmp_path / "plain.py"), str(running.described))
    assert said.startswith("booked TP-")


def run(*command: str) -> str:
    """Runs to the end, outside of the repository; what it said."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PIP_NO_CACHE_DIR": "1"}
    done = subprocess.run(command, cwd="/", env=environ, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
