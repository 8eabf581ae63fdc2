"""What ``--set`` says is put where a federation file has it, or refused by name."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path

import pytest

from fedtier.errors import ConfigError
from fedtier.sweep.change import changed
from fedtier.sweep.queue import check_unmixed, runs_of
from fedtier.sweep.variant import AS_WRITTEN, parse_variant, parse_variants

ROOT = Path(__file__).parents[2]
WEARABLES = ROOT / "firmware_configs" / "federations" / "wearables-3-tier.toml"
DOCUMENT = tomllib.loads(WEARABLES.read_text(encoding="utf-8"))


def with_values(text, *, document=DOCUMENT, rounds=None, directory=Path("there")):
    return changed(document, parse_variant(text), rounds=rounds, directory=directory)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("tau=8,2,1", ("plan", "tau"), [8, 2, 1]),
        ("tau=8", ("plan", "tau"), 8),
        ("mu=0.1", ("plan", "schedule", "mu"), 0.1),
        ("kind=constant", ("plan", "schedule", "kind"), "constant"),
        ("quorum=0.8,3,all", ("plan", "quorum"), [0.8, 3, "all"]),
        ("levels=7,,127", ("link", "levels"), [7, None, 127]),
        ("bucket=256", ("link", "bucket"), 256),
        ("rate_bytes_per_s=1e5", ("link", "rate_bytes_per_s"), 1e5),
        ("simulation.step_s=.5", ("simulation", "step_s"), 0.5),
        ("milestones=[0.5,0.75]", ("plan", "schedule", "milestones"), [0.5, 0.75]),
        ("data.path='my dir'", ("data", "path"), "my dir"),
        ("""'data.name="7"'""", ("data", "name"), "7"),
        ("data.shuffled=true", ("data", "shuffled"), True),
    ],
)
def test_a_setting_has_a_place_and_a_value(text, path, value):
    (setting,) = parse_variant(text).settings
    assert setting.path == path
    assert setting.value == value
    assert type(setting.value) is type(value)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["tau"], "'tau' gives no key a value. Write KEY=VALUE"),
        (["tau = 8"], "'tau' gives no key a value. Write KEY=VALUE"),
        (["tau="], "'tau=' gives no key a value"),
        (["tua=8,2"], "there is no 'tua' in [plan], [plan.schedule] and [[link]]. Did you mean"),
        (["seed=3"], "give seeds by --seeds and --first-seed"),
        (["plan.seed=3"], "give seeds by --seeds and --first-seed"),
        (["mu=0.1 mu=0.2"], "gives mu twice"),
        (["mu=0.1 plan.schedule.mu=0.2"], "gives plan.schedule.mu twice"),
        (["kind='step"], "a quote has no end"),
        (["simulation..step_s=1"], "is no path such as simulation.step_s"),
        (["milestones=[0.5"], "milestones: this is not TOML"),
        (["mu=0.1", "mu=0.1"], "would share the directory mu=0.1"),
        (["kind=a/b", "kind=a:b"], "would share the directory kind=a_b"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(texts, said):
    with pytest.raises(ConfigError) as refused:
        parse_variants(texts)
    assert str(refused.value).startswith("--set ")
    assert said in str(refused.value)


def test_a_sweep_without_variants_is_the_file_as_it_is():
    (variant,) = parse_variants([])
    assert variant.title == variant.directory == AS_WRITTEN
    assert with_values("", directory=ROOT) == DOCUMENT


def test_a_variants_directory_has_a_name_for_every_shell_and_file_system():
    long = parse_variant(" ".join(f"data.key-{n}=/some/where/{n}" for n in range(20)))
    other = parse_variant(long.text + " mu=0.1")
    for name in (long.directory, other.directory, parse_variant("data.path='../*'").directory):
        assert len(name) <= 80
        assert not set(name) & set("/\\ *?'\"$&;")
        assert not name.startswith(".")
    assert long.directory != other.directory


def test_values_go_where_the_file_has_them_and_the_document_stays():
    before = copy.deepcopy(DOCUMENT)
    new = with_values("tau=8,2,1 mu=0.1 levels=3,,63 simulation.step_s=0.5", rounds=9)
    assert before == DOCUMENT
    assert new["plan"]["tau"] == [8, 2, 1]
    assert new["plan"]["rounds"] == 9
    assert new["plan"]["schedule"] == {"kind": "cosine", "mu": 0.1, "floor": 0.05}
    assert [link["levels"] for link in new["link"]] == [3, 31, 63]
    assert new["simulation"] == {"step_s": 0.5}


def test_a_variants_own_rounds_come_before_those_of_the_command():
    assert with_values("rounds=5", rounds=9)["plan"]["rounds"] == 5


def test_another_codec_takes_the_parameters_of_the_one_before_away():
    assert with_values("codec=identity")["link"] == [{"codec": "identity"}] * 3
    mixed = with_values("levels=5,, codec=,identity,identity")["link"]
    assert mixed[0] == {"codec": "qsgd", "levels": 5, "bucket": 128}
    assert mixed[1:] == [{"codec": "identity"}] * 2


def test_tables_of_links_that_are_not_there_are_made_one_for_each():
    new = with_values("simulation.link.rate_bytes_per_s=1e4,1e5,1e6 simulation.link.loss=0.1")
    rates = [table["rate_bytes_per_s"] for table in new["simulation"]["link"]]
    assert rates == [1e4, 1e5, 1e6]
    assert [table["loss"] for table in new["simulation"]["link"]] == [0.1] * 3


def test_one_value_is_enough_for_an_array_of_one():
    document = DOCUMENT | {"link": DOCUMENT["link"][:1]}
    assert with_values("tau=8", document=document)["plan"]["tau"] == [8]


def test_paths_are_those_of_the_file_wherever_the_variant_lies():
    document = DOCUMENT | {
        "model": {"artefact": "artefact"},
        "data": {"source": "npz-directory", "path": "~/data"},
        "evaluation": {"path": "held-out"},
        "node": [{"id": "watch-1-0", "board": "pi.toml", "data": {"path": "/else"}}],
    }
    new = with_values("", document=document, directory=Path("/there"))
    assert new["model"]["artefact"] == "/there/artefact"
    assert new["data"]["path"] == "~/data"
    assert new["evaluation"]["path"] == "/there/held-out"
    assert new["node"][0] == {
        "id": "watch-1-0", "board": "/there/pi.toml", "data": {"path": "/else"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("levels=7,31", "levels has 2 values, and there are 3 [[link]] tables"),
        ("tau=8,,1", "tau has an empty value"),
        ("plan.rounds.more=1", "rounds is no table"),
    ],
)
def test_a_value_that_has_no_place_is_refused(text, said):
    with pytest.raises(ConfigError, match="--set") as refused:
        with_values(text)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tau=0,2,1", "[plan] tau[1] = 0 is out of range: 1 to"),
        ("tau=8,2", "[plan] tau has 2 entries, and the file has 3 [[link]] tables"),
        ("mu=fast", '[plan.schedule] mu = "fast" has the wrong type'),
        ("codec=qsdg", "[[link]] 1: there is no codec 'qsdg'. Did you mean 'qsgd'?"),
        ("kind=step", "[plan.schedule] milestones is missing"),
        ("plan.deadline=3", "[plan] deadline is no key of this table. Did you mean 'deadline_s'?"),
    ],
)
def test_a_value_that_the_file_may_not_have_is_refused_before_anything_runs(text, said, tmp_path):
    with pytest.raises(ConfigError) as refused:
        runs_of(
            WEARABLES, parse_variants(["", text]), seeds=[1], rounds=None, out=tmp_path,
            clock="wall",
        )  # fmt: skip
    assert str(refused.value).startswith(f"{WEARABLES} with --set {text!r}: ")
    assert said in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["simulation.step_s=1", "model.artefact=new", "part_bytes=8192", "rate_bytes_per_s=1e6"],
)
def test_a_fleet_is_not_asked_for_what_its_node_files_say(text, tmp_path):
    with pytest.raises(ConfigError, match=r"a standing fleet has .* from its node files"):
        runs_of(
            WEARABLES, parse_variants([text]), seeds=[1], rounds=None, out=tmp_path, clock="wall"
        )


def test_runs_go_seed_by_seed_so_that_all_variants_are_seen_early(tmp_path):
    variants = parse_variants(["mu=0.1", "mu=0.2"])
    runs = runs_of(WEARABLES, variants, seeds=[3, 4], rounds=7, out=tmp_path, clock="wall")
    found = [(run.variant.text, run.seed, run.rounds) for run in runs]
    assert found == [("mu=0.1", 3, 7), ("mu=0.2", 3, 7), ("mu=0.1", 4, 7), ("mu=0.2", 4, 7)]
    assert len({run.directory for run in runs}) == 4


def auto_file(directory):
    """The demo's federation, whose runs plan themselves."""
    text = WEARABLES.read_text(encoding="utf-8").replace("rounds = 100\n", "")
    text = text.replace("tau    = [4, 4, 1]", 'tau = "auto"')
    file = directory / "auto.toml"
    file.write_text(text + "\n[plan.auto]\ndeadline_s = 60\n", encoding="utf-8")
    return file


