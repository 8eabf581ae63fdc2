"""``fedtier cloud run``: put the cloud together and run one training of the federation."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from cloud.estimate import ESTIMATES_FILE
from cloud.evaluation import Evaluator
from cloud.expected import expected_of
from cloud.performer import METRICS_FILE, Performer, Places
from cloud.pilot import PilotLog
from cloud.plan import differences, plan_of
from cloud.round_lines import RoundLines
from cloud.steering import Steering
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.blob import encode_artefact
from fedtier.artefact.find import find_artefact
from fedtier.artefact.prepared_data import prepare_held_out
from fedtier.config.budget_rules import check_rounds
from fedtier.config.federation import Federation, load_federation
from fedtier.config.node_file import NodeFile
from fedtier.config.place import Place
from fedtier.core.events import Onward
from fedtier.core.root import Course, RootMachine
from fedtier.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_TERMINATED, ConfigError
from fedtier.ids import RunId, hex64
from fedtier.model.layout import model_digest
from fedtier.planner.estimates import estimates_for
from fedtier.runtime.boot import Boot, booted
from fedtier.runtime.host import Assembled
from fedtier.storage.durable import storage_error
from fedtier.storage.snapshots import Snapshots
from fedtier.storage.spool import Spool
from fedtier.wire.manifest import encode_model
from fedtier.wire.plan import Plan

log = logging.getLogger(__name__)


def main(
    config: Path,
    *,
    federation: Path | None = None,
    out: Path | None = None,
    rounds: int | None = None,
    seed: int | None = None,
    pilot: int | None = None,
    abandon: bool = False,
    debug: bool = False,
) -> int:
    """Run the cloud in the foreground until the federation is trained.

    Args:
        config: Its node file.
        federation: A federation file in place of the node file's, for another plan on the same
            tree.
        out: A run directory in place of the node file's.
        rounds: In place of the federation file's.
        seed: In place of the federation file's.
        pilot: Rounds at the beginning in which the run is measured; None for none.
        abandon: Whether to give up an unfinished run, if there is one, and begin a new one.
        debug: Whether the log says what is ignored, too.

    Returns:
        The process's exit code: 0 only when the run is finished and somebody trained.

    Raises:
        FedtierError: What the operator must know; the command line prints it.
    """
    with booted(config, role="cloud", debug=debug) as boot:
        section = boot.file.node
        assert section.federation_file is not None, "a cloud's node file names its federation"
        assert section.run_dir is not None, "a cloud's node file names a run directory"
        described = load_federation(federation or Path(section.federation_file))
        wanted = Wanted(
            federation=described,
            run_dir=out or Path(section.run_dir),
            rounds=rounds,
            seed=seed,
            pilot=pilot,
            abandon=abandon,
        )
        return boot.run(assemble(boot, wanted))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which training is wanted of a cloud, and where it is written down."""

    federation: Federation
    run_dir: Path
    rounds: int | None = None  # in place of the federation file's
    seed: int | None = None  # in place of the federation file's
    pilot: int | None = None  # rounds at the beginning in which the run is measured
    abandon: bool = False


def assemble(boot: Boot, wanted: Wanted) -> Assembled:
    """Put a cloud together, for one training.

    Raises:
        FedtierError: As ``main``.
    """
    file, federation = boot.file, wanted.federation
    assert file.node.artefact is not None, "a cloud's node file names an artefact"
    _check_same_tree(file, federation)
    artefact = find_artefact(file.node.artefact)
    places = Places(state_dir=boot.state_dir, run_dir=wanted.run_dir)
    plan = plan_of(federation, rounds=wanted.rounds, seed=wanted.seed, pilot=wanted.pilot)
    _check_lowering(plan, artefact, where=federation.where)
    check_rounds(federation, dimension=artefact.layout.dimension, place=Place(federation.where))
    course = _course(places, plan, artefact, boot, abandon=wanted.abandon)
    try:
        places.run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(places.run_dir, "made", error) from error
    steering = None
    if federation.plan.auto is not None:
        steering = Steering(
            federation, plan, run=course.run, state_dir=places.state_dir, run_dir=places.run_dir
        )
        course = replace(course, onward=_onward(steering, federation, course, places))
    evaluator = _evaluator(federation, artefact)
    machine = RootMachine(
        node=file.id,
        members=file.members,
        members_min=federation.members_needed(file.id),
        part_bytes=file.node.part_bytes,
        nonce=boot.nonce,
        course=course,
        expected=expected_of(
            federation.topology, members_needed=federation.members_needed, where=federation.where
        ),
        spooled=Spool(places.state_dir / "spool").found(),
    )
    host = boot.host(machine)
    performer = Performer(
        federation=file.federation,
        course=course,
        artefact=artefact,
        evaluator=evaluator,
        places=places,
        host=host,
        topology=federation.topology,
        part_bytes=file.node.part_bytes,
        steering=steering,
    )
    performer.begin()
    return Assembled(
        host=host, perform=performer.perform, judge=lambda code: _judged(code, performer)
    )


def _onward(
    steering: Steering, federation: Federation, course: Course, places: Places
) -> Onward | None:
    """How a run that plans itself goes on: as it was, or by estimates that are known already."""
    done, run_dir = course.next_round, places.run_dir
    metrics = RoundLines(run_dir / METRICS_FILE, of="round")
    metrics.drop(done)
    seconds = metrics.seconds
    onward = steering.resume(done, seconds=seconds)
    if onward is not None:
        return onward
    auto = federation.plan.auto
    assert auto is not None, "it is steered"
    known = None if auto.estimates is None else Path(auto.estimates)
    own = run_dir / ESTIMATES_FILE
    if known is None and done > 0 and own.exists():
        known = own  # what was to be planned by them, or was, has been lost
    if known is None:
        if done > course.plan.pilot:
            return steering.first(None, seconds=seconds, reason="what had been decided is lost")
        return None
    estimates = estimates_for(federation, known, dimension=course.dimension)
    return steering.first(estimates, seconds=seconds)


