"""``fedtier agent predict``: ask the agent's endpoint, or the model that lies on the disk."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.inference.endpoint import connect, endpoint_of
from edge_agent.inference.inference import inference_directory
from edge_agent.inference.read_requests import Source, read_requests
from edge_agent.inference.requests import parse_request
from edge_agent.inference.store import read_served
from fedtier.config.node_file import NodeFile, load_node_file
from fedtier.errors import ConfigError, LinkError, WireError

Ask = Callable[[bytes], Mapping[str, Any]]
"""From a request's line to its answer."""

_Row = tuple[str, str, str, str]
_WHICH_MODEL = b'{"examples": []}\n'


def print_predictions(
    config: Path, source: str, *, prepared: bool, traits: Sequence[str], as_json: bool
) -> None:
    """Predict every example of a file and print a line for each; of none, the model served.

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
    numbers = _traits(traits)
    given = read_requests(source, prepared=prepared, traits=numbers)
    with _someone_to_ask(file, where=str(config)) as ask:
        described = ask(_WHICH_MODEL)
        if "error" in described:
            raise ConfigError(f"{config}: {described['error']}")
        if given.count is not None:
            recorded = given.count > 0 and not prepared
            _check_traits(numbers, described["traits"], prepared=prepared, recorded=recorded)
        rows: list[_Row] = []
        count = 0
        try:
            for count, (answer, prediction) in enumerate(_predictions(ask, given), 1):
                if as_json:
                    line = json.dumps({"model": answer["model"], **prediction})
                    sys.stdout.write(f"{line}\n")
                else:
                    rows.append((str(count - 1), *_for_people(answer, prediction)))
        finally:  # also what was predicted before one was refused
            sys.stdout.writelines(_aligned(rows))
        if count == 0:
            model = described["model"]
            said = json.dumps({"model": model}) if as_json else f"no example  {_version(model)}"
            sys.stdout.write(f"{said}\n")


def _predictions(ask: Ask, given: Source) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Every prediction, with the answer that it is in."""
    number = 0
    for request in given.requests:
        answer = ask(request)
        if "error" in answer:
            raise _refused(str(answer["error"]), given, first=number)
        for prediction in answer["predictions"]:
            yield answer, prediction
            number += 1


def _refused(error: str, given: Source, *, first: int) -> ConfigError:
    """An answer's error, with examples counted as in the file and not as in the request."""
    of_one = re.match(r"example (\d+)", error)
    if of_one is None:
        return ConfigError(f"{given.name}, from example {first} on: {error}")
    said = f"example {first + int(of_one[1])}{error[of_one.end() :]}"
    hint = f". {given.hint}" if given.hint else ""
    return ConfigError(f"{given.name}: {said}{hint}")


def _check_traits(
    given: Mapping[str, int], known: Sequence[str] | None, *, prepared: bool, recorded: bool
) -> None:
    """Refuse a trait that would change nothing, and ask for one that is needed.

    Args:
        given: By the options.
        known: Those that the model asks for; None where a transform of a package's own may ask
            for others.
        prepared: Whether the examples have had the preprocessing, which alone asks for traits.
        recorded: Whether there are examples that have not.
    """
    if prepared and given:
        raise ConfigError(
            f"--trait {next(iter(given))}: traits are for the preprocessing, which --prepared "
            "leaves out. Leave out one of the two."
        )
    if known is None:
        return
    for name in given:
        if name not in known:
            asked = f"it asks for {', '.join(known)}" if known else "it asks for none"
            raise ConfigError(f"--trait {name}: the served model knows no such trait; {asked}.")
    for name in known:
        if recorded and name not in given:
            raise ConfigError(
                f"the served model asks for the trait {name!r} of what was recorded, a whole "
                f"number. Give it: --trait {name}=0, or whatever it is."
            )


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


def _for_people(answer: Mapping[str, Any], prediction: Mapping[str, Any]) -> tuple[str, str, str]:
    """What is predicted, how likely, and by which model."""
    version = _version(answer["model"])
    if "name" in prediction:
        chance = prediction["probabilities"][prediction["label"]]
        return prediction["name"], f"{100 * chance:.1f} %", version
    shown = prediction.get("probabilities", prediction["outputs"])
    return " ".join(f"{value:.6g}" for value in shown), "", version


def _version(model: Mapping[str, Any]) -> str:
    return f"(round {model['round']}, {model['digest'][:12]}, {model['precision']})"


def _aligned(rows: Sequence[_Row]) -> Iterator[str]:
    """Lines of columns; of numbers, which are to the right, one stands below the other."""
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, said, chance, version in rows:
        cells = [f"{number:>{wide[0]}}", f"{said:<{wide[1]}}", f"{chance:>{wide[2]}}", version]
        yield "  ".join(cell for cell in cells if cell) + "\n"
