"""Small federations of real processes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from guards import guard_of
from reference import train_in_one_process
from small_federation import DEVICES, Wanted, bare_artefact, write_examples
from testbed import REPOSITORY, Testbed


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.system)


@pytest.fixture(scope="session")
def artefact_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("artefact")
    bare_artefact(directory)
    return directory


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    for device in DEVICES:
        write_examples(directory, device)
    return directory


@pytest.fixture(scope="session")
def big_artefact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.6 million parameters, 6.4 MB."""
    pytest.importorskip("torch", reason="this test needs the extra: pip install -e '.[torch]'")
    out = tmp_path_factory.mktemp("big")
    place = tmp_path_factory.mktemp("module")
    shutil.copyfile(Path(__file__).with_name("big_net.py"), place / "big_net.py")
    subprocess.run(
        [sys.executable, "-m", "fedtier", "compile", "big_net:BigNet", "--out", str(out)],
        env={"PYTHONPATH": f"{place}:{REPOSITORY}", "PATH": ""}, cwd=REPOSITORY, check=True,
        stdout=subprocess.DEVNULL, timeout=200,
    )  # fmt: skip
    return out


@pytest.fixture
def write_federation(tmp_path: Path, artefact_dir: Path, data_dir: Path) -> Callable[..., Path]:
    """Write a small federation's file; keywords are those of ``Wanted``."""

    def write(name: str = "federation.toml", /, **wanted: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = Wanted(**wanted).text(artefact=str(artefact_dir), data=data_dir)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def testbed(
    tmp_path: Path, write_federation: Callable[..., Path], request: pytest.FixtureRequest
) -> Iterator[Callable[..., Testbed]]:
    """Make a test bed with its brokers; nothing of it outlives the test."""
    with ExitStack() as stack:

        def make(
            directory: str = "bed", /, *, broker: str = "mosquitto", environment: Any = None,
            sys_interval_s: int = 0, options: Any = None, guard: str = "", **wanted: Any,
        ) -> Testbed:  # fmt: skip
            if broker == "mosquitto":
                request.getfixturevalue("mosquitto_binary")
            else:
                pytest.importorskip("iotcore", reason="pip install -e '.[embedded]'")
            file = write_federation(f"{directory}/federation.toml", **wanted)
            bed = Testbed(
                tmp_path / directory, file, broker=broker, environment=environment or {},
                sys_interval_s=sys_interval_s, options=options or {},
            )  # fmt: skip
            stack.enter_context(bed)
            if guard:
                certify = request.getfixturevalue("certify") if guard == "certificates" else None
                bed.guard = guard_of(guard, bed.directory / "users", bed.topology, certify)
            bed.start_brokers()
            return bed

        yield make


@pytest.fixture(scope="session")
def digest_alone(artefact_dir: Path, data_dir: Path) -> Callable[..., str]:
    """The digest that a federation's plan must give, computed in this process, once for each."""
    known: dict[str, str] = {}

    def compute(**wanted: Any) -> str:
        text = Wanted(**wanted).text(artefact=str(artefact_dir), data=data_dir)
        if text not in known:
            known[text] = train_in_one_process(text)
        return known[text]

    return compute
