"""LeNet with Flower: ``flower.py server|client|infer|cost ...``, run by an environment of its own.

The server is Flower's, with FedAvg over gRPC on loopback; the client a ``NumPyClient`` that trains
with plain torch. It takes nothing of this project but the net beside it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flwr
import numpy as np
import torch
from lenet import BATCH, MU, make_lenet
from torch.nn import functional

REST_S = 3.0  # between rounds, long enough to be looked at
Weights = list[np.ndarray]


class Client(flwr.client.NumPyClient):
    """Trains and evaluates on one device's examples."""

    def __init__(self, data: Path) -> None:
        torch.set_num_threads(1)
        with np.load(data) as content:
            self._x = torch.from_numpy(content["x"])
            self._y = torch.from_numpy(content["y"])
        self._net = make_lenet()

    def get_parameters(self, config: dict[str, Any]) -> Weights:
        """The net's arrays."""
        return [array.numpy() for array in self._net.state_dict().values()]

    def fit(self, parameters: Weights, config: dict[str, Any]) -> tuple[Weights, int, dict]:
        """Some steps of SGD."""
        self._load(parameters)
        self._net.train()
        optimiser = torch.optim.SGD(self._net.parameters(), lr=MU)
        for rows in self._batches(int(config["steps"])):
            optimiser.zero_grad()
            functional.cross_entropy(self._net(self._x[rows]), self._y[rows]).backward()
            optimiser.step()
        return self.get_parameters({}), len(self._x), {}

    def evaluate(self, parameters: Weights, config: dict[str, Any]) -> tuple[float, int, dict]:
        """Loss and accuracy."""
        self._load(parameters)
        self._net.eval()
        with torch.no_grad():
            parts = zip(self._x.split(BATCH), self._y.split(BATCH), strict=True)
            losses = [float(functional.cross_entropy(self._net(x), y)) for x, y in parts]
        return sum(losses) / len(losses), len(self._x), {}

    def _load(self, parameters: Weights) -> None:
        names = self._net.state_dict()
        tensors = (torch.from_numpy(np.array(array)) for array in parameters)
        self._net.load_state_dict(dict(zip(names, tensors, strict=True)))

    def _batches(self, count: int) -> Iterator[torch.Tensor]:
        order = torch.randperm(len(self._x))
        for number in range(count):
            yield order[torch.arange(number * BATCH, (number + 1) * BATCH) % len(order)]


def serve(address: str, rounds: int, steps: int) -> None:
    """FedAvg with one client; rests after every round, and says when."""

    def rest(number: int, *_: object) -> None:
        if number:
            say("rest")
            time.sleep(REST_S)
            say("go on")

    strategy = flwr.server.strategy.FedAvg(
        min_fit_clients=1, min_available_clients=1, min_evaluate_clients=1, evaluate_fn=rest,
        on_fit_config_fn=lambda number: {"steps": steps},
    )  # fmt: skip
    config = flwr.server.ServerConfig(num_rounds=rounds)
    flwr.server.start_server(server_address=address, config=config, strategy=strategy)


def say(what: str) -> None:
    """Tell whoever started this."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def main() -> None:
    """Do what the first argument says."""
    what, *arguments = sys.argv[1:]
    if what == "server":
        serve(arguments[0], int(arguments[1]), int(arguments[2]))
        return
    client = Client(Path(arguments[0]))
    weights = client.get_parameters({})
    if what == "client":
        flwr.client.start_client(server_address=arguments[1], client=client.to_client())
    elif what == "infer":
        for _ in range(5):
            client.evaluate(weights, {})
        say("done")
        sys.stdin.readline()
    else:
        client.fit(weights, {"steps": 20})
        steps, began_s = int(arguments[1]), time.process_time()
        client.fit(weights, {"steps": steps})
        say(json.dumps({"cpu_ms_per_step": 1e3 * (time.process_time() - began_s) / steps}))


if __name__ == "__main__":
    main()
