"""Sources, preprocessing and augmentation of a package of one's own: examples/wav-folders."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import tomllib
import wave
from pathlib import Path

import numpy as np
import pytest

from fedtier.artefact.artefact import Artefact
from fedtier.artefact.find import find_artefact
from fedtier.config.federation import load_federation
from fedtier.config.named import check_named
from fedtier.data.augmentation import Augmentation, step_keys
from fedtier.data.load import load_device, load_held_out
from fedtier.data.preprocessing import Pipeline
from fedtier.errors import ConfigError
from fedtier.ids import IterationPath, NodeId

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "wav-folders"
WHERE = "here"
CHANNELS, ROWS = 6, 10  # the demo's model takes six channels
PREPROCESSING = (
    {"name": "loudness", "rows": ROWS},
    {"name": "standardise"},
    {"name": "window", "length": 128, "stride": 32},
)
AUGMENTATION = ({"name": "shift", "rows": 8},)
FEDERATION = """
[federation]
id = "garden"
[tree]
cloud = ["bed-1", "bed-2"]
[model]
artefact = "model"
[plan]
rounds = 1
tau = [1]
[[link]]
codec = "identity"
[data]
source = "wav-folders"
path = "sounds"
labels = ["bark", "meow", "chirp", "buzz", "splash", "knock", "hum"]
[evaluation]
devices = ["bed-3"]
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The example as pip installs it, into a directory of its own."""
    pytest.importorskip("hatchling", reason="this test builds a package: requirements/build.txt")
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / EXAMPLE.name)
    target = tmp_path_factory.mktemp("installed")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"),
            *("--no-build-isolation", "--disable-pip-version-check", "--target", target, source),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def installed(built, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(built))


@pytest.fixture
def federation_file(tmp_path) -> Path:
    """A federation whose data and model ask for what the example brings."""
    file = tmp_path / "federation.toml"
    file.write_text(FEDERATION, encoding="utf-8")
    labels = tuple(tomllib.loads(FEDERATION)["data"]["labels"])
    shipped = find_artefact("package:imu")
    manifest = dataclasses.replace(
        shipped.manifest, labels=labels, preprocessing=PREPROCESSING, augmentation=AUGMENTATION
    )
    Artefact.verify(manifest, shipped.files, where=WHERE).write(tmp_path / "model")
    for device in ("bed-1", "bed-2", "bed-3"):
        for number, label in enumerate(labels[:2]):
            write_wav(tmp_path / "sounds" / device / f"{label}-1.wav", loud=0.1 + 0.2 * number)
    return file


def write_wav(path: Path, *, loud: float) -> None:
    """Noise of so much of the full scale, 16-bit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(1).uniform(-loud, loud, size=(1500 * ROWS, CHANNELS))
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(CHANNELS)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes((noise * 2**15).astype("<i2").tobytes())


def test_each_part_of_the_example_is_short():
    for part in (EXAMPLE / "wav_folders").glob("*.py"):
        lines = [line for line in part.read_text(encoding="utf-8").splitlines() if line.strip()]
        assert len(lines) <= 30, part.name


def test_a_federation_of_the_examples_source_and_transforms_is_checked_and_loads(
    installed, federation_file
):
    federation = load_federation(federation_file)
    assert check_named(federation, where=str(federation_file)) == []
    data = load_device(
        federation.nodes[NodeId("bed-1")].data, PREPROCESSING, node="bed-1", where=WHERE
    )
    # 85 % of 1500 loudness rows of each class; a window of 128 every 32.
    assert data.train.x.shape == (2 * ((1275 - 128) // 32 + 1), CHANNELS, 128)
    assert set(data.train.y.tolist()) == {0, 1}
    assert data.fitted[0] == {"name": "loudness", "rows": ROWS}
    assert federation.evaluation is not None
    ((group, examples),) = load_held_out(federation.evaluation, PREPROCESSING, where=WHERE).groups
    assert (group, set(examples.y.tolist())) == ("bed-3", {0, 1})


def test_config_check_knows_what_is_installed_and_says_what_is_not(
    built, federation_file, tmp_path
):
    def check(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "fedtier", "config", "check", str(federation_file)],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    with_it = check(PYTHONPATH=str(built))
    assert (with_it.returncode, with_it.stderr) == (0, "")
    without = check()
    assert without.returncode == 78
    assert "source 'wav-folders' is unknown. Known: csv-directory," in without.stderr
    text = federation_file.read_text(encoding="utf-8")
    federation_file.write_text(text.replace('"wav-folders"', '"wav-foldrs"'), encoding="utf-8")
    misspelt = check(PYTHONPATH=str(built))
    assert "Did you mean 'wav-folders'? Known: csv-directory, " in misspelt.stderr


def test_an_augmentation_of_ones_own_draws_by_its_address(installed):
    x = np.random.default_rng(2).normal(size=(8, CHANNELS, 128)).astype(np.float32)
    augmentation = Augmentation.from_json(AUGMENTATION, where=WHERE)

    def augmented(step: int):
        path, node = IterationPath((0, 0)), NodeId("d1")
        return augmentation.apply(x, step_keys(seed=1, path=path, node=node, step=step))

    assert np.array_equal(augmented(0), augmented(0))
    assert not np.array_equal(augmented(0), augmented(1))
    assert np.array_equal(np.sort(augmented(0), axis=-1), np.sort(x, axis=-1))
    assert augmentation.to_json() == [*AUGMENTATION]


@pytest.mark.parametrize(
    ("read", "wrong", "message"),
    [
        (Pipeline, {"name": "loudnes"}, r"\[0\]: name 'loudnes' is unknown. Did you mean "
         r"'loudness'\? Known: ids, loudness, mirror, scale, standardise, window\."),
        (Pipeline, {"name": "loudness", "rows": 0}, "rows is 0; it must be a whole number from 1"),
        (Pipeline, {"name": "loudness", "rows": 1, "row": 1}, "'row' is unknown. Did you mean 'ro"),
        (Pipeline, {"name": "shift", "rows": 3}, "name 'shift' is unknown"),
        (Augmentation, {"name": "shifts"}, r"\[0\]: name 'shifts' is unknown. Did you mean "
         r"'shift'\? Known: gain, noise, rotation, shift, time_scale\."),
        (Augmentation, {"name": "shift"}, "rows is missing"),
    ],
)  # fmt: skip
def test_a_transform_that_cannot_be_is_refused_with_what_is_installed(
    installed, read, wrong, message
):
    with pytest.raises(ConfigError, match=message):
        read.from_json([wrong], where=WHERE)


# Packages that are wrong


@pytest.fixture
def offers(tmp_path, monkeypatch):
    """Offer an entry point under each of these groups, by packages found on the path."""

    def offer(package: str, group: str, *points: str, code: str = "") -> None:
        info = tmp_path / "packages" / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *points]) + "\n")
        (info.parent / f"{package}.py").write_text(code, encoding="utf-8")

    yield offer
    monkeypatch.undo()
    sys.modules.pop("plugged_in", None)


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """Call it when all packages are offered."""
    return lambda: monkeypatch.syspath_prepend(str(tmp_path / "packages"))


