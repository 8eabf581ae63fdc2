"""``fedtier compile``: the command's signature; torch is loaded when it is called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedtier.extras import needs_extra
from fedtier.limits import SEED_MAX

if TYPE_CHECKING:
    from cloud.compiler.compile import Compiled

app = typer.Typer(add_completion=False)


@app.command("compile")
def compile_(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="A class made without arguments: net.py:Net or package.mod:Net."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Directory to write.")],
    name: Annotated[str | None, typer.Option(help="What to call the artefact.")] = None,
    input_shape: Annotated[
        str | None, typer.Option(metavar="NUMBERS", help="Of one example, such as 6,128.")
    ] = None,
    input_dtype: Annotated[
        str | None, typer.Option(help="float32, or int64 for numbers that name something.")
    ] = None,
    vocabulary: Annotated[
        int | None, typer.Option(help="With int64, how many different inputs there are, from 0.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Names of the classes, with commas.")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="Examples in a training batch.")] = None,
    evaluate_batch: Annotated[
        int | None, typer.Option(help="Examples in an evaluation batch.")
    ] = None,
    microbatch: Annotated[
        int | None, typer.Option(help="Examples in a part of a batch, for boards short of memory.")
    ] = None,
    loss: Annotated[str | None, typer.Option(help="cross_entropy, mse or bce.")] = None,
    smoothing: Annotated[
        float | None, typer.Option(help="Of the training loss's labels, from 0 to below 1.")
    ] = None,
    momentum: Annotated[
        float | None, typer.Option(help="Share of the last step's direction that is kept.")
    ] = None,
    nesterov: Annotated[
        bool | None, typer.Option("--nesterov", help="Look ahead along the momentum.")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Pull of every step towards zero.")
    ] = None,
    prox: Annotated[
        float | None, typer.Option(help="Pull towards the model an iteration starts from.")
    ] = None,
    correction: Annotated[
        bool | None, typer.Option("--correction", help="Take a vector added to the gradient.")
    ] = None,
    lowering: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="How convolutions are computed: conv, taps or gemm; several with commas.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=SEED_MAX, help="Of the initial parameters.")
    ] = None,
    preprocessing: Annotated[
        Path | None, typer.Option(help="File with a JSON list of transforms.")
    ] = None,
    augmentation: Annotated[
        Path | None, typer.Option(help="File with a JSON list of random changes.")
    ] = None,
) -> None:
    """Compile a torch module for devices; options replace what its ARTEFACT says."""
    given: dict[str, Any] = {
        "name": name,
        "input_shape": None if input_shape is None else _numbers(input_shape),
        "labels": None if labels is None else [word.strip() for word in labels.split(",")],
        "batch": batch,
        "evaluate_batch": evaluate_batch,
        "microbatch": microbatch,
        "input_dtype": input_dtype,
        "vocabulary": vocabulary,
        "loss": loss,
        "smoothing": smoothing,
        "momentum": momentum,
        "nesterov": nesterov,
        "weight_decay": weight_decay,
        "prox": prox,
        "correction": correction,
        "lowering": lowering,
        "seed": seed,
        "preprocessing": None if preprocessing is None else _transforms(preprocessing),
        "augmentation": None if augmentation is None else _transforms(augmentation),
    }
    typer.echo(f"compiling {target} and comparing its gradient with torch's in float64 ...")
    with needs_extra("torch"):
        from cloud.compiler.by_name import compile_by_name
    overrides = {name: value for name, value in given.items() if value is not None}
    compiled = compile_by_name(target, out=out, overrides=overrides)
    for line in _lines(compiled, out):
        typer.echo(line)
    for warning in compiled.warnings:
        typer.echo(f"warning: {target}: {warning}", err=True)


def _lines(compiled: Compiled, out: Path) -> Iterator[str]:
    """What was made, for people."""
    from cloud.compiler.gate import ERROR_MAX

    manifest, gate = compiled.artefact.manifest, compiled.gate
    shape = " x ".join(map(str, manifest.input_shape))
    tensors, size = len(manifest.layout.tensors), 4 * manifest.dimension
    rows = {
        "input": f"{shape}, batches of {manifest.batch}",
        "classes": f"{manifest.classes}: {', '.join(manifest.labels)}",
        "parameters": f"{manifest.dimension:,} in {tensors} tensors, {size:,} bytes as float32",
    }
    if len(manifest.lowerings) > 1:
        rows["lowerings"] = f"{', '.join(manifest.lowerings)}: the first unless a plan says"
    graphs = [name for name in compiled.artefact.files if name.endswith(".onnx")]
    rows |= {name: f"{len(compiled.artefact.files[name]):,} bytes" for name in graphs}
    rows["gradient"] = (
        f"off by {gate.gradient:.1e} of its length from torch's in float64; "
        f"at most {ERROR_MAX:.0e} is let through"
    )
    rows["digest"] = manifest.digest
    width = max(15, 2 + max(map(len, rows)))
    yield f"{out}: {manifest.name}"
    for what, said in rows.items():
        yield f"  {what:<{width}}{said}"


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no list of whole numbers, such as 6,128.", param_hint="--input-shape"
        ) from error


def _transforms(path: Path) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(content, list) or not all(isinstance(step, dict) for step in content):
        raise typer.BadParameter(f"{path} holds no JSON list of objects.")
    return content
