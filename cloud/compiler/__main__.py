"""``python -m cloud.compiler MODULE:CLASS --out DIR``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fedtier.commands.extras import needs_extra
from fedtier.errors import EXIT_DONE, FedtierError

_SWITCH: dict[str, Any] = {"action": "store_const", "const": True}  # absent is None, not False


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the options, compile, print the digest; returns the exit code."""
    given = vars(_parser().parse_args(arguments))
    target, out = given.pop("target"), given.pop("out")
    overrides = {name: value for name, value in given.items() if value is not None}
    try:
        with needs_extra("torch"):
            from cloud.compiler.command import compile_by_name
        artefact = compile_by_name(target, out=out, overrides=overrides)
    except FedtierError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    manifest = artefact.manifest
    sys.stdout.write(
        f"{out}: {manifest.name}, {manifest.parameters} parameters, digest {manifest.digest}\n"
    )
    return EXIT_DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m cloud.compiler",
        description="Compile a torch module to an artefact. Options replace what a mapping "
        "ARTEFACT beside the class says.",
    )
    parser.add_argument("target", metavar="MODULE:CLASS", help="a class without arguments")
    parser.add_argument("--out", type=Path, required=True, help="directory to write")
    parser.add_argument("--name", help="what to call the artefact")
    parser.add_argument("--input-shape", type=_numbers, help="of one example, such as 6,128")
    parser.add_argument("--input-dtype", help="float32, or int64 for numbers of words")
    parser.add_argument("--vocabulary", type=int, help="how many int64 inputs there are, from 0")
    parser.add_argument("--labels", type=_words, help="names of classes or outputs, with commas")
    parser.add_argument("--batch", type=int, help="rows of a training batch")
    parser.add_argument("--evaluate-batch", type=int, help="rows of an evaluation batch")
    parser.add_argument("--loss", help="cross_entropy, mse or bce")
    parser.add_argument("--smoothing", type=float, help="of the training loss's labels, 0 to 1")
    parser.add_argument("--momentum", type=float, help="of the optimiser, 0 to below 1")
    parser.add_argument("--nesterov", **_SWITCH, help="look ahead along the momentum")
    parser.add_argument("--weight-decay", type=float, help="pull towards zero, 0 to below 1")
    parser.add_argument("--prox", type=float, help="pull towards an iteration's starting model")
    parser.add_argument("--correction", **_SWITCH, help="take a vector added to the gradient")
    parser.add_argument("--lowering", help="conv, taps or gemm")
    parser.add_argument("--seed", type=int, help="of the initial parameters")
    parser.add_argument("--preprocessing", type=_transforms, help="file with a JSON list")
    parser.add_argument("--augmentation", type=_transforms, help="file with a JSON list")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _transforms(path: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, list) or not all(isinstance(step, dict) for step in content):
        raise argparse.ArgumentTypeError(f"{path} holds no JSON list of objects")
    return content


if __name__ == "__main__":
    sys.exit(main())
