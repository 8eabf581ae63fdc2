"""Small federations in virtual time; a test that fails names the command that does it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_federation import DEVICES, Wanted, bare_artefact, write_examples

from fedtier.config.federation import load_federation
from fedtier.sim.faults import Faults
from fedtier.sim.simulate import Simulated, simulate

REPLAY = pytest.StashKey[list[str]]()
LIMIT_S = 20_000.0  # of virtual time; the runs here take some minutes of it


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.failed:
        lines = item.stash.get(REPLAY, [f".venv/bin/python -m pytest '{item.nodeid}'"])
        report.sections.append(("replay", "\n".join(lines)))
    return report


@pytest.fixture(scope="session")
def federation_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a model and data of a few devices."""
    directory = tmp_path_factory.mktemp("federations")
    bare_artefact(directory / "artefact")
    for device in DEVICES:
        write_examples(directory / "data", device)
    return directory


@pytest.fixture
def write_federation(federation_files: Path) -> Callable[..., Path]:
    """Write a small federation's file; keywords are those of ``Wanted``."""

    def write(name: str = "federation.toml", /, **wanted: Any) -> Path:
        path = federation_files / name
        text = Wanted(**wanted).text(artefact="artefact", data=Path("data"))
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Callable[..., Simulated]:
    """Simulate a federation's file, as ``fedtier sim`` does."""

    def run(file: Path, *, seed: int, faults: str = "", **options: Any) -> Simulated:
        command = f".venv/bin/fedtier sim {file} --seed {seed}"
        if faults:
            command += f" --faults {faults}"
        request.node.stash[REPLAY] = [command]
        return simulate(
            load_federation(file), seed=seed, faults=Faults.parse(faults) if faults else None,
            checks=True, limit_s=LIMIT_S, **options,
        )  # fmt: skip

    return run
