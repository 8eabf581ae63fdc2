"""`config check` looks into what a file names: artefact, boards, traits, data on this machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fedtier.artefact.find import find_artefact
from fedtier.config.inspect_file import inspect_file
from fedtier.config.named import check_named
from fedtier.errors import ConfigError

SHIPPED = Path(__file__).parents[2] / "firmware_configs"
FEDERATION = """
[federation]
id = "farm"
[tree]
cloud = ["cow-{1..5}"]
[model]
artefact = "package:imu"
[plan]
rounds = 1
tau = [1]
[[link]]
codec = "identity"
[data]
source = "npz-directory"
path = "readings"
traits = { side = 0 }
[evaluation]
devices = ["sheep"]
traits = { side = 1 }
[[node]]
id = "cow-{1..5}"
board = "pi-4"
"""
AGENT = """
[node]
id = "cow-1"
role = "agent"
federation = "farm"
tier = 0
state_dir = "state"
artefact = "package:imu"
[parent]
id = "cloud"
url = "mqtt://cloud:1883"
[data]
source = "npz-directory"
path = "readings"
traits = { side = 0 }
"""


@pytest.fixture
def check(tmp_path):
    """Check a file's text; the warnings, a line each."""

    def run(text: str) -> str:
        path = tmp_path / "f.toml"
        path.write_text(text, encoding="utf-8")
        return "\n".join(check_named(inspect_file(path).found, where="f.toml"))

    return run


def write_readings(directory: Path, *names: str, rows: int = 1000) -> None:
    """Data of devices as ``package:imu`` takes them: six channels, and windows of 128 rows."""
    directory.mkdir(exist_ok=True)
    x = np.random.default_rng(1).normal(size=(rows, 6))
    for name in names:
        np.savez(directory / f"{name}.npz", x=x, y=np.zeros(rows, int))


def refusal(check, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check(text)
    assert str(caught.value).startswith("f.toml: ")
    return str(caught.value)


def test_data_that_are_not_here_are_one_line_with_three_names(check, tmp_path):
    line = check(FEDERATION)
    assert line.startswith("the data of cow-1, cow-2, cow-3 and 3 more are not on this machine")
    assert f"{tmp_path}/readings/cow-1.npz" in line
    assert line.endswith("and 3 more")
    assert "\n" not in line


def test_only_what_is_missing_is_named(check, tmp_path):
    write_readings(tmp_path / "readings", *(f"cow-{n}" for n in range(1, 6)), "sheep")
    assert check(FEDERATION) == ""
    (tmp_path / "readings" / "sheep.npz").unlink()
    assert check(FEDERATION).startswith("the data of [evaluation] are not on this machine")


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        (
            "package:imu",
            "package:imuu",
            ['[model] artefact = "package:imuu": ', "not shipped. Did you mean 'package:imu'?"],
        ),
        (
            "package:imu",
            "models/cow",
            ["[model] artefact = ", "models/cow/manifest.json", "No such"],
        ),
        ("pi-4", "pi4", ['[[node]] 1 board = "pi4": ', "Did you mean 'pi-4'?"]),
        ("pi-4", "own.toml", ["[[node]] 1 board = ", "own.toml: cannot be read: No such file"]),
        (
            "traits = { side = 0 }",
            "traits = { sied = 0 }",
            ["[data] of 'cow-1': traits has no 'side'", "Did you mean 'sied'?", "side = 0"],
        ),
        ("traits = { side = 0 }\n", "", ["[data] of 'cow-1': traits has no 'side'"]),
        ("traits = { side = 1 }\n", "", ["[evaluation]: traits has no 'side', which the artefact"]),
    ],
)
def test_what_a_federation_names_and_is_wrong_is_refused(check, old, new, wanted):
    message = refusal(check, FEDERATION.replace(old, new))
    for piece in wanted:
        assert piece in message


