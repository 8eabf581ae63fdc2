"""A set of simulations of which each is done once: what is in the cache is not done again.

A result is kept under a key of all that decides it: the federation's document, the seed, what is
measured, and the code that trains. So a command that was interrupted goes on where it was, and
benchmarks share what they have in common. Runs take place in processes of their own, with one
training thread each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache as once
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.federations import Document, text_of
from benchmarks.measure import ROOT, arguments_of, progress
from benchmarks.paper.gradients import gradient_norms
from fedtier.config.federation import Federation, parse_federation
from fedtier.sim.simulate import simulate

CACHE = ROOT / ".cache" / "paper"
PLACE = "$CACHE"
"""Stands in documents for the cache's directory, so that no key depends on where that is."""
FORMAT = 1  # of results in the cache, and of the data that are dealt
_CODE = ("fedtier", "edge_agent", "gateway", "cloud")

Result = Mapping[str, Any]
"""Of one simulation, as plain data: see ``Simulation.run``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """One run and what is measured of it.

    Attributes:
        document: A federation file's content, with ``PLACE`` where the cache is meant.
        seed: Of the run.
        pilot: Rounds at its beginning in which it is measured; 0 for none.
        gradients_every: Rounds between two measurements of the full gradient at the cloud's
            models; 0 for none.
    """

    document: Document
    seed: int
    pilot: int = 0
    gradients_every: int = 0

    @property
    def key(self) -> str:
        """Of the result, 32 hex digits."""
        what = [self.document, self.seed, self.pilot, self.gradients_every, code_version()]
        text = json.dumps(what, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def run(self, cache: Path) -> Result:
        """Simulate it, in this process.

        Returns:
            ``rounds``: a row for each round with ``seconds`` (virtual), ``accuracy``, ``loss`` and
            ``training_loss``, and by link ``bytes_up`` and ``bytes_down`` since the beginning;
            ``accuracy``, ``loss``, ``loss_devices``, ``devices`` (``mean``, ``p10``, ``worst``
            accuracy on their own hold-outs), ``q`` by link, ``model_digest`` and ``took_s``; with
            a pilot its ``estimates``, with gradients ``gradients``: see ``gradient_norms``; of a
            run that plans itself ``plans``, the lines of ``plans.jsonl``.

        Raises:
            ConfigError: If the document is not a federation that can be simulated.
        """
        federation = located(self.document, cache)
        began_s = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="fedtier-paper-") as scratch:
            out = Path(scratch) / "run"
            pilot = self.pilot or None
            found = simulate(federation, seed=self.seed, threads=1, pilot=pilot, out=out)
            estimates = json.loads((out / "estimates.json").read_bytes()) if self.pilot else None
            plans = _lines(out / "plans.jsonl")
        report = found.report
        measured = report["accuracy_devices"]
        result = {
            "rounds": [_row(line) for line in found.rounds],
            "accuracy": report["accuracy"],
            "loss": report["loss"],
            "loss_devices": report["loss_devices"],
            "devices": {
                "mean": measured["mean"],
                "p10": measured["p10"],
                "worst": measured["worst"] and measured["worst"]["accuracy"],
            },
            "q": [link["q_mean"] for link in report["links"]],
            "model_digest": report["model_digest"],
        }
        if estimates is not None:
            result["estimates"] = estimates
        if plans:
            result["plans"] = plans
        if self.gradients_every:
            result["gradients"] = gradient_norms(
                federation,
                seed=self.seed,
                every=self.gradients_every,
                ends_in=report["model_digest"],
            )
        return {**result, "took_s": round(time.monotonic() - began_s, 1)}


def _lines(path: Path) -> list[dict[str, Any]]:
    """Of a file that is there if the run planned itself."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def _row(line: Mapping[str, Any]) -> dict[str, Any]:
    """Of a line of ``metrics.jsonl`` what is compared."""
    kept = {key: line[key] for key in ("seconds", "accuracy", "loss", "training_loss")}
    for way in ("bytes_up", "bytes_down"):
        kept[way] = [link[way] for link in line["links"]]
    return kept