def test_two_packages_that_offer_one_name_are_both_named(offers, seen):
    offers("plugged_in", "fedtier.preprocessing", "clip = plugged_in:Clip")
    offers("plugged_too", "fedtier.preprocessing", "clip = plugged_too:Clip")
    seen()
    with pytest.raises(ConfigError, match="offered by plugged_in:Clip and plugged_too:Clip"):
        Pipeline.from_json([{"name": "clip"}], where=WHERE)


def test_what_a_package_cannot_give_is_named(offers, seen):
    offers(
        "plugged_in", "fedtier.preprocessing",
        "gone = plugged_nowhere:Clip", "absent = plugged_in:Clip", "half = plugged_in:Half",
        code="class Half:\n    def from_fields(fields): ...\n",
    )  # fmt: skip
    seen()
    for name, message in (
        ("gone", "is plugged_nowhere:Clip, which cannot be imported: No module named"),
        ("absent", "is plugged_in:Clip, which cannot be imported: .*Clip"),
        ("half", "is plugged_in:Half, which has no fit. Install a version"),
    ):
        with pytest.raises(ConfigError, match=message):
            Pipeline.from_json([{"name": name}], where=WHERE)


def test_a_name_that_is_built_in_stays_what_it_is(offers, seen):
    offers("plugged_in", "fedtier.augmentation", "noise = plugged_in:Nothing")
    seen()
    Augmentation.from_json([{"name": "noise", "std": 0.1}], where=WHERE)


SHAPES = """
import numpy as np

class Half:
    name = "half"
    @classmethod
    def from_fields(cls, fields):
        return cls()
    def apply(self, x, key):
        return x[::2]
    def to_json(self):
        return {"name": "half"}

class Root:
    @classmethod
    def from_fields(cls, fields):
        return cls()
    def fit(self, training, *, where):
        return self
    def apply(self, recording, *, where):
        from dataclasses import replace
        with np.errstate(invalid="ignore"):
            return replace(recording, samples=np.sqrt(recording.samples))
    def to_json(self):
        return {"name": "root"}
"""


def test_what_a_transform_of_ones_own_spoils_is_refused(offers, seen, tmp_path):
    offers("plugged_in", "fedtier.augmentation", "half = plugged_in:Half", code=SHAPES)
    offers("plugged_too", "fedtier.preprocessing", "root = plugged_in:Root")
    seen()
    augmentation = Augmentation.from_json([{"name": "half"}], where=WHERE)
    keys = step_keys(seed=1, path=IterationPath((0,)), node=NodeId("d"), step=0)
    with pytest.raises(ConfigError, match=r"'half' made float32 of shape \(2, 3\) of a float32 ba"):
        augmentation.apply(np.ones((4, 3), dtype=np.float32), keys)
    np.savez(tmp_path / "d1.npz", x=np.full((20, 2), -1.0), y=np.zeros(20, dtype=np.int64))
    spec = {"source": "npz-directory", "path": str(tmp_path)}
    with pytest.raises(ConfigError, match="'d1' holds NaN or infinity after preprocessing"):
        load_device(spec, [{"name": "root"}], node="d1", where=WHERE)