def test_a_damaged_artefact_is_refused(check, tmp_path):
    find_artefact("package:imu").write(tmp_path / "model")
    text = FEDERATION.replace("package:imu", "model")
    assert check(text)
    train = tmp_path / "model" / "train.onnx"
    train.write_bytes(train.read_bytes()[:-1] + b"x")
    message = refusal(check, text)
    assert '[model] artefact = "' in message
    assert "train.onnx has SHA-256" in message
    assert "copy the artefact anew" in message


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("package:imu", "models/cow", ["[node] artefact = ", "models/cow/manifest.json"]),
        ("traits = { side = 0 }", "", ["[data]: traits has no 'side'"]),
        ("traits =", "trait =", ["[data]: 'trait' is unknown. Did you mean 'traits'?"]),
        ("[data]", "[board]\nthreads = 0\n[data]", ["[board] threads = 0 is out of range"]),
    ],
)
def test_what_a_node_file_names_and_is_wrong_is_refused(check, tmp_path, old, new, wanted):
    with pytest.raises(ConfigError) as caught:
        check(AGENT.replace(old, new))
    for piece in wanted:
        assert piece in str(caught.value)


LABELS = list(find_artefact("package:imu").manifest.labels)
READING = f"""
path = "readings"
features = ["ax", "ay", "az", "wx", "wy", "wz"]
label = "exercise"
labels = {LABELS}
"""
CSV = FEDERATION.replace("npz", "csv").replace('path = "readings"\n', READING)
SWAPPED = [LABELS[1], LABELS[0], *LABELS[2:]]


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (f"labels = {LABELS}", f"labels = {SWAPPED}", "[data] of 'cow-1'"),
        (f"labels = {LABELS}", f"labels = {LABELS[:6]}", "[data] of 'cow-1'"),
        (
            "[[node]]",
            f'[[node]]\nid = "cow-3"\ndata = {{ labels = {SWAPPED} }}\n[[node]]',
            "[data] and [[node]] 1 of 'cow-3'",
        ),
        ("[evaluation]", f"[evaluation]\nlabels = {SWAPPED}", "[evaluation]"),
    ],
)
def test_labels_that_are_not_the_artefacts_in_its_order_are_refused(check, old, new, place):
    assert check(CSV).startswith("the data of cow-1")
    message = refusal(check, CSV.replace(old, new, 1))
    assert message.startswith(f"f.toml: {place}: labels = [")
    assert 'imu-net has the classes ["pendulum", "abduction",' in message


def test_a_devices_labels_that_are_not_the_artefacts_are_refused(check):
    text = AGENT.replace("npz", "csv").replace('path = "readings"\n', READING)
    assert check(text)
    message = refusal(check, text.replace(f"labels = {LABELS}", f"labels = {SWAPPED}"))
    assert message.startswith('f.toml: [data]: labels = ["abduction", "pendulum",')


@pytest.mark.parametrize("text", [FEDERATION, AGENT], ids=["federation", "node"])
def test_columns_for_another_number_of_channels_are_refused(check, text):
    fewer = READING.replace('"ay", "az", "wx", "wy", ', "")
    message = refusal(check, text.replace("npz", "csv").replace('path = "readings"\n', fewer))
    assert message.startswith("f.toml: [data]")
    assert ": features names 2 columns, the artefact imu-net takes 6 channels. Name as" in message


def test_a_devices_missing_data_are_a_warning_too(check, tmp_path):
    assert check(AGENT).startswith("the data of cow-1 are not on this machine")


@pytest.mark.parametrize(
    ("rows", "said"),
    [(30, "the training part gives no example"), (600, "the hold-out gives no example")],
)
@pytest.mark.parametrize(
    ("text", "place"),
    [(FEDERATION, "[data] of 'cow-3'"), (AGENT.replace("cow-1", "cow-3"), "[data]")],
    ids=["federation", "node"],
)
def test_a_device_with_too_few_data_is_refused(check, tmp_path, text, place, rows, said):
    write_readings(tmp_path / "readings", "cow-1")
    write_readings(tmp_path / "readings", "cow-3", rows=rows)
    message = refusal(check, text)
    assert message.startswith(f"f.toml: {place}: {said}")
    assert "a window takes 128. Record more, or shorten the window" in message


