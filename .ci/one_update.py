"""One training step and one update on this machine, to be compared with another machine's.

    python one_update.py make FILE.npz [OTHER.npz]    # with the installed fedtier
    python one_update.py compare OURS.npz THEIRS.npz

Two processors need not add in the same order, nor need two builds of onnxruntime. So models and
updates are compared within a tolerance; what fedtier itself computes, an update from a given delta,
must be the same to the bit, and is made of OTHER's delta too.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

STEPS = 4  # of the update; the demo's tau
LEVELS, BUCKET = 7, 128  # the demo's link 1

# Sums of up to some thousand float32 products in another order differ by some 1e-7 of their size,
# and steps pass that on to one another. A wrong kernel or a missing one is off by 1e-1 and more.
MODEL_TOLERANCE = 1e-5  # of how far the model moved
# A coordinate next to its rounding draw goes to the other of two neighbouring levels.
OTHER_LEVEL_MAX = 1e-3  # share of the coordinates


def make(out: Path, other: Path | None) -> None:
    """Train one step, then four; encode the update."""
    import onnxruntime

    from edge_agent.trainer_onnx import OnnxTrainer
    from fedtier.artefact.find import find_artefact
    from fedtier.artefact.schedule import Schedule
    from fedtier.artefact.trainer import TrainTask
    from fedtier.data.examples import Examples
    from fedtier.draws import draw_key
    from fedtier.ids import IterationPath, NodeId
    from fedtier.quantize.registry import make_codec

    artefact = find_artefact("package:imu")
    trainer = OnnxTrainer(artefact)
    y = np.arange(64) % artefact.manifest.classes
    number = np.arange(64 * 6 * 128).reshape(64, 6, 128)
    x = ((number * (3 + y[:, None, None]) % 257 - 128) / 64).astype(np.float32)  # exact anywhere
    start = artefact.initial()

    def after(steps: int) -> np.ndarray:
        task = TrainTask(
            model=start, seed=1, path=IterationPath((0,)), node=NodeId("watch"), steps=steps,
            first_step=0, round_steps=steps, schedule=Schedule(kind="constant", mu=0.4),
        )  # fmt: skip
        trained = trainer.train(task, Examples(x=x, y=y), cancelled=lambda: False)
        assert trained is not None
        return trained.model

    codec = make_codec("qsgd", {"levels": LEVELS, "bucket": BUCKET})
    key = draw_key(seed=1, path="r0", node="watch", tensor="delta", purpose="rounding")
    delta = after(STEPS) - start
    deltas = {"update": delta}
    if other is not None:
        with np.load(other) as theirs:
            deltas["update_of_theirs"] = theirs["delta"]
    updates = {name: codec.encode(each, key) for name, each in deltas.items()}
    np.savez(
        out,
        start=start,
        step=after(1),
        delta=delta,
        decoded=codec.decode(updates["update"].sections, delta.size),
        machine=np.array(
            f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, "
            f"onnxruntime {onnxruntime.__version__}"
        ),
        **{k: np.frombuffer(b"".join(u.sections), np.uint8) for k, u in updates.items()},
    )


def compare(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> bool:
    """Print what differs, and whether it is within the tolerances."""
    moved = ours["step"] - ours["start"]
    step = np.linalg.norm(ours["step"] - theirs["step"]) / np.linalg.norm(moved)
    delta = np.linalg.norm(ours["delta"] - theirs["delta"]) / np.linalg.norm(ours["delta"])
    other_level = float((np.rint(_levels(ours) - _levels(theirs)) != 0).mean())
    farthest = float(np.abs(_levels(ours) - _levels(theirs)).max())
    same = bool((ours["update"] == theirs["update_of_theirs"]).all())
    rows = [
        ("one step: distance / how far the model moved", step, step <= MODEL_TOLERANCE),
        (f"{STEPS} steps: distance / how far the model moved", delta, delta <= MODEL_TOLERANCE),
        ("update: share of coordinates on another level", other_level,
         other_level <= OTHER_LEVEL_MAX),
        ("update: farthest, in levels", farthest, farthest < 1.5),
        ("update of one and the same delta: equal bits", same, same),
        ("(one step: coordinates with equal bits)",
         float((ours["step"] == theirs["step"]).mean()), True),
    ]  # fmt: skip
    for who in (ours, theirs):
        sys.stdout.write(f"{who['machine']}\n")
    for text, value, fine in rows:
        shown = value if isinstance(value, bool) else f"{value:.2e}"
        sys.stdout.write(f"{text:50} {shown!s:>9}  {'ok' if fine else 'NOT WITHIN TOLERANCE'}\n")
    return all(fine for _, _, fine in rows)


def _levels(made: Mapping[str, np.ndarray]) -> np.ndarray:
    """The decoded update in units of its levels, bucket by bucket."""
    decoded = made["decoded"].astype(np.float64)
    buckets = np.pad(decoded, (0, -len(decoded) % BUCKET)).reshape(-1, BUCKET)
    delta = np.pad(made["delta"].astype(np.float64), (0, -len(decoded) % BUCKET))
    norms = np.linalg.norm(delta.reshape(-1, BUCKET), axis=1, keepdims=True)
    return buckets / np.where(norms > 0, norms, 1) * LEVELS


if __name__ == "__main__":
    what, first, *rest = sys.argv[1:]
    if what == "make":
        make(Path(first), Path(rest[0]) if rest else None)
    else:
        with np.load(first) as ours_made, np.load(rest[0]) as theirs_made:
            sys.exit(0 if compare(ours_made, theirs_made) else 1)
