"""The house rules that a machine can hold: layers, sizes, clocks, environment, schemas. The standard library only."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVICES = ("identity", "bookings", "payments")
FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 50
WRITTEN = ("services", "libs", "deploy", "tests", "docs/generate.py", "protos/generate.py", "protos/python/teppan/client")

# What a layer of a service may import of the service itself. Everything may use domain, faults and pages.
LAYERS = {
    "domain": {"domain"},
    "tables": {"tables", "domain"},
    "store": {"store", "tables", "domain"},
    "usecases": {"usecases", "store", "domain"},
    "wire": {"wire", "usecases", "store", "domain"},
    "rpc": {"wire", "usecases", "domain"},
    "workers": {"wire", "usecases", "domain"},
    "peers": {"usecases", "wire", "domain"},
    "config": {"domain"},
    "commands": {"config", "usecases", "wire", "domain"},
    "passwords": {"domain", "usecases"},
    "migrations": {"tables"},
}
# Which layers know a library.
KNOW = {
    "sqlalchemy": {"tables", "migrations"},
    "alembic": {"migrations"},
    "asyncpg": set(),
    "google": {"wire", "rpc", "peers", "__main__"},
    "teppan": {"wire", "rpc", "peers", "__main__"},
    "grpc": {"rpc", "peers", "__main__"},
}


def test_the_layers_hold() -> None:
    wrong = []
    for service in SERVICES:
        for path in (ROOT / "services" / service).rglob("*.py"):
            layer = layer_of(path, service)
            for name in imports(path):
                top, *rest = name.split(".")
                if top == service and rest and layer in LAYERS and rest[0] not in LAYERS[layer]:
                    wrong.append(f"{shown(path)}: {layer} imports {name}")
                if top in KNOW and layer not in KNOW[top]:
                    wrong.append(f"{shown(path)}: {layer} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_layer_has_its_rule() -> None:
    layers = {layer_of(path, service) for service in SERVICES for path in (ROOT / "services" / service).rglob("*.py")}
    assert layers - {"__init__", "__main__"} <= set(LAYERS)


def test_no_service_imports_another() -> None:
    wrong = [
        f"{shown(path)} imports {name}"
        for service in SERVICES
        for path in (ROOT / "services" / service).rglob("*.py")
        for name in imports(path)
        if name.split(".")[0] in set(SERVICES) - {service}
    ]
    assert not wrong, "\n".join(wrong)


def test_libraries_know_no_service_and_each_only_its_own_world() -> None:
    foreign = {
        "dbcommon": {"grpc", "teppan", "google", "rpccommon"},
        "rpccommon": {"sqlalchemy", "asyncpg", "alembic", "dbcommon"},
        "rowwire": {"sqlalchemy", "asyncpg", "alembic", "grpc", "teppan", "dbcommon", "rpccommon"},
    }
    wrong = []
    for path in (ROOT / "libs").rglob("*.py"):
        kept_out = {*SERVICES, *foreign.get(path.relative_to(ROOT / "libs").parts[0], set())}
        wrong += [f"{shown(path)} imports {name}" for name in imports(path) if name.split(".")[0] in kept_out]
    assert not wrong, "\n".join(wrong)


def test_only_main_reads_the_environment() -> None:
    wrong = [
        shown(path)
        for root in ("services", "libs")
        for path in (ROOT / root).rglob("*.py")
        if path.name != "__main__.py" and re.search(r"\bos\.(environ|getenv)\b", path.read_text())
    ]
    assert not wrong, "\n".join(wrong)


def test_only_use_cases_and_workers_may_read_a_clock() -> None:
    clock = re.compile(r"datetime\.now\(|\btime\.time\(|utcnow\(|date\.today\(")
    wrong = [
        shown(path)
        for service in SERVICES
        for path in (ROOT / "services" / service).rglob("*.py")
        if layer_of(path, service) not in {"usecases", "workers"} and clock.search(path.read_text())
    ]
    assert not wrong, "\n".join(wrong)


def test_files_and_functions_stay_short() -> None:
    wrong = []
    for path in written():
        text = path.read_text()
        if (lines := text.count("\n")) > FILE_LINES_MAX:
            wrong.append(f"{shown(path)} has {lines} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    wrong.append(f"{shown(path)}:{node.lineno} {node.name} has {lines} lines")
    assert not wrong, "\n".join(wrong)


def test_no_import_hides_in_a_function() -> None:
    wrong = [
        f"{shown(path)}:{node.lineno}"
        for path in written()
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_migration_names_another_schema() -> None:
    wrong = []
    for service in SERVICES:
        others = re.compile(rf"\b({'|'.join(sorted(set(SERVICES) - {service}))})\.[a-z_]+")
        for path in (ROOT / "services" / service / "migrations").rglob("*.*"):
            if path.suffix in {".py", ".sql"}:
                wrong += [f"{shown(path)}: {found.group()}" for found in others.finditer(path.read_text())]
    assert not wrong, "\n".join(wrong)


def test_migrations_are_one_line() -> None:
    for service in SERVICES:
        names = sorted(path.stem for path in (ROOT / "services" / service / "migrations" / "versions").glob("*.py"))
        assert [name[:4] for name in names] == [f"{number:04d}" for number in range(1, len(names) + 1)], service


def test_the_locks_name_no_index() -> None:
    for lock in (ROOT / "requirements").iterdir():
        assert not re.search(r"https?://|--index-url|--find-links", lock.read_text()), lock.name


def layer_of(path: Path, service: str) -> str:
    """The first name below the service: `store/bookings.py` is of the store."""
    return path.relative_to(ROOT / "services" / service).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports, and what it takes from packages, dotted."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def written() -> Iterator[Path]:
    """The files that people wrote."""
    for name in WRITTEN:
        path = ROOT / name
        yield from ([path] if path.is_file() else (p for p in path.rglob("*.py") if "__pycache__" not in p.parts))


def shown(path: Path) -> str:
    """A path as people name it."""
    return str(path.relative_to(ROOT))