def test_data_that_are_here_are_read_while_others_are_not(check, tmp_path):
    write_readings(tmp_path / "readings", "cow-2")
    assert check(FEDERATION).startswith("the data of cow-1, cow-3, cow-4 and 2 more are not")
    (tmp_path / "readings" / "cow-2.npz").write_bytes(b"no archive")
    assert "[data] of 'cow-2': " in refusal(check, FEDERATION)


def test_held_out_data_that_are_too_few_are_refused(check, tmp_path):
    write_readings(tmp_path / "readings", "sheep", rows=30)
    message = refusal(check, FEDERATION)
    assert message.startswith("f.toml: [evaluation]: group 'sheep'")


def test_where_all_data_must_be_here_missing_ones_are_refused(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text(FEDERATION, encoding="utf-8")
    write_readings(tmp_path / "readings", *(f"cow-{n}" for n in range(1, 6)))
    found = inspect_file(path).found
    with pytest.raises(ConfigError, match=r"\[evaluation\]: .*sheep.npz does not exist"):
        check_named(found, where="f.toml", all_here=True)


def test_passwords_and_certificates_that_are_not_here_are_one_line(check, tmp_path):
    (tmp_path / "ca.crt").write_text("not looked into")
    write_readings(tmp_path / "readings", "cow-1")
    url, tls = 'url = "mqtt://cloud:1883"', 'url = "mqtts://cloud"\npassword_file = "word"\n'
    files = 'cafile = "ca.crt"\ncertfile = "c.crt"\nkeyfile = "c.key"'
    assert check(AGENT.replace(url, tls + files)) == (
        f'[parent] password_file = "{tmp_path}/word", [parent] certfile = "{tmp_path}/c.crt", '
        f'[parent] keyfile = "{tmp_path}/c.key": not on this machine, or not for this user to see; '
        "cow-1 starts only where they are"
    )


@pytest.mark.parametrize(
    "path",
    sorted(p for folder in ("boards", "nodes", "federations") for p in SHIPPED.glob(f"{folder}/*")),
    ids=lambda path: path.stem,
)
def test_whatever_a_shipped_file_names_is_right(path):
    check_named(inspect_file(path).found, where=str(path))


def test_momentum_that_the_artefact_has_not_cannot_be_carried(check):
    text = FEDERATION.replace("tau = [1]", 'tau = [1]\ncarry = "iteration"')
    found = refusal(check, text)
    assert '[plan] carry = "iteration"' in found
    assert "imu-net was compiled without momentum" in found


def test_a_cell_without_a_broker_is_spoken_of_where_another_has_one(check):
    tree = FEDERATION.replace('cloud = ["cow-{1..5}"]', 'cloud = ["barn"]\nbarn = ["cow-{1..5}"]')
    text = tree.replace("tau = [1]", "tau = [1, 1]") + '\n[[link]]\ncodec = "identity"\n'
    assert "there is no broker" not in check(text)  # a file for the demo
    text += '[[node]]\nid = "barn"\nbroker_url = "mqtt://barn:1883"\n'
    first = check(text).splitlines()[0]
    assert first.startswith("there is no broker for the cell of cloud: ")
    assert '[[node]] with id = "cloud" and broker_url' in first
    assert "there is no broker" not in check(text.replace('id = "barn"', 'id = "{barn,cloud}"'))


def test_a_lowering_that_the_artefact_has_not_is_refused_with_those_it_has(check):
    text = FEDERATION.replace("tau = [1]", 'tau = [1]\nlowering = "taps"')
    found = refusal(check, text)
    assert '[plan] lowering = "taps"' in found
    assert "the artefact imu-net has gemm" in found
    assert "or compile it with that one, too" in found


@pytest.mark.parametrize("lowering", ["gemm", "auto"])
def test_the_artefacts_own_lowering_and_the_devices_choice_are_let_pass(check, lowering):
    check(FEDERATION.replace("tau = [1]", f'tau = [1]\nlowering = "{lowering}"'))


def test_estimates_of_an_earlier_run_are_looked_at(check):
    auto = 'tau = "auto"\nauto = { deadline_s = 60, estimates = "e.json" }'
    with pytest.raises(ConfigError, match=r"e\.json: cannot be read"):
        check(FEDERATION.replace("tau = [1]", auto))
