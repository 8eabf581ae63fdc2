"""Recorded operations that write into a part of a tensor, rewritten as ones that make a new tensor.

A graph under construction knows values and no memory. Where a whole tensor is overwritten, later
nodes refer to the result by themselves. A write into a view, as in ``rows[:, 0] = x``, changes a
tensor that later nodes refer to by its old name.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx
from torch.fx import traceback as fx_traceback
from torch.fx.experimental.proxy_tensor import make_fx


def without_writes(graph: fx.GraphModule) -> fx.GraphModule:
    """The same computation without writes into views; the graph itself where it has none."""
    order = {node: place for place, node in enumerate(graph.graph.nodes)}
    if not any(_shows(node, order) for node in order):
        return graph
    interpreter: Any = fx.Interpreter(graph)
    functional = torch.func.functionalize(interpreter.run, remove="mutations")
    inputs = [node.meta["val"] for node in order if node.op == "placeholder"]
    with fx_traceback.preserve_node_meta():
        return make_fx(functional, tracing_mode="fake", _allow_non_fake_inputs=True)(
            *(torch.zeros(value.shape, dtype=value.dtype) for value in inputs)
        )


def _shows(node: fx.Node, order: dict[fx.Node, int]) -> bool:
    """Whether a node writes into a view of something that is used later."""
    if _effect_on_first(node) != "write":
        return False
    base = node.args[0]
    viewed = False
    while isinstance(base, fx.Node) and _effect_on_first(base) == "view":
        base, viewed = base.args[0], True
        if isinstance(base, fx.Node) and any(order[user] > order[node] for user in base.users):
            return True
    # The whole of an input may be seen from outside.
    return viewed and isinstance(base, fx.Node) and base.op == "placeholder"


def _effect_on_first(node: fx.Node) -> str | None:
    """What an operation does to its first argument's memory: ``view`` or ``write`` it, or none."""
    if node.target is operator.getitem:
        return "view"
    if not isinstance(node.target, torch._ops.OpOverload) or not node.target._schema.arguments:
        return None
    alias = node.target._schema.arguments[0].alias_info
    if alias is None:
        return None
    return "write" if alias.is_write else "view"
