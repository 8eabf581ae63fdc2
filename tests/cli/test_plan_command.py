"""``fedtier plan``: a document for machines, words and tables for people."""

from __future__ import annotations

import json

import pytest

from fedtier import cli
from fedtier.config.federation import load_federation
from fedtier.planner.estimates import estimates_json
from tests.planner.given import FEDERATIONS, estimates

FILE = FEDERATIONS / "wearables-3-tier.toml"


def run(*arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(["plan", *map(str, arguments)])
    return int(caught.value.code or 0)


@pytest.fixture
def measured(tmp_path):
    path = tmp_path / "estimates.json"
    path.write_text(estimates_json(estimates()), encoding="utf-8")
    return path


def test_json_is_one_document(measured, capsys):
    assert run(FILE, "--deadline", 120, "--estimates", measured, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["federation"] == "wearables"
    assert len(document["tau"]) == 3


def test_words_say_what_binds_and_the_lines_to_paste_make_a_federation(measured, tmp_path, capsys):
    assert run(FILE, "--deadline", 120, "--estimates", measured) == 0
    out = capsys.readouterr().out
    assert "what binds: the deadline" in out
    assert "after the pilot's first round" in out
    assert "not guaranteed at this mu" in out
    assert "beyond what was tried" not in out
    assert "the file's tau and mu" in out
    assert max(map(len, out.splitlines())) <= 120
    document = run_json(measured, capsys)
    for line in (f"rounds = {document['rounds']}", f"tau = {document['tau']}"):
        assert f"  {line}\n" in out
    changed = FILE.read_text(encoding="utf-8").replace("rounds = 100", line_of(out, "rounds"))
    path = tmp_path / "planned.toml"
    path.write_text(changed.replace("tau    = [4, 4, 1]", line_of(out, "tau")), encoding="utf-8")
    plan = load_federation(path).plan
    assert (plan.rounds, list(plan.tau)) == (document["rounds"], document["tau"])


def line_of(out, name):
    return next(line for line in out.splitlines() if line.startswith(f"  {name} = ")).strip()


def run_json(measured, capsys):
    run(FILE, "--deadline", 120, "--estimates", measured, "--json")
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("deadline", ["0", "-1", "nan"])
def test_a_deadline_that_is_none_is_refused(measured, capsys, deadline):
    assert run(FILE, "--deadline", deadline, "--estimates", measured) == 78
    assert "--deadline = " in capsys.readouterr().err


def test_a_step_size_above_those_tried_is_told_as_that(measured, capsys):
    options = (FILE, "--deadline", 120, "--estimates", measured, "--mu", 0.4)
    assert run(*options) == 0
    out = capsys.readouterr().out
    assert "this mu is above 0.3, the largest with which the pilot's loss fell" in out
    assert out.count("the file's tau") == 1, "this mu is the file's, too"
    run(*options, "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["forecast"]["mu_tried"] == 0.3 < document["mu"]


def test_a_file_that_plans_itself_has_no_tau_to_compare_with(measured, tmp_path, capsys):
    text = FILE.read_text(encoding="utf-8").replace("rounds = 100", "")
    auto = tmp_path / "auto.toml"
    auto.write_text(
        text.replace("tau    = [4, 4, 1]", 'tau = "auto"') + "\n[plan.auto]\ndeadline_s = 60\n",
        encoding="utf-8",
    )
    assert run(auto, "--deadline", 120, "--estimates", measured) == 0
    out = capsys.readouterr().out
    assert "the file's" not in out
    assert 'For the federation file, in place of tau = "auto" and of [plan.auto]:' in out


def test_what_is_not_lost_has_no_sign(measured, tmp_path, capsys):
    document = json.loads(measured.read_text(encoding="utf-8"))
    for link in document["link"]:
        link.update(codec="identity", parameters={}, q=0.0)
    measured.write_text(json.dumps(document), encoding="utf-8")
    lines = [line for line in FILE.read_text(encoding="utf-8").splitlines()
             if not line.startswith(("levels", "bucket"))]  # fmt: skip
    plain = tmp_path / "plain.toml"
    plain.write_text("\n".join(lines).replace('"qsgd"', '"identity"'), encoding="utf-8")
    assert run(plain, "--deadline", 120, "--estimates", measured) == 0
    (row,) = [line.split() for line in capsys.readouterr().out.splitlines()
              if line.startswith("quantization, link 1")]  # fmt: skip
    assert row[-3:] == ["0", "0.0", "%"]


@pytest.mark.parametrize("mu", ["0", "1e-16", "100.1", "1e8", "nan"])
def test_a_step_size_that_the_file_would_refuse_is_refused(measured, capsys, mu):
    assert run(FILE, "--deadline", 120, "--estimates", measured, "--mu", mu) == 78
    assert f"--mu = {float(mu):g} is out of range: 1e-15 to 100" in capsys.readouterr().err
