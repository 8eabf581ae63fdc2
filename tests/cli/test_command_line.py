"""The command line: quick to explain itself, exact in its exit codes."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from fedtier import cli
from fedtier.errors import ConfigError, LinkError, StorageError

ROOT = Path(__file__).parents[2]
FEDERATION = ROOT / "firmware_configs" / "federations" / "campus-4-tier.toml"
HEAVY = {
    *("numpy", "torch", "paho", "onnx", "onnxruntime", "iotcore", "safetensors"),
    *("edge_agent", "gateway", "cloud", "fedtier.config", "fedtier.topology", "fedtier.commands"),
    *("importlib.metadata", "tomllib"),
}
NODE = """
[node]
id = "west"
role = "gateway"
federation = "small"
[parent]
id = "cloud"
[cell]
members = ["a"]
"""
SMALL = """
[federation]
id = "small"
[tree]
cloud = ["west"]
west = ["a"]
[model]
artefact = "package:imu"
[plan]
rounds = 3
tau = [2, 2]
[[link]]
codec = "identity"
[[link]]
codec = "identity"
[data]
source = "npz-directory"
path = "data"
traits = { side = 0 }
"""
BARE = """
import typer
app = typer.Typer()
@app.command()
def one() -> None: "One."
@app.command()
def two() -> None: "Two."
app(['--help'])
"""


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    return int(caught.value.code or 0)


def shown_and_loaded(code: str) -> tuple[str, set[str]]:
    """What a fresh interpreter prints, and the modules it has loaded when it ends."""
    ending = "import atexit, sys\natexit.register(lambda: print('LOADED', *sys.modules))\n"
    command = [sys.executable, "-c", ending + code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    shown, _, modules = done.stdout.rpartition("LOADED ")
    return shown, set(modules.split())


def test_help_lists_every_command_and_loads_none_of_them():
    shown, ours = shown_and_loaded("from fedtier.cli import main\nmain(['--help'])")
    _, bare = shown_and_loaded(BARE)
    for name, mount in cli.MOUNTS.items():
        assert name in shown
        assert mount.help.split()[0] in shown
    extra = ours - bare
    assert not extra & HEAVY
    assert {name for name in extra if name.startswith("fedtier")} == {
        "fedtier",
        "fedtier.cli",
        "fedtier.errors",
        "fedtier.outermost",
    }
    # No third-party package beyond those that Typer itself brings.
    assert {name.split(".")[0] for name in extra} - set(sys.stdlib_module_names) == {"fedtier"}


@pytest.mark.parametrize("name", cli.MOUNTS)
def test_the_line_in_the_table_is_what_the_command_says_of_itself(name):
    command = cli._load(name, cli.MOUNTS[name].target)
    assert command.help == cli.MOUNTS[name].help


@pytest.mark.parametrize("name", ["plan", "sim", "sweep"])
def test_a_federation_file_is_called_the_same_by_every_command(name, capsys):
    assert run(name, "--help") == 0
    assert "{FILE}" in capsys.readouterr().out


@pytest.mark.parametrize("role", ["agent", "gateway", "cloud"])
def test_a_roles_run_needs_a_config_file(role, capsys):
    assert run(role, "run") == 2
    assert "--config" in capsys.readouterr().err


def test_a_misspelt_command_is_usage_with_a_proposal(capsys):
    assert run("confg") == 2
    assert "Did you mean 'config'?" in capsys.readouterr().err


def test_no_command_at_all_shows_the_help(capsys):
    assert run() == 2
    assert "Commands" in "".join(capsys.readouterr())


def test_version_is_shown(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == "fedtier 0.1.0\n"


def test_check_says_what_a_right_file_comes_to(capsys):
    assert run("config", "check", FEDERATION) == 0
    out = capsys.readouterr().out
    assert "ok: federation campus: 4 tiers, 14 devices, 10 gateways" in out


def test_a_wrong_file_is_one_line_on_stderr_and_exit_78(tmp_path, capsys):
    path = tmp_path / "campus.toml"
    text = FEDERATION.read_text(encoding="utf-8")
    path.write_text(text.replace("rounds = 20", "ronuds = 20"), encoding="utf-8")
    assert run("config", "check", path) == 78
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {path}: [plan] ronuds is no key of this table.")
    assert "Did you mean 'rounds'?" in captured.err
    assert captured.err.count("\n") == 1


def test_check_refuses_what_a_federation_names_and_is_not_there(tmp_path, capsys):
    path = tmp_path / "campus.toml"
    text = FEDERATION.read_text(encoding="utf-8")
    path.write_text(text.replace("package:imu", "models/mine"), encoding="utf-8")
    assert run("config", "check", path) == 78
    assert f'error: {path}: [model] artefact = "{tmp_path}/models/mine"' in capsys.readouterr().err


def test_check_warns_in_one_line_of_data_on_other_machines(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDTIER_DATA", str(tmp_path / "none"))
    assert run("config", "check", FEDERATION) == 0
    captured = capsys.readouterr()
    assert captured.out.count("\n") == captured.err.count("\n") == 1
    assert captured.err.startswith("warning: the data of ")
    assert captured.err.endswith(f"were not looked at: {tmp_path}/none/imu.npz\n")


def test_check_needs_no_onnxruntime():
    hidden = "import sys; sys.modules['onnxruntime'] = None"
    code = f"{hidden}\nfrom fedtier.cli import main\nmain(['config', 'check', {str(FEDERATION)!r}])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_show_says_which_values_of_an_evaluation_are_those_of_the_data(tmp_path, capsys):
    path = tmp_path / "campus.toml"
    text = FEDERATION.read_text(encoding="utf-8")
    head, _, tail = text.partition("[evaluation]")
    head = head.replace('source = "imu"', 'source = "imu"\npath = "imu.npz"')
    tail = tail.replace('source   = "imu"', "")
    path.write_text(f"{head}[evaluation]{tail}", encoding="utf-8")
    assert run("config", "show", path) == 0
    out = capsys.readouterr().out
    lines = {" ".join(line.split()) for line in out.splitlines()}
    assert {'source = "imu" # [data]', 'path = "imu.npz" # [data]'} <= lines
    assert tomllib.loads(out)["evaluation"]["source"] == "imu"


def test_a_file_that_is_not_there_is_exit_78(tmp_path, capsys):
    assert run("config", "show", tmp_path / "none.toml") == 78
    assert "none.toml: cannot be read" in capsys.readouterr().err


def test_show_tells_where_each_value_came_from_and_draws_the_tree(capsys):
    assert run("config", "show", FEDERATION) == 0
    out = capsys.readouterr().out
    lines = {" ".join(line.split()) for line in out.splitlines()}
    assert "rounds = 20 # file" in lines
    assert "part_bytes = 65536 # default" in lines
    assert any("kiosk-7-0" in line and "16 local steps, link 3 (qsgd)" in line for line in lines)
    assert tomllib.loads(out)["plan"]["tau"] == [4, 2, 2, 2]


def test_show_names_the_brokers_and_boards_of_nodes(tmp_path, capsys):
    path = tmp_path / "factory.toml"
    text = (FEDERATION.parent / "factory-2-tier.toml").read_text(encoding="utf-8")
    path.write_text(
        text + '[[node]]\nid = "cell-1"\nbroker_url = "mqtt://hall:1883"\n', encoding="utf-8"
    )
    assert run("config", "show", path) == 0
    line = next(ln for ln in capsys.readouterr().out.splitlines() if ln.startswith("# ├─ cell-1"))
    assert line.endswith("4 of 4 must answer; mqtt://hall:1883; pi-4")


def test_show_explains_node_files_and_boards_too(capsys):
    assert run("config", "show", ROOT / "firmware_configs" / "nodes" / "gateway.toml") == 0
    out = capsys.readouterr().out
    assert tomllib.loads(out)["cell"]["members"] == [
        "watch-1-0",
        "watch-1-1",
        "watch-2-0",
        "watch-2-1",
    ]
    assert run("config", "check", ROOT / "firmware_configs" / "boards" / "pi-5.toml") == 0
    assert "board profile pi-5" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["federation", "node", "board"])
def test_schema_is_json(kind, capsys):
    assert run("config", "schema", kind) == 0
    assert json.loads(capsys.readouterr().out)["type"] == "object"


def test_the_reference_is_markdown(capsys):
    assert run("config", "schema", "--markdown") == 0
    assert capsys.readouterr().out.startswith("# Configuration reference\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("c"), 78),
        (LinkError("l"), 69),
        (StorageError("s"), 74),
        (KeyboardInterrupt(), 130),
        (AssertionError("a bug"), 70),
    ],
)
def test_each_error_ends_in_its_exit_code(monkeypatch, capsys, error, code):
    plug_in = typer.Typer()

    @plug_in.command()
    def fail() -> None:
        raise error

    # A plug-in is found by its entry point, so this one is offered there.
    monkeypatch.setattr(sys.modules[__name__], "plug_in", plug_in, raising=False)
    point = importlib.metadata.EntryPoint("fail", f"{__name__}:plug_in", cli.ENTRY_POINT_GROUP)

    def offered(**wanted: str) -> tuple[importlib.metadata.EntryPoint, ...]:
        return (point,) if point.matches(**wanted) else ()

    monkeypatch.setattr(importlib.metadata, "entry_points", offered)
    assert run("fail") == code
    err = capsys.readouterr().err
    assert ("Traceback" in err) == (code == 70)
    if code not in (70, 130):
        assert err == f"error: {error}\n"


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("onnxruntime", ["agent", "run", "--config", "x.toml"], "device"),
        ("safetensors", ["cloud", "run", "--config", "x.toml"], "cloud"),
        ("rich.live", ["demo", "--rounds", "1"], "demo"),
        ("onnxruntime", ["demo", "--rounds", "1"], "demo"),
        ("torch", ["compile", "net.py:Net", "--out", "never"], "torch"),
        ("onnx", ["compile", "net.py:Net", "--out", "never"], "torch"),
    ],
)
def test_a_command_whose_extra_is_missing_says_how_to_install_it(package, arguments, extra):
    hidden = f"import sys; sys.modules[{package!r}] = None"
    code = f"{hidden}\nfrom fedtier.cli import main\nmain({arguments})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == ConfigError.exit_code, done.stderr
    name = package.partition(".")[0]
    assert f"error: {name} is not installed." in done.stderr
    assert f"pip install 'fedtier[{extra}]'" in done.stderr


@pytest.mark.parametrize("role", ["agent", "gateway", "cloud"])
def test_a_federation_file_in_place_of_a_node_file_is_told_how_node_files_are_made(role, capsys):
    assert run(role, "run", "--config", FEDERATION) == 78
    error = capsys.readouterr().err
    assert f"{FEDERATION}: this is a federation file, and a node file is needed here." in error
    assert f"`fedtier config nodes {FEDERATION} --out DIRECTORY` writes the node files" in error


@pytest.mark.parametrize("kind", ["node file", "board profile"])
@pytest.mark.parametrize(
    "command",
    [("config", "nodes", "--out", "made"), ("demo", "--out", "made", "--federation")],
    ids=["config nodes", "demo"],
)
def test_another_file_in_place_of_a_federation_file_is_named(
    tmp_path, monkeypatch, capsys, command, kind
):
    monkeypatch.chdir(tmp_path)
    node = NODE if kind == "node file" else 'name = "pi"\n[board]\nthreads = 2\n'
    Path("given.toml").write_text(node, encoding="utf-8")
    assert run(*command, "given.toml") == 78
    error = capsys.readouterr().err
    assert f"given.toml: this is a {kind}, and a federation file is needed here. Give " in error
    assert not Path("made").exists()


def test_what_there_is_one_of_is_counted_as_one(tmp_path, capsys):
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    assert run("config", "check", path) == 0
    assert "federation small: 2 tiers, 1 device, 1 gateway, tau" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "[data] of 'a': "),
        ((), "data/a.npz does not exist"),
        (("--reference",), "Add [evaluation]"),
    ],
    ids=["whose data are missing", "missing data", "nothing to compare on"],
)
def test_a_demo_that_is_refused_leaves_no_directory(tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(tmp_path)
    Path("small.toml").write_text(SMALL, encoding="utf-8")
    assert run("demo", "--federation", "small.toml", *options) == 78
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]