def located(document: Document, cache: Path) -> Federation:
    """The federation of a document whose data and artefact are in a cache.

    Raises:
        ConfigError: If it is none.
    """
    text = text_of(document).replace(PLACE, str(cache.resolve()))
    return parse_federation(text, where=document["federation"]["id"], directory=ROOT)


@once
def code_version() -> str:
    """The product's packages as they are committed, what was changed in them, and the form."""
    trees = _git("rev-parse", *(f"HEAD:{name}" for name in _CODE)).split()
    changes = hashlib.sha256(_git("diff", "HEAD", "--", *_CODE).encode()).hexdigest()
    return "-".join([str(FORMAT), *(part[:12] for part in (*trees, changes))])


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """Where results are kept, and how many processes make them."""

    cache: Path
    workers: int = 2

    @classmethod
    def of(cls, chosen: argparse.Namespace) -> Campaign:
        """As the options of ``paper_arguments`` say."""
        return cls(cache=chosen.cache, workers=chosen.workers)

    def results(self, simulations: Sequence[Simulation], *, quiet: bool = False) -> list[Result]:
        """Of each simulation its result, in their order.

        What is known is not simulated; the others are written down one by one as they end.

        Args:
            simulations: Any number; those that are the same are simulated once.
            quiet: Whether nothing is said where all are known.

        Raises:
            ConfigError: If one cannot be simulated.
            SystemExit: After Ctrl-C; what has ended is there.
        """
        wanted = {simulation.key: simulation for simulation in simulations}
        missing = [one for key, one in wanted.items() if not self._path(key).is_file()]
        if missing or not quiet:
            progress(f"{len(wanted)} simulations, {len(wanted) - len(missing)} of them done before")
        if missing:
            self._simulate(missing)
        return [json.loads(self._path(one.key).read_bytes()) for one in simulations]

    def of_seeds(
        self, settings: Mapping[str, Document], *, seeds: Sequence[int], gradients_every: int = 0
    ) -> dict[str, list[Result]]:
        """By the name of each setting the results of its runs, in the order of the seeds.

        Raises:
            ConfigError: If one cannot be simulated.
        """
        # Seeds outermost, so that every setting is seen early.
        wanted = [
            Simulation(document=document, seed=seed, gradients_every=gradients_every)
            for seed in seeds
            for document in settings.values()
        ]
        found = self.results(wanted)
        count = len(settings)
        return {name: found[place::count] for place, name in enumerate(settings)}

    def _simulate(self, missing: Sequence[Simulation]) -> None:
        began_s = time.monotonic()
        context = get_context("spawn")
        pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_quietly)
        try:
            pending = {
                pool.submit(_kept, one, self.cache, self._path(one.key)): one for one in missing
            }
            for count, future in enumerate(as_completed(pending), start=1):
                took_s = future.result()
                left_s = (time.monotonic() - began_s) / count * (len(missing) - count)
                name = pending[future].document["federation"]["id"]
                progress(
                    f"[{count}/{len(missing)}] {name}  seed {pending[future].seed}  "
                    f"took {took_s:.0f} s  {left_s / 60:.0f} min left"
                )
        except KeyboardInterrupt:  # of which the workers have died already
            raise SystemExit("stopped: the same command goes on with what is missing") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _path(self, key: str) -> Path:
        return self.cache / "runs" / f"{key}.json"


def _kept(simulation: Simulation, cache: Path, path: Path) -> float:
    """Simulate in a process of its own, and write the result into a file; how long that took.

    The path is the command's, whose key is that of the code it began with.
    """
    result = simulation.run(cache)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = path.with_suffix(".new")
    whole.write_text(json.dumps(result), encoding="utf-8")
    whole.replace(path)
    took_s: float = result["took_s"]
    return took_s


def _quietly() -> None:
    """A worker dies of Ctrl-C without a word, and its nodes keep their warnings to themselves."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    logging.disable(logging.WARNING)


def paper_arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that all of these benchmarks have."""
    parser = arguments_of(description)
    parser.add_argument("--cache", type=Path, default=CACHE, help="where what is done is kept")
    parser.add_argument("--workers", type=int, default=2, help="processes that simulate")
    parser.add_argument(
        "--quick", action="store_true", help="so few rounds and variants that nothing is measured"
    )
    return parser
