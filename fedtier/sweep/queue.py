"""The runs of a sweep: one per variant and seed, each in a directory of its own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedtier.config.federation import parse_federation
from fedtier.config.files import read_text
from fedtier.config.named import check_named
from fedtier.config.toml_text import parse_document, write_whole
from fedtier.errors import ConfigError
from fedtier.runtime.host import Clock
from fedtier.show.screen import rounds_to_show
from fedtier.storage.durable import storage_error
from fedtier.sweep.change import LINK_KEYS, changed
from fedtier.sweep.variant import Variant

FEDERATION = "federation.toml"  # of a variant, and the same in each of its run directories
REPORT = "report.json"
_REPORT_KEYS = frozenset({
    "accuracy", "loss", "accuracy_held_out_worst", "accuracy_devices", "seconds", "clock", "links",
    "rounds_trained", "model_digest", "tau", "plans",
})  # fmt: skip
"""Of a report, those that a sweep reads."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Run:
    """One variant with one seed."""

    variant: Variant
    seed: int
    text: str  # of the variant's federation file
    rounds: int | None  # of the plan; None where that follows from what is measured
    home: Path  # of the variant

    @property
    def directory(self) -> Path:
        """The run directory."""
        return self.home / f"seed-{self.seed}"

    @property
    def log_path(self) -> Path:
        """What its process says; beside the run directory, which it wants to make itself."""
        return self.home / f"seed-{self.seed}.log"

    @property
    def report_path(self) -> Path:
        """Where its report is, or will be."""
        return self.directory / REPORT

    def report(self) -> Mapping[str, Any] | None:
        """Its report; None as long as it is not finished, or where the file is no report.

        Raises:
            StorageError: If the disk does not give it.
        """
        try:
            found = json.loads(self.report_path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(self.report_path, "read", error) from error
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) and found.keys() >= _REPORT_KEYS else None

    def begun(self) -> bool:
        """Whether there is something of it."""
        return self.directory.exists() and any(self.directory.iterdir())

    def unfinished(self) -> bool:
        """Whether it was begun and has not ended."""
        return self.begun() and self.report() is None

    def clear(self) -> None:
        """Take away what a run that has not ended left; ``check_unmixed`` knows it for ours.

        Raises:
            StorageError: If the disk does not do it.
        """
        if self.directory.exists():
            try:
                shutil.rmtree(self.directory)
            except OSError as error:
                raise storage_error(self.directory, "removed", error) from error


def runs_of(
    file: Path,
    variants: Sequence[Variant],
    *,
    seeds: Sequence[int],
    rounds: int | None,
    out: Path,
    clock: Clock,
) -> list[Run]:
    """All runs, seed by seed, every variant checked as the federation file that it is.

    Args:
        file: The federation file.
        variants: At least one.
        seeds: At least one.
        rounds: In place of the file's.
        out: The directory of the sweep.
        clock: What the runs are to be of.

    Raises:
        ConfigError: If the file or a variant cannot be; names the variant.
    """
    text, directory = read_text(file), file.resolve().parent
    parse_federation(text, where=str(file), directory=directory)
    document = parse_document(text, where=str(file))
    texts: dict[str, tuple[str, int | None]] = {}
    for variant in variants:
        if clock == "wall":
            _check_fleet_takes(variant)
        new = changed(document, variant, rounds=rounds, directory=directory)
        written = write_whole(new, comment=f"A variant of a sweep: {variant.title}")
        where = f"{file} with --set {variant.text!r}" if variant.text else str(file)
        federation = parse_federation(written, where=where, directory=directory)
        if clock == "virtual":
            check_named(federation, where=where, all_here=True)
        texts[variant.directory] = (written, rounds_to_show(federation, None))
    return [
        Run(variant=v, seed=seed, text=text, rounds=number, home=out / v.directory)
        for seed in seeds
        for v in variants
        for text, number in (texts[v.directory],)
    ]


def _check_fleet_takes(variant: Variant) -> None:
    for setting in variant.settings:
        if not _is_of_a_run(setting.path):
            raise ConfigError(
                f"--set {variant.text!r}: a standing fleet has {setting.key} from its node files. "
                "Its runs may differ in the rest of [plan], in codecs and in [evaluation]; without "
                "--config all of the file can be varied."
            )


def _is_of_a_run(path: tuple[str, ...]) -> bool:
    """Whether a cloud takes it from the federation file of a run."""
    match path:
        case ("plan", key, *_):
            return key != "part_bytes"
        case ("link", key, *_):
            return key == "codec" or key not in LINK_KEYS
        case (table, *_):
            return table == "evaluation"
    raise AssertionError("a path names something")


def check_unmixed(runs: Sequence[Run], *, clock: Clock) -> None:
    """Refuse a directory that holds other runs than those of this sweep.

    Raises:
        ConfigError: If a run directory is of another file, or of the other clock.
        StorageError: If the disk does not give one.
    """
    for run in runs:
        if not run.begun():
            continue
        copy = run.directory / FEDERATION
        if not copy.exists() or _said(read_text(copy), copy) != _said(run.text, copy):
            raise ConfigError(
                f"{run.directory} holds a run of another federation file than this sweep's. Choose "
                "another --out, or give the file and options that this one was begun with."
            )
        report = run.report()
        if report is not None and report["clock"] != clock:
            raise ConfigError(
                f"{run.directory} holds a run whose seconds are {report['clock']}; those of this "
                f"sweep are {clock}. Choose another --out."
            )


def _said(text: str, path: Path) -> Mapping[str, object]:
    """What a file says, however it is written."""
    return parse_document(text, where=str(path))
