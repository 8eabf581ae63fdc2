"""What a federation file cannot say is refused with place, value and remedy."""

from __future__ import annotations

import pytest
from farm_federation import BROKERS, LINKS, farm, refusal

from fedtier.config.federation import load_federation
from fedtier.errors import ConfigError

WRONG = {
    "not TOML": (farm(federation="id ="), "this is not TOML", "line"),
    "a byte order mark": (
        "\ufeff" + farm(),
        "begins with a byte order mark (BOM)",
        "Save the file as UTF-8 without BOM.",
    ),
    "a table twice": (farm(rest="[data]"), "this is not TOML", "once only"),
    "unknown table": (farm(rest="[evalution]"), "evalution", "Did you mean 'evaluation'?"),
    "unknown key": (
        farm(plan="ruonds = 10\ntau = [4, 2]"),
        "[plan] ruonds is no key",
        "Did you mean 'rounds'?",
        "Known: rounds, tau",
    ),
    "missing key": (
        farm(plan="tau = [4, 2]"),
        "[plan] rounds is missing",
        'Give a number, such as 50, or tau = "auto"',
    ),
    "missing table": ("[federation]\nid = 'farm'", "tree is missing", "Add it: a table"),
    "wrong type": (
        farm(plan='rounds = "10"\ntau = [4, 2]'),
        '[plan] rounds = "10" has the wrong type',
        "a whole number, 1 to 1000000",
    ),
    "true is no number": (
        farm(plan="rounds = true\ntau = [4, 2]"),
        "rounds = true",
        "whole number",
    ),
    "a table where a value belongs": (farm(federation="id = {}"), "id = {}", "Write text"),
    "out of range": (
        farm(plan="rounds = 0\ntau = [4, 2]"),
        "[plan] rounds = 0 is out of range",
        "1 to 1000000",
    ),
    "infinite": (
        farm(plan="rounds = 1\ntau = [4, 2]\nschedule = { mu = inf }"),
        "[plan.schedule] mu = inf is out of range",
        "1e-15 to 100",
    ),
    "a number beyond every float": (
        farm(rest=f"[[simulation.link]]\nrate_bytes_per_s = {'9' * 401}"),
        "[[simulation.link]] 1 rate_bytes_per_s = 999",
        "... is out of range: greater than 0, at most 1.8e+308",
    ),
    "a number too long to be written": (
        farm(plan=f"rounds = 0x{'f' * 5000}\ntau = [4, 2]"),
        "[plan] rounds = a number of thousands of digits is out of range: 1 to 1000000",
    ),
    "a pilot longer than the run": (
        farm(plan='rounds = 3\ntau = "auto"\nauto = { deadline_s = 60 }'),
        "[plan.auto] pilot_rounds = 4 is more than rounds = 3 of [plan]",
        "Lower it, to 2 at least, or raise rounds",
    ),
    "steps without a place": (
        farm(plan='rounds = 1\ntau = [4, 2]\nschedule = { kind = "step" }'),
        "[plan.schedule] milestones is missing",
        "milestones = [0.5, 0.75]",
    ),
    "milestones without steps": (
        farm(plan="rounds = 1\ntau = [4, 2]\nschedule = { milestones = [0.5] }"),
        '[plan.schedule] milestones = [0.5] is of kind = "step", and kind is "cosine"',
        "Write that kind, or remove",
    ),
    "milestones in disorder": (
        farm(
            plan='rounds = 1\ntau = [4, 2]\nschedule = { kind = "step", milestones = [0.5, 0.2] }'
        ),
        "[plan.schedule] milestones = [0.5, 0.2]",
        "ascending shares of the run",
    ),
    "a milestone at the end": (
        farm(plan='rounds = 1\ntau = [4, 2]\nschedule = { kind = "step", milestones = [1] }'),
        "[plan.schedule] milestones = [1.0]",
        "each below 1",
    ),
    "unknown word": (
        farm(federation='id = "farm"\nweights = "device"'),
        '[federation] weights = "device"',
        "Did you mean 'devices'?",
        '"devices" or "examples"',
    ),
    "reserved federation id": (farm(federation='id = "all"'), "[federation] id", "reserved"),
    "tau below 1": (farm(plan="rounds = 1\ntau = [4, 0]"), "tau[2] = 0", "1 to 1000000"),
    "more steps than can be counted": (
        farm(
            plan="rounds = 1\ntau = [1000000, 1000000, 1000000]",
            tree='[tree]\nc = ["b"]\nb = ["a"]\na = ["d"]',
            links='[[link]]\ncodec = "identity"\n' * 3,
        ),
        "makes 1000000000000000000 local steps a round",
        "9007199254740992",
    ),
    "beacons too often": (
        farm(plan="rounds = 1\ntau = [4, 2]\nbeacon_s = 0.5"),
        "beacon_s = 0.5 is out of range",
        "1 to 3600 s",
    ),
    "no tau": (farm(plan="rounds = 1\ntau = []"), "tau has 0 entries", "1 to 8"),
    "tau of another length": (
        farm(plan="rounds = 1\ntau = [4, 2, 2]"),
        "[plan] tau has 3 entries",
        "2 [[link]] tables",
    ),
    "a link too many": (
        farm(links=LINKS + LINKS, plan="rounds = 1\ntau = [1, 1, 1, 1]"),
        "[tree]: the tree has 2 tiers above its devices and the file 4 [[link]] tables",
    ),
    "quorum of another length": (
        farm(plan='rounds = 1\ntau = [4, 2]\nquorum = ["all"]'),
        "quorum has 1 entries",
    ),
    "quorum above a cell": (
        farm(plan="rounds = 1\ntau = [4, 2]\nquorum = [3, 1]"),
        "quorum = 3 on link 1",
        "2 children of 'south'",
        "1 to 2",
    ),
    "quorum zero": (farm(plan="rounds = 1\ntau = [4, 2]\nquorum = 0"), "quorum = 0", "(0, 1]"),
    "quorum above one": (farm(plan="rounds = 1\ntau = [4, 2]\nquorum = 1.5"), "(0, 1]", "0.8"),
    "deadline too short": (
        farm(plan="rounds = 1\ntau = [4, 5]\ndeadline_s = [10, 51]\ntransfer_s = 2"),
        "deadline_s = 51 on link 2 is too short",
        "tau = 5 iterations of up to 10 s",
        "Use 52 s or more",
    ),
    "deadline above none": (
        farm(plan='rounds = 1\ntau = [4, 5]\ndeadline_s = ["none", 60]'),
        "deadline_s = 60 on link 2, and link 1 has none",
    ),
    "part too large": (
        farm(plan="rounds = 1\ntau = [4, 5]\npart_bytes = 2097152"),
        "part_bytes = 2097152 is out of range",
        "4096 to 1048576 bytes",
    ),
    "head larger than a part": (
        farm(
            tree='[tree]\ncloud = ["gw"]\ngw = ["d{1..30}"]',
            plan="rounds = 1\ntau = [1, 1]\npart_bytes = 4096",
        ),
        "part_bytes = 4096 is too small: 'gw' has 30 children",
        "Use 4448 to 1048576",
    ),
    "unknown codec": (
        farm(links='[[link]]\ncodec = "qsdg"\n[[link]]\ncodec = "identity"'),
        "[[link]] 1",
        "qsgd",
    ),
    "codec parameter out of range": (
        farm(links='[[link]]\ncodec = "identity"\n[[link]]\ncodec = "qsgd"\nlevels = 0'),
        "[[link]] 2",
        "levels",
        "32767",
    ),
    "codec parameter unknown": (
        farm(links='[[link]]\ncodec = "qsgd"\nlevel = 7\n[[link]]\ncodec = "identity"'),
        "[[link]] 1",
        "levels",
    ),
    "codec parameter of another type": (
        farm(links='[[link]]\ncodec = "qsgd"\nlevels = 7.5\n[[link]]\ncodec = "identity"'),
        "[[link]] 1: levels of codec 'qsgd' is 7.5",
        "a whole number",
    ),
    "unknown source": (farm(data='source = "imus"'), "source 'imus'", "Did you mean 'imu'?"),
    "unknown source of one node": (
        farm(rest='[[node]]\nid = "cow-1"\ndata = { source = "fashon-mnist" }'),
        "Did you mean 'fashion-mnist'?",
    ),
    "unknown key of a source": (
        farm(
            data='source = "imu"\nside = 0',
            rest='[[node]]\nid = "{cow,pig}-{1,2}"\ndata = { sbuject = "$2" }',
        ),
        "[data] and [[node]] 1 of 'cow-1': subject is missing",
        "Is 'sbuject' a misspelling of it?",
    ),
    "a key too many": (
        farm(
            data='source = "imu"\nside = 0\nsubject = 1',
            rest='[[node]]\nid = "pig-1"\ndata = { sides = 1 }',
        ),
        "[data] and [[node]] 1 of 'pig-1': 'sides' is unknown. Did you mean 'side'?",
        "Known: path, side, subject",
    ),
    "missing key of a source": (
        farm(data='source = "imu"\nside = 0'),
        "[data] of 'cow-1': subject is missing",
        "a whole number from 0 to 10000",
    ),
    "a source's value out of its range": (
        farm(rest='[[node]]\nid = "pig-2"\ndata = { holdout_percent = 60 }'),
        "[data] and [[node]] 1 of 'pig-2': holdout_percent is 60",
        "from 1 to 50",
    ),
    "a trait that is no whole number": (
        farm(rest='[[node]]\nid = "pig-2"\ndata = { traits = { side = "left" } }'),
        "[[node]] 1 of 'pig-2': traits.side is 'left'",
    ),
    "unknown key of an evaluation": (
        farm(rest='[evaluation]\ndevice = ["x"]'),
        "[evaluation]: devices is missing",
        "a list of names, or a table of names",
    ),
    "unknown source of an evaluation": (
        farm(rest='[evaluation]\nsource = "npz-directry"'),
        "[evaluation]: source 'npz-directry' is unknown",
        "Did you mean 'npz-directory'?",
    ),
    "an evaluation that holds out in percent": (
        farm(rest='[evaluation]\ndevices = ["x"]\nholdout_percent = 20'),
        "[evaluation]: 'holdout_percent' is unknown",
    ),
    "a device that is held out": (
        farm(rest='[evaluation]\ndevices = ["sheep", "cow-2"]'),
        "[evaluation] devices = ['sheep', 'cow-2'] selects /srv/farm/readings/cow-2.npz",
        "'cow-2' trains on it ([data])",
        "hold out other data, or give 'cow-2' other data",
    ),
    "a wrist that is held out": (
        farm(
            data='source = "imu"\nside = 1\nsubject = 1',
            rest='[[node]]\nid = "cow-{1..3}"\ndata = { subject = "$1" }\n'
            '[evaluation]\nsubjects = [3, 9]\npath = "/another/imu.npz"',
        ),
        "[evaluation] subjects = [3, 9] selects subject-3/right",
        "'cow-3' trains on it ([data] and [[node]] 1)",
    ),
    "a file of a device's folder that is held out": (
        farm(
            data='source = "csv-directory"\npath = "r"\nfeatures = ["x"]\nlabel = "y"',
            rest='[evaluation]\npath = "r/pig-1"\ndevices = { monday = {} }',
        ),
        "[evaluation] devices = {'monday': {}} selects /srv/farm/r/pig-1/monday",
        "'pig-1' trains on it",
    ),
    "url without url": (
        farm(rest='[broker]\nkind = "url"'),
        "[broker] url is missing",
        "'cloud' has no broker",
    ),
    "bad url": (
        farm(rest='[broker]\nkind = "url"\nurl = "http://x:1"'),
        "[broker] url",
        "mqtt and mqtts",
    ),
    "password in a url": (
        farm(rest='[[node]]\nid = "north"\nbroker_url = "mqtt://me:secret@x:1"'),
        "[[node]] 1 broker_url",
        "password_file",
    ),
    "a name for all at a mosquitto": (
        farm(rest='[broker]\nusername = "fleet"\npassword_file = "p"'),
        '[broker] username = "fleet"',
        "under its own id",
        'kind = "url"',
    ),
    "another name than its own at a mosquitto": (
        farm(rest='[[node]]\nid = "north"\nusername = "n"\npassword_file = "p"'),
        '[[node]] 1 username = "n"',
    ),
    "a name without a password": (
        farm(rest='[broker]\nkind = "url"\nurl = "mqtt://x"\nusername = "fleet"'),
        "[broker] username needs password_file",
    ),
    "a certificate without its key": (
        farm(rest='[[node]]\nid = "north"\ncertfile = "c"'),
        "[[node]] 1 certfile needs keyfile",
    ),
    "certificates and no TLS": (
        farm(rest=BROKERS + '[broker]\ncafile = "ca.crt"'),
        "[broker] cafile is for TLS",
        '"mqtt://cloud.local"',
        "Write mqtts:// in broker_url",
    ),
    "certificates of one node and no TLS": (
        farm(rest=BROKERS + '[[node]]\nid = "pig-1"\ncafile = "ca.crt"'),
        "[[node]] 2 cafile is for TLS",
        '"mqtt://south.local"',
    ),
    "passwords at the embedded broker": (
        farm(rest='[broker]\nkind = "embedded"\npassword_file = "p"'),
        "[broker] password_file is given",
        "knows no passwords",
    ),
    "passwords for some clients of a broker": (
        farm(rest=BROKERS + '[[node]]\nid = "cow-2"\npassword_file = "p"'),
        "'north' logs in at mqtt://north.local with nothing and 'cow-2' with a password",
        "the same of all",
    ),
    "a node that is not there": (
        farm(rest='[[node]]\nid = "cow-4"\nboard = "pi-4"'),
        "[[node]] 1 id names 'cow-4'",
        "Did you mean 'cow-",
    ),
    "data of a gateway": (
        farm(rest='[[node]]\nid = "north"\ndata = { subject = 1 }'),
        "[[node]] 1 data is given for 'north', on tier 1",
        "only devices",
    ),
    "broker of a device": (
        farm(rest='[[node]]\nid = "pig-1"\nbroker_url = "mqtt://x:1"'),
        "'pig-1', a device",
        "'south'",
    ),
    "more braces called for than there are": (
        farm(rest='[[node]]\nid = "cow-{1..3}"\ndata = { subject = "$2" }'),
        "[[node]] 1 data.subject",
        "brace 2",
    ),
    # The tree as it is written
    "empty tree": (farm(tree="[tree]"), "[tree]: is empty"),
    "gateway without children": (
        farm(tree='[tree]\ncloud = ["gw", "a"]\ngw = []'),
        "[tree] gw = []: a gateway has children",
    ),
    "listed twice": (
        farm(tree='[tree]\ncloud = ["n", "s"]\nn = ["a"]\ns = ["a"]'),
        "lists 'a' also below 'n'",
        "two nodes cannot have one id",
    ),
    "listed twice in one place": (farm(tree='[tree]\ncloud = ["a", "a"]'), "lists 'a' twice"),
    "children given twice": (
        farm(tree='[tree]\ncloud = ["gw-1"]\ngw-1 = ["a"]\n"gw-{1,2}" = ["b"]'),
        "gives 'gw-1' children a second time",
    ),
    "reserved id": (farm(tree='[tree]\ncloud = ["operator"]'), "[tree] cloud", "reserved"),
    "bad id": (farm(tree='[tree]\ncloud = ["Cow"]'), "'Cow' is not allowed"),
    "orphan": (
        farm(tree='[tree]\ncloud = ["gw-l", "gw-2"]\ngw-1 = ["a"]\ngw-2 = ["b"]'),
        "2 nodes have children and no parent: 'cloud', 'gw-1'",
        "Did you mean 'gw-l'?",
    ),
    "two clouds": (
        farm(tree='[tree]\nsky = ["a", "b"]\nheaven = ["c"]'),
        "Only the cloud, here 'sky', has no parent; list 'heaven'",
    ),
    "no cloud": (
        farm(tree='[tree]\na = ["b"]\nb = ["a"]'),
        "there is no cloud",
        "a -> b -> a",
    ),
    "cycle beside a tree": (
        farm(tree='[tree]\ncloud = ["d"]\na = ["b"]\nb = ["a"]'),
        "in a circle",
        "a -> b -> a",
    ),
    "a device with a tier": (
        farm(rest='[[node]]\nid = "cow-1"\ntier = 1'),
        "'cow-1' has no children, so it is a device, but its tier is stated as 1",
        "A device is on tier 0",
    ),
    "a tier not above its children": (
        farm(
            tree='[tree]\ncloud = ["x", "y"]\nx = ["gw"]\ngw = ["a"]\ny = ["z"]\nz = ["b"]',
            links=LINKS + '[[link]]\ncodec = "identity"\n',
            plan="rounds = 1\ntau = [1, 1, 1]",
            rest='[[node]]\nid = "x"\ntier = 1',
        ),
        "'gw' is on tier 1 and its parent 'x' on tier 1",
    ),
    "a tier above eight": (
        farm(rest='[[node]]\nid = "north"\ntier = 9'),
        "[[node]] 1 tier = 9 is out of range: 0 to 8",
    ),
    "the cloud on another tier": (
        farm(rest='[[node]]\nid = "cloud"\ntier = 3'),
        "'cloud' is stated to be on tier 3",
        "2 [[link]] tables",
    ),
    "nine links": (
        farm(links='[[link]]\ncodec = "identity"\n' * 9),
        "link has 9 entries",
        "1 to 8",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused_with_place_value_and_remedy(case):
    text, *wanted = WRONG[case]
    message = refusal(text)
    for piece in wanted:
        assert piece in message


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        load_federation(tmp_path / "none.toml")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "model.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"model\.toml: is not UTF-8 text"):
        load_federation(tmp_path / "model.toml")


def test_a_file_that_is_far_too_large_is_not_read(tmp_path):
    path = tmp_path / "large.toml"
    with path.open("wb") as file:
        file.truncate(5 * 1024 * 1024)
    with pytest.raises(ConfigError, match="at most 4194304"):
        load_federation(path)
