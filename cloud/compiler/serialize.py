"""Write a built graph as ONNX bytes that hold nothing of the machine they were made on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import helper, numpy_helper

from cloud.compiler.graph import GraphBuilder, Operation
from cloud.compiler.value import Value
from fedtier.artefact.manifest import MODEL_DATA_FILE
from fedtier.model.layout import ParameterLayout

OPSET = 18
IR_VERSION = 9  # every onnxruntime from 1.16 on reads it

_TYPES = {
    "float32": onnx.TensorProto.FLOAT,
    "int64": onnx.TensorProto.INT64,
    "bool": onnx.TensorProto.BOOL,
}


def serialize(
    graph: GraphBuilder,
    *,
    name: str,
    outputs: Mapping[str, Value],
    external: ParameterLayout | None = None,
) -> bytes:
    """Write the operations the outputs need, in their order, as an ONNX model.

    Args:
        graph: The built graph.
        name: The graph's name.
        outputs: Output name -> value.
        external: If given, inputs named as its tensors become initialisers whose numbers lie in
            the file ``model.f32`` beside the graph, at the layout's offsets.
    """
    finals = [
        helper.make_node("Identity", [value.name], [output], name=output)
        for output, value in outputs.items()
    ]
    kept = _needed(graph.operations, [value.name for value in outputs.values()])
    used = {name for operation in kept for name in operation.inputs}
    used.update(value.name for value in outputs.values())
    parameters = {} if external is None else {tensor.name: tensor for tensor in external.tensors}
    proto = helper.make_graph(
        [*(_node(operation) for operation in kept), *finals],
        name,
        [_info(value.name, value) for value in graph.inputs if value.name not in parameters],
        [_info(output, value) for output, value in outputs.items()],
        [
            numpy_helper.from_array(array, constant)
            for constant, array in graph.constants.items()
            if constant in used
        ],
    )
    if external is not None:
        proto.initializer.extend(_external(external))
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
    model.producer_name = "fedtier"
    return bytes(model.SerializeToString(deterministic=True))


def _needed(operations: Sequence[Operation], wanted: Sequence[str]) -> list[Operation]:
    names = set(wanted)
    kept: list[Operation] = []
    for operation in reversed(operations):
        if any(value.name in names for value in operation.outputs):
            names.update(operation.inputs)
            kept.append(operation)
    return kept[::-1]


def _node(operation: Operation) -> onnx.NodeProto:
    outputs = [value.name for value in operation.outputs]
    attributes: dict[str, Any] = dict(operation.attributes)
    return helper.make_node(operation.op, operation.inputs, outputs, name=outputs[0], **attributes)


def _info(name: str, value: Value) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[value.dtype], value.shape)


def _external(layout: ParameterLayout) -> list[onnx.TensorProto]:
    tensors = []
    for tensor, offset in zip(layout.tensors, layout.offsets, strict=True):
        proto = onnx.TensorProto(
            name=tensor.name,
            data_type=onnx.TensorProto.FLOAT,
            dims=tensor.shape,
            data_location=onnx.TensorProto.EXTERNAL,
        )
        place = {"location": MODEL_DATA_FILE, "offset": 4 * offset, "length": 4 * tensor.size}
        for key, content in place.items():
            proto.external_data.add(key=key, value=str(content))
        tensors.append(proto)
    return tensors
