"""Models to serve, and devices to judge them."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.graph_process import GraphProcess
from edge_agent.inference.servable import Servable
from edge_agent.kit import Kit, Opened
from edge_agent.lowerings import Trainers
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.evaluate import predict
from fedtier.artefact.find import find_artefact
from fedtier.artefact.manifest import EVALUATE_FILE, INFER_FILE
from fedtier.data.examples import DeviceData, Examples
from fedtier.ids import BootNonce, IterationPath, RunId
from fedtier.model.layout import model_digest
from fedtier.wire.head import Head
from fedtier.wire.plan import CodecSpec, Plan

SHAPE = (6, 128)


def bare_imu() -> Artefact:
    """The demo's model without its preprocessing."""
    shipped = find_artefact("package:imu")
    manifest = dataclasses.replace(shipped.manifest, preprocessing=(), augmentation=())
    return Artefact.verify(manifest, shipped.files, where="bare")


def servable(artefact: Artefact, *, round: int = 0, scale: float = 1.0, **changes: Any) -> Servable:
    """The initial model times a number, as the one that opens a round."""
    w = (artefact.initial() * np.float32(scale)).astype(np.float32)
    made = Servable(
        run=RunId(1), round=round, model=model_digest(artefact.layout.digest, w),
        precision="float32", manifest=artefact.manifest, fitted=artefact.manifest.preprocessing,
        graph=artefact.files[INFER_FILE], parameters=w.tobytes(),
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


def examples(count: int, *, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(count, *shape)).astype(np.float32)


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(16)
    return listener


def head_of(artefact: Artefact, model: str, *, path: str, run: int = 1, epoch: int = 0) -> Head:
    """The head of a gateway's cell."""
    plan = Plan(
        seed=1, rounds=9, tau=(2, 2), codecs=(CodecSpec(name="identity"),) * 2,
        schedule="constant", mu=0.1, floor=1.0,
    )  # fmt: skip
    return Head(
        nonce=BootNonce(1), seq=1, run=RunId(run), epoch=epoch, path=IterationPath.parse(path),
        state="open", task="train", model=model, layout=artefact.layout.digest,
        dimension=artefact.manifest.dimension, artefact=artefact.digest, blobs=(), tier=1,
        first_step=0, p0=0.0, p1=0.1, plan=plan,
    )  # fmt: skip


def kit_of(artefact: Artefact, *, seed: int = 1, held: int = 40) -> Kit:
    """A device whose hold-out is what the initial model makes of noise, so it is right on all."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(held, *artefact.manifest.input_shape)).astype(np.float32)
    y = predict(artefact.evaluate_session(), artefact.initial(), x).argmax(axis=1)
    some = Examples(x=x, y=y.astype(np.int64))
    graphs = GraphProcess(artefact.files)
    opened = Opened(
        graphs=graphs, evaluate=graphs.graph(EVALUATE_FILE), trainers=Trainers(artefact, graphs)
    )
    return Kit(
        artefact=artefact, opened=opened, weight=1,
        data=DeviceData(
            train=some, holdout=some, untrained=(), fitted=artefact.manifest.preprocessing,
            digest=f"{seed:064x}",
        ),
    )  # fmt: skip
