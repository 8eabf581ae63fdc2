"""Write what an optimiser does with a gradient as ONNX operations."""

from __future__ import annotations

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.value import Value
from fedtier.artefact.optimiser import Optimiser


def optimise(
    graph: GraphBuilder, optimiser: Optimiser, *, w: Value, gradient: Value, mu: Value
) -> dict[str, Value]:
    """Add one step; ``optimiser.inputs`` become inputs of the graph.

    Args:
        graph: Where to add it.
        optimiser: Whose formula.
        w: Parameters, shape ``(p,)``.
        gradient: Of the loss, shape ``(p,)``.
        mu: Step size, shape ``()``.

    Returns:
        ``w_next``, and ``velocity_next`` where there is momentum.
    """
    given = {name: graph.input(name, w.shape, "float32") for name in optimiser.inputs}
    if optimiser.weight_decay:
        gradient = _plus(graph, gradient, optimiser.weight_decay, w)
    if optimiser.prox:
        gradient = _plus(graph, gradient, optimiser.prox, graph.binary("Sub", w, given["anchor"]))
    if optimiser.correction:
        gradient = graph.binary("Add", gradient, given["correction"])
    direction, outputs = gradient, {}
    if optimiser.momentum:
        direction = _plus(graph, gradient, optimiser.momentum, given["velocity"])
        outputs["velocity_next"] = direction
    if optimiser.nesterov:
        direction = _plus(graph, gradient, optimiser.momentum, direction)
    step = graph.binary("Mul", direction, mu)
    return {"w_next": graph.binary("Sub", w, step), **outputs}


def _plus(graph: GraphBuilder, a: Value, factor: float, b: Value) -> Value:
    return graph.binary("Add", a, graph.binary("Mul", b, factor))
