"""What another backend needs: `pip install ./protos/python`, and the README's program as it stands. Nothing else."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from local.database import ROOT
from tests.deployed import Deployment

SECONDS = 240.0
RECIPES = ROOT / "protos" / "python" / "README.md"
SET = """
import json, sys
from pathlib import Path
from teppan.client import Tls
stack = json.loads(Path(sys.argv[1]).read_text())
identity_address, bookings_address = stack["identity"], stack["bookings"]
email, password = stack["email"], Path(stack["password_file"]).read_text().strip()
tls = Tls.from_files(ca=stack["ca"]) if "ca" in stack else None
"""
"""What the recipes ask their reader to set."""


def test_the_readmes_program_and_the_clients_recipes_run_as_they_stand(running: Deployment, tmp_path: Path) -> None:
    running.describe()
    package = tmp_path / "package"  # a copy: building leaves nothing in the repository
    shutil.copytree(ROOT / "protos" / "python", package, ignore=shutil.ignore_patterns("__pycache__"))
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    python = str(tmp_path / "venv" / "bin" / "python")
    run(python, "-m", "pip", "install", "--quiet", str(package))

    [program] = blocks(ROOT / "README.md")
    (tmp_path / "first_booking.py").write_text(program)
    said = run(python, str(tmp_path / "first_booking.py"), str(running.described)).splitlines()
    assert [line.split()[0] for line in said] == ["station", "customer", "booking", "listed"]
    reference = said[2].split()[1]
    assert re.fullmatch(r"TP-\w{8}", reference)
    assert said[3].split()[1] == reference

    (tmp_path / "recipes.py").write_text("\n".join([SET, *blocks(RECIPES)]))
    said = run(python, str(tmp_path / "recipes.py"), str(running.described)).splitlines()
    reference = said[0].removeprefix("booked ")
    assert said[1].startswith(reference)
    assert said[2:] == ["1 bookings; more of them: False", said[3], reference]
    assert said[3].startswith("there is no slot at that time:")
    assert "token" in json.loads(running.described.read_text())


def blocks(path: Path) -> list[str]:
    """The Python in a document."""
    return re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


def run(*command: str) -> str:
    """Runs to the end, outside of the repository; what it said."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PIP_NO_CACHE_DIR": "1"}
    done = subprocess.run(command, cwd="/", env=environ, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
