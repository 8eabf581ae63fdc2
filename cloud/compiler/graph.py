"""Build an ONNX graph of static shapes that comes out the same, byte for byte, every time.

Every operation is simplified as it is added: an equal one is reused, a reshape to the same shape
or a transposition of nothing vanishes, reshapes and transpositions in a row become one, and
broadcasts are left to the operation that follows. What no output needs is dropped at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloud.compiler.value import Dtype, Value, broadcast_shape, normal_axis

Attribute = int | float | str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """One node: an ONNX operator, its inputs by name (``""`` for one left out), its results."""

    op: str
    inputs: tuple[str, ...]
    attributes: tuple[tuple[str, Attribute], ...]
    outputs: tuple[Value, ...]


class GraphBuilder:
    """Collects operations in an order in which they can run.

    Attributes:
        lowering: How convolutions are computed; read by the convolution's lowering alone.
        operations: What was added so far.
        constants: Name -> array.
        inputs: The graph's inputs in order.
    """

    def __init__(self, *, lowering: str) -> None:
        self.lowering = lowering
        self.operations: list[Operation] = []
        self.constants: dict[str, npt.NDArray[np.generic]] = {}
        self.inputs: list[Value] = []
        self._seen: dict[object, tuple[Value, ...]] = {}
        self._origin: dict[str, tuple[str, Value]] = {}
        self._orders: dict[str, tuple[int, ...]] = {}
        self._row_sums: dict[str, tuple[tuple[Value, ...], ...]] = {}

    def input(self, name: str, shape: Sequence[int], dtype: Dtype) -> Value:
        """Declare an input of the graph."""
        value = Value(name, tuple(shape), dtype)
        self.inputs.append(value)
        return value

    def constant(self, array: npt.ArrayLike, dtype: Dtype) -> Value:
        """A constant; equal ones are kept once."""
        content = np.ascontiguousarray(np.asarray(array, dtype=dtype))
        content = content.reshape(np.shape(array))  # ascontiguousarray makes a 0-d array 1-d
        key = ("constant", dtype, content.shape, content.tobytes())
        if key not in self._seen:
            value = Value(f"c{len(self.constants)}", content.shape, dtype)
            self.constants[value.name] = content
            self._seen[key] = (value,)
        return self._seen[key][0]

    def emit(
        self,
        op: str,
        inputs: Sequence[Value | None],
        *shapes: tuple[int, ...],
        dtype: Dtype = "float32",
        **attributes: Attribute,
    ) -> tuple[Value, ...]:
        """Add an operation, or find the equal one added before; one result for each shape."""
        names = tuple("" if value is None else value.name for value in inputs)
        sorted_attributes = tuple(sorted(attributes.items()))
        key = (op, names, sorted_attributes)
        if key not in self._seen:
            number = len(self.operations)
            outputs = tuple(
                Value(f"v{number}" if index == 0 else f"v{number}.{index}", shape, dtype)
                for index, shape in enumerate(shapes)
            )
            self.operations.append(Operation(op, names, sorted_attributes, outputs))
            self._seen[key] = outputs
        return self._seen[key]

    def one(
        self,
        op: str,
        inputs: Sequence[Value | None],
        shape: tuple[int, ...],
        dtype: Dtype = "float32",
        **attributes: Attribute,
    ) -> Value:
        """Add an operation with one result."""
        return self.emit(op, inputs, shape, dtype=dtype, **attributes)[0]

    # Shapes

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """The same elements in the same order under another shape."""
        wanted = tuple(shape)
        source = self._source(x, "Reshape")
        assert source.size == Value("", wanted, x.dtype).size, (x, wanted)
        if source.shape == wanted:
            return source
        return self._remember(
            "Reshape",
            source,
            self.one("Reshape", [source, self.constant(wanted, "int64")], wanted, x.dtype),
        )

    def transpose(self, x: Value, order: Sequence[int]) -> Value:
        """Axis i of the result is axis ``order[i]`` of ``x``."""
        wanted = tuple(normal_axis(axis, x.rank) for axis in order)
        shape = tuple(x.shape[axis] for axis in wanted)
        moved = [axis for axis in wanted if x.shape[axis] != 1]
        if moved == sorted(moved):  # only axes of size 1 move: the elements stay where they are
            return self.reshape(x, shape)
        source = self._source(x, "Transpose")
        if source is not x:
            inner = self._orders[x.name]
            return self.transpose(source, [inner[axis] for axis in wanted])
        result = self.one("Transpose", [x], shape, x.dtype, perm=wanted)
        self._orders[result.name] = wanted
        return self._remember("Transpose", x, result)

    def expand(self, x: Value, shape: Sequence[int]) -> Value:
        """Repeat along axes of size 1; arithmetic with the result uses ``x`` itself."""
        wanted = tuple(shape)
        if x.shape == wanted:
            return x
        source = self._source(x, "Expand")
        result = self.one("Expand", [source, self.constant(wanted, "int64")], wanted, x.dtype)
        return self._remember("Expand", source, result)

    def slice(self, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
        """``x[..., start:stop:step, ...]`` with ``0 <= start < stop <= size``."""
        axis = normal_axis(axis, x.rank)
        assert 0 <= start < stop <= x.shape[axis], (x, axis, start, stop)
        assert step >= 1, step
        if (start, stop, step) == (0, x.shape[axis], 1):
            return x
        length = -(-(stop - start) // step)
        bounds = [self.constant([number], "int64") for number in (start, stop, axis, step)]
        return self.one("Slice", [x, *bounds], _with(x.shape, axis, length), x.dtype)

    def concat(self, parts: Sequence[Value], axis: int) -> Value:
        """Join along an axis."""
        axis = normal_axis(axis, parts[0].rank)
        if len(parts) == 1:
            return parts[0]
        length = sum(part.shape[axis] for part in parts)
        shape = _with(parts[0].shape, axis, length)
        return self.one("Concat", parts, shape, parts[0].dtype, axis=axis)

    def gather(self, x: Value, places: Sequence[int], axis: int) -> Value:
        """``x[..., places, ...]``: what lies at these places of an axis, in this order."""
        axis = normal_axis(axis, x.rank)
        indices = self.constant(list(places), "int64")
        return self.one(
            "Gather", [x, indices], _with(x.shape, axis, len(places)), x.dtype, axis=axis
        )

    def pad(
        self, x: Value, before: Sequence[int], after: Sequence[int], content: float = 0.0
    ) -> Value:
        """Put zeros, or another number, around every axis; a negative number crops."""
        if not any(before) and not any(after):
            return x
        shape = tuple(b + s + a for b, s, a in zip(before, x.shape, after, strict=True))
        widths = self.constant([*before, *after], "int64")
        inputs = [x, widths] if content == 0 else [x, widths, self.constant(content, x.dtype)]
        return self.one("Pad", inputs, shape, x.dtype)

    def split(self, x: Value, lengths: Sequence[int], axis: int) -> tuple[Value, ...]:
        """Cut along an axis into parts of the given lengths."""
        axis = normal_axis(axis, x.rank)
        if len(lengths) == 1:
            return (x,)
        shapes = [_with(x.shape, axis, length) for length in lengths]
        inputs = [x, self.constant(list(lengths), "int64")]
        return self.emit("Split", inputs, *shapes, dtype=x.dtype, axis=axis)

    # Arithmetic

    def unary(
        self, op: str, x: Value, dtype: Dtype | None = None, **attributes: Attribute
    ) -> Value:
        """An operation on every element by itself."""
        source = self._source(x, "Expand")
        result = self.one(op, [source], source.shape, dtype or x.dtype, **attributes)
        return self.expand(result, x.shape)

    def binary(
        self, op: str, a: Value | float, b: Value | float, dtype: Dtype | None = None
    ) -> Value:
        """An operation on pairs of elements, with broadcasting; one of them may be a number.

        Axes of size 1 at the end of both are left out, for with them onnxruntime goes through the
        elements one at a time.
        """
        if op == "Add" and isinstance(a, Value) and isinstance(b, Value):
            joined = self._joined_rows(a, b)
            if joined is not None:
                return joined
        kind = next(operand.dtype for operand in (a, b) if isinstance(operand, Value))
        left = a if isinstance(a, Value) else self.constant(a, kind)
        right = b if isinstance(b, Value) else self.constant(b, kind)
        shape = broadcast_shape(left.shape, right.shape)
        left, right = self._source(left, "Expand"), self._source(right, "Expand")
        narrow = broadcast_shape(left.shape, right.shape)
        ones = _trailing_ones(narrow)
        pair = [self._without_last(operand, ones) for operand in (left, right)]
        short = broadcast_shape(pair[0].shape, pair[1].shape)
        result = self.one(op, pair, short, dtype or kind)
        return self.expand(self.reshape(result, _aligned(narrow, shape)), shape)

    def where(self, mask: Value, a: Value | float, b: Value | float) -> Value:
        """``a`` where the mask is true, else ``b``, with broadcasting; one may be a number."""
        kind = next(operand.dtype for operand in (a, b) if isinstance(operand, Value))
        values = [
            operand if isinstance(operand, Value) else self.constant(operand, kind)
            for operand in (mask, a, b)
        ]
        values = [self._source(value, "Expand") for value in values]
        wide = [operand.shape for operand in (mask, a, b) if isinstance(operand, Value)]
        narrow = broadcast_shape(*(value.shape for value in values))
        result = self.one("Where", values, narrow, kind)
        return self.expand(result, broadcast_shape(*wide))

    def reduce(self, op: str, x: Value, axes: Sequence[int], *, keep: bool) -> Value:
        """A sum, mean or maximum over axes."""
        which = sorted(normal_axis(axis, x.rank) for axis in axes)
        if not which:
            return x
        kept = tuple(1 if axis in which else size for axis, size in enumerate(x.shape))
        short = self._without_last(x, min(_trailing_ones(x.shape), x.rank - 1 - which[-1]))
        shape = kept[: short.rank]
        result = self.one(op, [short, self.constant(which, "int64")], shape, x.dtype, keepdims=1)
        if (op, which, short.rank) == ("ReduceSum", [0], 2):
            self._row_sums[result.name] = ((short,),)
        return self.reshape(result, kept if keep else _without(x.shape, which))

    def matmul(self, a: Value, b: Value) -> Value:
        """Matrix product over the last two axes, broadcast over the others; ranks >= 2."""
        assert a.shape[-1] == b.shape[-2], (a, b)
        lead = broadcast_shape(a.shape[:-2], b.shape[:-2])
        return self.one("MatMul", [a, b], (*lead, a.shape[-2], b.shape[-1]))

    def gemm(
        self,
        a: Value,
        b: Value,
        bias: Value | None = None,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
    ) -> Value:
        """``a b + bias`` of two matrices, either one transposed first."""
        rows, inner = a.shape[::-1] if transpose_a else a.shape
        inner_b, columns = b.shape[::-1] if transpose_b else b.shape
        assert inner == inner_b, (a, b)
        inputs = [a, b] if bias is None else [a, b, bias]
        result = self.one(
            "Gemm", inputs, (rows, columns), transA=int(transpose_a), transB=int(transpose_b)
        )
        if transpose_a and not transpose_b and bias is None:
            self._row_sums[result.name] = ((a, b),)
        return result

    def untransposed(self, x: Value) -> tuple[Value, bool]:
        """A matrix before its transposition, and whether there was one."""
        source = self._source(x, "Transpose")
        return source, source is not x

    def _without_last(self, x: Value, axes: int) -> Value:
        return self.reshape(x, x.shape[: max(0, x.rank - axes)])

    def _joined_rows(self, a: Value, b: Value) -> Value | None:
        """Two sums over rows added up, as one sum over the rows of both; else nothing.

        ``A1^T B1 + A2^T B2 = (A1; A2)^T (B1; B2)``: the weights of a recurrent layer get such a
        term at each step, and one long product is several times as fast as many short ones.
        """
        inner = [self._source(x, "Reshape") for x in (a, b)]
        found = [self._row_sums.get(x.name) for x in inner]
        if found[0] is None or found[1] is None or a.shape != b.shape:
            return None
        terms = (*found[0], *found[1])
        columns = {tuple(part.shape[1] for part in term) for term in terms}
        if len(columns) != 1:
            return None
        rows = [self.concat(parts, 0) for parts in zip(*terms, strict=True)]
        if len(rows) == 1:
            result = self.reduce("ReduceSum", rows[0], [0], keep=True)
        else:
            result = self.gemm(*rows, transpose_a=True)
        self._row_sums[result.name] = terms
        return self.reshape(result, a.shape)

    # What an earlier step did, so that this one can undo or join it

    def _remember(self, kind: str, source: Value, result: Value) -> Value:
        self._origin[result.name] = (kind, source)
        return result

    def _source(self, x: Value, kind: str) -> Value:
        found = self._origin.get(x.name)
        return found[1] if found is not None and found[0] == kind else x


def _trailing_ones(shape: tuple[int, ...]) -> int:
    return next((n for n, size in enumerate(reversed(shape)) if size != 1), len(shape))


def _with(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _without(shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _aligned(narrow: tuple[int, ...], wide: tuple[int, ...]) -> tuple[int, ...]:
    return (1,) * (len(wide) - len(narrow)) + narrow
