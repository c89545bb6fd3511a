"""A composed stack is that of one clone."""

from pathlib import Path

import pytest

from compose import stack
from compose.stack import FILE, Composed, EngineFails


class Engine:
    """Says what containers of the project there are, and notes what else it is told."""

    def __init__(self, files: str) -> None:
        self.files, self.told = files, list[str]()

    def __call__(self, command: str, *_: object, **__: object) -> str:
        self.told.append(command)
        return self.files if command == "ps" else ""


@pytest.mark.parametrize("files", [f"{FILE}\n{FILE}\n", f"/over/ride.yaml,{FILE}\n", ""])
def test_its_own_containers_or_none_may_be_stopped(files: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(files)
    monkeypatch.setattr(stack, "engine", engine)
    Composed(folder=tmp_path, project="p", ports={}).down(data=True, show=False)
    assert engine.told == ["ps", "compose"]


@pytest.mark.parametrize("verb", ["up", "down"])
def test_those_of_another_clone_are_left_alone(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine("/other/deploy/compose.yaml\n")
    monkeypatch.setattr(stack, "engine", engine)
    composed = Composed(folder=tmp_path, project="p", ports={})
    with pytest.raises(EngineFails, match=r"the project `p` is that of /other/deploy/compose\.yaml"):
        composed.up(show=False) if verb == "up" else composed.down(data=False, show=False)
    assert engine.told == ["ps"]
    assert list(tmp_path.iterdir()) == []