def test_a_tau_that_is_chosen_and_one_that_is_given_stand_side_by_side(tmp_path):
    document = tomllib.loads(auto_file(tmp_path).read_text(encoding="utf-8"))
    given = with_values("tau=8,2,1", document=document, rounds=9)["plan"]
    assert (given["tau"], given["rounds"]) == ([8, 2, 1], 9)
    assert "auto" not in given
    assert with_values("mu=0.1", document=document)["plan"]["auto"] == {"deadline_s": 60}
    chosen = with_values("tau=auto plan.auto.deadline_s=200")["plan"]
    assert (chosen["tau"], chosen["auto"]) == ("auto", {"deadline_s": 200})


@pytest.mark.parametrize(
    ("written", "text", "said"),
    [
        ("given", "tau=auto", "tau=auto needs a deadline: how many seconds a run may take. Set"),
        ("auto", "tau=8,2,2", 'rounds is missing, for the file has tau = "auto". Give --rounds'),
    ],
)
def test_what_another_tau_lacks_is_told_with_how_to_give_it(written, text, said, tmp_path):
    file = auto_file(tmp_path) if written == "auto" else WEARABLES
    with pytest.raises(ConfigError) as refused:
        runs_of(
            file, parse_variants([text]), seeds=[1], rounds=None, out=tmp_path / "out", clock="wall"
        )
    assert str(refused.value).startswith(f"--set {text!r}: {said}")


def test_how_many_rounds_a_run_has_that_plans_itself_is_not_known_before(tmp_path):
    (run,) = runs_of(
        auto_file(tmp_path), parse_variants([]), seeds=[1], rounds=None, out=tmp_path, clock="wall"
    )
    assert run.rounds is None


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"clock": "vir', "\xff", "[" * 100_000])
def test_a_run_whose_report_is_none_is_not_finished(tmp_path, text):
    variants = parse_variants([])
    (run,) = runs_of(
        WEARABLES, variants, seeds=[1], rounds=None, out=tmp_path, clock="virtual"
    )  # fmt: skip
    assert not run.unfinished(), "it was not begun"
    run.directory.mkdir(parents=True)
    (run.directory / "federation.toml").write_text(run.text, encoding="utf-8")
    run.report_path.write_bytes(text.encode("latin-1"))
    check_unmixed([run], clock="virtual")
    assert run.report() is None
    assert run.unfinished()
