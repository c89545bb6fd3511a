"""The compiled encoder as a file: its name, where it lies, and whether it can be loaded."""

import ctypes
import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from rowwire.plans import ABI

_HERE = Path(__file__).parent
SOURCES = (_HERE / "rowwire.c", _HERE / "copying.c")
READ = (*SOURCES, _HERE / "values.h")
"""What the library is made of."""
FLAGS = ("-std=c11", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wconversion")
FOLDER = Path(sys.prefix) / "lib"
"""Where the library lies: with the interpreter or virtual environment, as other compiled code."""


class Progress(ctypes.Structure):
    """`progress` in rowwire.c."""

    _fields_ = (
        ("size", ctypes.c_int64), ("rows", ctypes.c_int64), ("last", ctypes.c_int64), ("end", ctypes.c_int64), ("column", ctypes.c_int32),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The compiled encoder, or why there is none."""

    functions: ctypes.CDLL | None
    """None where it is not loaded."""
    says: str
    """A sentence for the log."""


def file_name() -> str:
    """Returns the library's name, which has a digest of its source: that of another source is never loaded."""
    digest = hashlib.sha256("\0".join(FLAGS).encode())
    for source in READ:
        digest.update(source.read_bytes())
    return f"rowwire-{digest.hexdigest()[:16]}.so"


def load_built(folder: Path = FOLDER) -> Loaded:
    """Returns the compiled encoder of today's source from a folder. Without it, `says` tells why rows are encoded in Python."""
    path = folder / file_name()
    if not path.exists():
        return Loaded(functions=None, says=f"rows are encoded in Python: there is no {path}, which python -m rowwire.build makes")
    return load(path)


def load(path: Path) -> Loaded:
    """Returns the library at a path, if it can be loaded and is of this version."""
    try:
        functions = ctypes.CDLL(str(path))
        functions.rowwire_abi.restype = ctypes.c_int32
        functions.rowwire_abi.argtypes = ()
        version = functions.rowwire_abi()
    except (OSError, AttributeError) as error:
        return Loaded(functions=None, says=f"rows are encoded in Python: {path} cannot be loaded: {error}")
    if version != ABI:
        return Loaded(functions=None, says=f"rows are encoded in Python: {path} is of version {version}, not {ABI}")
    functions.rowwire_encode.restype = ctypes.c_int32
    functions.rowwire_encode.argtypes = (
        ctypes.c_void_p, ctypes.c_int64, ctypes.c_int32, ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64,
        ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.POINTER(Progress),
    )  # fmt: skip
    functions.rowwire_copy.restype = ctypes.c_int32
    functions.rowwire_copy.argtypes = (
        ctypes.c_int32, ctypes.c_char_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p,
    )  # fmt: skip
    return Loaded(functions=functions, says=f"rows are encoded by {path}")
