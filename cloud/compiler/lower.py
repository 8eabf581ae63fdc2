"""Walk a recorded graph and write every operation of it with its lowering."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx
from torch._decomp import core_aten_decompositions

from cloud.compiler import ops
from cloud.compiler.graph import GraphBuilder
from cloud.compiler.ops.batch_norm import split_batch_norm
from cloud.compiler.ops.conversion import DTYPES
from cloud.compiler.registry import LOWERINGS, Lowered, UnsupportedError
from cloud.compiler.trace import Trace, module_of
from cloud.compiler.value import Value
from fedtier.errors import ConfigError

assert ops.__all__, "importing ops fills the table"


@functools.cache  # torch takes a tenth of a second to gather its own, more than it takes to record
def decompositions() -> Mapping[Any, Callable[..., Any]]:
    """How torch itself splits operations, for those that have no lowering of their own."""
    table: dict[Any, Callable[..., Any]] = dict(core_aten_decompositions())
    table[torch.ops.aten.native_batch_norm.default] = split_batch_norm
    return {op: split for op, split in table.items() if str(op) not in LOWERINGS}


def lower(graph: GraphBuilder, trace: Trace, arguments: Sequence[Value]) -> list[Value]:
    """Add a recorded graph's operations to a graph under construction.

    Args:
        graph: Where to add them.
        trace: What was recorded.
        arguments: Values for its placeholders, in order.

    Returns:
        The values of its results, in order.

    Raises:
        ConfigError: If an operation has no lowering, naming it and its module.
    """
    values: dict[fx.Node, Lowered] = {}
    remaining = iter(arguments)
    for node in trace.module.graph.nodes:
        if node.op == "placeholder":
            values[node] = next(remaining)
        elif node.op == "get_attr":
            values[node] = constant_of(graph, getattr(trace.module, str(node.target)))
        elif node.op == "output":
            results = _filled(node.args[0], values)
            return list(results) if isinstance(results, tuple | list) else [results]
        else:
            values[node] = _call(graph, node, values)
    raise AssertionError("the recorded graph has no output")


def _call(graph: GraphBuilder, node: fx.Node, values: Mapping[fx.Node, Lowered]) -> Lowered:
    arguments = _filled(node.args, values)
    keywords = _filled(node.kwargs, values)
    if node.target is operator.getitem:
        picked: Value = arguments[0][arguments[1]]
        return picked
    lowering = LOWERINGS.get(_written_anew(str(node.target)))
    if lowering is None:
        raise ConfigError(
            f"{_place(node)}: operation {node.target} cannot be compiled. Use layers made of "
            f"operations that can: {', '.join(sorted(_short_names()))}."
        )
    try:
        return lowering(graph, *arguments, **keywords)
    except UnsupportedError as error:
        raise ConfigError(f"{_place(node)}: operation {node.target}: {error}") from error


def _written_anew(name: str) -> str:
    """An operation that overwrites its first argument, as the one that makes a new tensor.

    Later nodes refer to the result either way.
    """
    operation, _, variant = name.rpartition(".")
    return f"{operation.removesuffix('_')}.{variant}"


def _filled(argument: Any, values: Mapping[fx.Node, Lowered]) -> Any:  # noqa: ANN401
    fill: Any = fx.node.map_arg
    return fill(argument, lambda node: values[node])


def constant_of(graph: GraphBuilder, tensor: torch.Tensor) -> Value:
    """A tensor's numbers written into the graph.

    Raises:
        ConfigError: If graphs have no such type.
    """
    if tensor.dtype not in DTYPES:
        raise ConfigError(
            f"a constant of the module has type {tensor.dtype}. Use float32, int64 or bool."
        )
    return graph.constant(tensor.detach().numpy(), DTYPES[tensor.dtype])


def _place(node: fx.Node) -> str:
    """The module an operation came from; for a backward one, that of its latest named input."""
    if module_of(node):
        return f"module {module_of(node)}"
    pending = list(node.all_input_nodes)
    seen: set[fx.Node] = set()
    while pending:
        candidate = pending.pop()
        if module_of(candidate):
            return f"module {module_of(candidate)}, backward"
        if candidate not in seen:
            seen.add(candidate)
            pending.extend(candidate.all_input_nodes)
    return "the module"


def _short_names() -> set[str]:
    names = {name.split(".")[1] for name in LOWERINGS}
    return {name for name in names if not name.endswith("_backward") and not name.startswith("_")}