def _judged(code: int, performer: Performer) -> int:
    """The process's exit code: the loop ends in order by SIGTERM, but perhaps no run is done."""
    done = performer.exit_code
    if code in (EXIT_DONE, EXIT_INTERRUPTED) and done is None:
        log.warning("run interrupted", extra={"go_on": "start the cloud again as before"})
    if code != EXIT_DONE:
        return code
    return EXIT_TERMINATED if done is None else done


def _check_lowering(plan: Plan, artefact: Artefact, *, where: str) -> None:
    try:
        artefact.manifest.lowering_for(plan.lowering)
    except ConfigError as error:  # now, and not as an abstention of every device
        raise ConfigError(f"{where} [plan]: {error}") from error


def _check_same_tree(file: NodeFile, federation: Federation) -> None:
    """A run may have another plan than the standing fleet was started with, not another tree.

    What is beneath the cloud's children is seen when they announce it.
    """
    if federation.id != file.federation:
        raise ConfigError(
            f"{federation.where}: federation {federation.id!r} is not the {file.federation!r} of "
            "this cloud's node file. Give the federation file of the same fleet."
        )
    wanted = sorted(federation.topology.children(file.id))
    if wanted != sorted(file.members):
        raise ConfigError(
            f"{federation.where}: the cloud's children are {', '.join(wanted)}, this node's "
            f"members are {', '.join(sorted(file.members))}. A new tree needs new node files."
        )


def _evaluator(federation: Federation, artefact: Artefact) -> Evaluator | None:
    if federation.evaluation is None:
        return None
    where = f"{federation.where} [evaluation]"
    held_out = prepare_held_out(federation.evaluation, artefact.manifest, where=where)
    return Evaluator(artefact, held_out)


def _refuse_foreign_report(path: Path, run: RunId) -> None:
    """A run goes on in its own directory or a new one; its own report stands there if it had ended.

    Raises:
        ConfigError: If the report is another run's.
        StorageError: If it cannot be read.
    """
    try:
        text = path.read_bytes() if path.exists() else b""
    except OSError as error:
        raise storage_error(path, "read", error) from error
    if text and f'"run": "{hex64(run)}"'.encode() not in text:
        raise ConfigError(
            f"{path.parent} holds the report of another run than {hex64(run)}, which is to go on. "
            "Choose another directory with --out."
        )


def _course(places: Places, plan: Plan, artefact: Artefact, boot: Boot, *, abandon: bool) -> Course:
    """Go on with an unfinished run of this very plan, or begin a new one.

    Raises:
        ConfigError: If there is an unfinished run of another plan that is not to be abandoned, or
            the run directory is another run's.
        StorageError: If the state directory cannot be read or written.
    """
    snapshots = Snapshots(places.state_dir)
    snapshot = snapshots.read()
    if snapshot is None or snapshot.finished:
        return _new_course(places, plan, artefact, boot)
    others = differences(snapshot.plan, plan)
    if snapshot.artefact != artefact.digest:
        others.append(f"artefact = {snapshot.artefact[:12]} (now {artefact.digest[:12]})")
    if abandon or (others and snapshot.rounds_done == 0):  # of no round nothing is lost
        # First: where it is refused, nothing is lost.
        course = _new_course(places, plan, artefact, boot)
        snapshots.write(replace(snapshot, finished=True))
        fields = {"run": hex64(snapshot.run), "rounds_done": snapshot.rounds_done}
        log.warning("run abandoned", extra=fields)
        return course
    if others:
        raise ConfigError(
            f"{places.state_dir} holds run {hex64(snapshot.run)}, which is not finished "
            f"({snapshot.rounds_done} of its rounds are done) and has another plan: "
            f"{', '.join(others)}. Start with its own plan to finish it, or with --abandon and a "
            "new --out to give it up and begin a new run."
        )
    _refuse_foreign_report(places.run_dir / "report.json", snapshot.run)
    log.info("run resumed", extra={"run": hex64(snapshot.run), "round": snapshot.rounds_done})
    return Course(
        run=snapshot.run, epoch=snapshot.epoch, plan=plan, artefact=artefact.digest,
        artefact_blob=encode_artefact(artefact), layout=artefact.layout.digest,
        dimension=artefact.layout.dimension,
        resumed=True, next_round=snapshot.rounds_done, rounds_trained=snapshot.rounds_trained,
        gradient_known=PilotLog(places.state_dir, snapshot.run).knows_gradient(
            snapshot.rounds_done
        ),
        model=snapshot.model, blob=snapshot.blob, rms=snapshot.rms,
    )  # fmt: skip


def _new_course(places: Places, plan: Plan, artefact: Artefact, boot: Boot) -> Course:
    """A new run from the artefact's initial model, in a run directory of its own."""
    if any((places.run_dir / name).exists() for name in ("report.json", "metrics.jsonl")):
        raise ConfigError(
            f"{places.run_dir} already holds a run. Choose another directory with --out."
        )
    layout, initial = artefact.layout, artefact.initial()
    digest = model_digest(layout.digest, initial)
    run = RunId(boot.random64())
    log.info("run created", extra={"run": hex64(run), "seed": plan.seed})
    return Course(
        run=run, epoch=0, plan=plan, artefact=artefact.digest,
        artefact_blob=encode_artefact(artefact), layout=layout.digest,
        dimension=layout.dimension, next_round=0, rounds_trained=0, model=digest,
        blob=encode_model(initial, model=digest, layout=layout.digest),
    )  # fmt: skip
