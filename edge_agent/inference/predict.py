"""``fedtier agent predict``: ask the agent's endpoint, or the model that lies on the disk."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.inference.endpoint import connect, endpoint_of
from edge_agent.inference.inference import inference_directory
from edge_agent.inference.read_requests import read_requests
from edge_agent.inference.requests import parse_request
from edge_agent.inference.store import read_served
from fedtier.config.node_file import NodeFile, load_node_file
from fedtier.errors import ConfigError, LinkError, WireError

Ask = Callable[[bytes], Mapping[str, Any]]
"""From a request's line to its answer."""


def print_predictions(
    config: Path, source: str, *, prepared: bool, traits: Sequence[str], as_json: bool
) -> None:
    """Predict every example of a file and print a line for each.

    Args:
        config: The device's node file.
        source: The examples' file; ``-`` is stdin.
        prepared: Whether they have had the preprocessing.
        traits: ``NAME=NUMBER`` each.
        as_json: Whether to print JSON.

    Raises:
        ConfigError: If a file cannot be, no model is there, or an example is refused.
        LinkError: If the agent goes away meanwhile.
    """
    file = load_node_file(config, role="agent")
    given = read_requests(source, prepared=prepared, traits=_traits(traits))
    with _someone_to_ask(file, where=str(config)) as ask:
        number = 0
        for request in given.requests:
            answer = ask(request)
            if "error" in answer:
                error = str(answer["error"])
                hint = f". {given.hint}" if given.hint and error.startswith("example") else ""
                raise ConfigError(f"{given.name}, from example {number} on: {error}{hint}")
            for prediction in answer["predictions"]:
                line = _as_json(answer, prediction) if as_json else _for_people(answer, prediction)
                sys.stdout.write(f"{line}\n" if as_json else f"{number}  {line}\n")
                number += 1


@contextmanager
def _someone_to_ask(file: NodeFile, *, where: str) -> Iterator[Ask]:
    try:
        link = connect(endpoint_of(file))
    except OSError:
        yield _stored_model(file, where=where)
        return
    with link, link.makefile("rb") as answers:

        def ask(request: bytes) -> Mapping[str, Any]:
            try:
                link.sendall(request)
                line = answers.readline()
            except OSError as error:
                raise LinkError(f"the agent went away: {error.strerror}. Try again.") from error
            if not line:
                raise LinkError("the agent went away while it was asked. Try again.")
            answer: Mapping[str, Any] = json.loads(line)
            return answer

        yield ask


def _stored_model(file: NodeFile, *, where: str) -> Ask:
    served = read_served(inference_directory(Path(file.node.state_dir)))
    if served is None:
        hint = "" if file.inference is not None else " Add the table [inference] to its node file."
        raise ConfigError(
            f"{where}: nobody serves at {endpoint_of(file)}, and this device has not accepted a "
            f"model yet: it judges one in every round it takes part in.{hint}"
        )
    from edge_agent.inference.open_model import OpenModel  # onnxruntime, which asking needs not

    sys.stderr.write("no agent serves here: this is the model it accepted last\n")
    model = OpenModel(served.servable, threads=file.board.threads)

    def ask(line: bytes) -> Mapping[str, Any]:
        try:
            return model.answer(parse_request(line.rstrip()))
        except WireError as error:
            return {"error": str(error)}

    return ask


def _traits(given: Sequence[str]) -> dict[str, int]:
    found = {}
    for text in given:
        name, _, number = text.partition("=")
        if not name or not number.removeprefix("-").isdecimal():
            raise ConfigError(f"--trait {text} is not NAME=NUMBER, such as side=1.")
        found[name] = int(number)
    return found


def _as_json(answer: Mapping[str, Any], prediction: Mapping[str, Any]) -> str:
    return json.dumps({"model": answer["model"], **prediction})


def _for_people(answer: Mapping[str, Any], prediction: Mapping[str, Any]) -> str:
    model = answer["model"]
    version = f"(round {model['round']}, {model['digest'][:12]}, {model['precision']})"
    if "name" in prediction:
        chance = prediction["probabilities"][prediction["label"]]
        return f"{prediction['name']}  {100 * chance:.1f} %  {version}"
    shown = prediction.get("probabilities", prediction["outputs"])
    return f"{' '.join(f'{value:.6g}' for value in shown)}  {version}"
