"""The windows of a pooling over two axes: what lies in them, and where their slopes belong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cloud.compiler.graph import GraphBuilder
from cloud.compiler.value import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Sizes along the last two axes of ``(..., height, width)``."""

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    result: tuple[int, ...]  # windows along either axis

    @classmethod
    def of(
        cls,
        x: Value,
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int] = (1, 1),
        ceil_mode: bool = False,
    ) -> Windows:
        """Read the arguments as torch means them: one number for both axes, no stride: kernel."""
        kernel, padding, dilation = _pair(kernel), _pair(padding), _pair(dilation)
        stride = _pair(stride) if stride else kernel
        size = x.shape[-2:]
        result = []
        for s, k, step, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
            room = s + 2 * p - d * (k - 1) - 1
            count = (-(-room // step) if ceil_mode else room // step) + 1
            # A window may end in the padding behind, but not begin there.
            result.append(count - 1 if ceil_mode and (count - 1) * step >= s + p else count)
        return cls(
            size=size,
            kernel=kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            result=tuple(result),
        )

    @property
    def count(self) -> int:
        """Elements of a window."""
        return math.prod(self.kernel)

    @property
    def after(self) -> tuple[int, ...]:
        """What the last windows reach beyond the end, or leave over before it (negative)."""
        return tuple(
            (r - 1) * step + d * (k - 1) + 1 - s - p
            for s, k, step, p, d, r in zip(
                self.size,
                self.kernel,
                self.stride,
                self.padding,
                self.dilation,
                self.result,
                strict=True,
            )
        )

    @property
    def apart(self) -> bool:
        """Whether no two windows share an element and none reaches into padding."""
        return (
            self.stride == self.kernel
            and not any(self.padding)
            and all(d == 1 for d in self.dilation)
            and all(a <= 0 for a in self.after)
        )

    @property
    def pads(self) -> tuple[int, ...]:
        """Padding before both axes, then after both."""
        return (*self.padding, *(max(0, a) for a in self.after))

    def divisors(self, *, count_padding: bool) -> npt.NDArray[np.float64]:
        """Elements of every window that an average counts, shape ``result``."""
        per_axis = []
        for s, k, step, p, r in zip(
            self.size, self.kernel, self.stride, self.padding, self.result, strict=True
        ):
            starts = np.arange(r) * step - p
            edge = p if count_padding else 0
            per_axis.append(np.minimum(starts + k, s + edge) - np.maximum(starts, -edge))
        return np.outer(*per_axis).astype(np.float64)

    def slots(self, graph: GraphBuilder, x: Value, *, content: float) -> list[Value]:
        """The elements of all windows by their place in the window, row by row.

        Args:
            graph: Where to add the operations.
            x: Shape ``(..., height, width)``.
            content: What the padding holds.
        """
        lead = [0] * (x.rank - 2)
        padded = graph.pad(x, [*lead, *self.pads[:2]], [*lead, *self.pads[2:]], content)
        slots = []
        for row in range(self.kernel[0]):
            rows = self._along(graph, padded, 0, row)
            slots += [self._along(graph, rows, 1, column) for column in range(self.kernel[1])]
        return slots

    def _along(self, graph: GraphBuilder, x: Value, axis: int, place: int) -> Value:
        start, step = place * self.dilation[axis], self.stride[axis]
        return graph.slice(x, axis - 2, start, start + (self.result[axis] - 1) * step + 1, step)

    def spread(self, graph: GraphBuilder, slots: Sequence[Value]) -> Value:
        """What the slots hold, each put back where it came from, and added where several did."""
        return self._interleave(graph, slots) if self.apart else self._add_up(graph, slots)

    def _interleave(self, graph: GraphBuilder, slots: Sequence[Value]) -> Value:
        *lead, height, width = slots[0].shape
        kernel = self.kernel
        stacked = [graph.reshape(slot, (*lead, height, width, 1)) for slot in slots]
        rows = []
        for row in range(kernel[0]):
            line = graph.concat(stacked[row * kernel[1] : (row + 1) * kernel[1]], -1)
            rows.append(graph.reshape(line, (*lead, height, 1, width * kernel[1])))
        full = graph.reshape(graph.concat(rows, -2), (*lead, height * kernel[0], width * kernel[1]))
        missing = [a - b for a, b in zip(self.size, full.shape[-2:], strict=True)]
        return graph.pad(full, [0] * full.rank, [*[0] * len(lead), *missing])

    def _add_up(self, graph: GraphBuilder, slots: Sequence[Value]) -> Value:
        lead = slots[0].shape[:-2]
        images = math.prod(lead)
        rows = [graph.reshape(slot, (images, 1, math.prod(self.result))) for slot in slots]
        found = graph.one(
            "Col2Im",
            [
                graph.concat(rows, 1),
                graph.constant(self.size, "int64"),
                graph.constant(self.kernel, "int64"),
            ],
            (images, 1, *self.size),
            strides=self.stride,
            pads=self.pads,
            dilations=self.dilation,
        )
        return graph.reshape(found, (*lead, *self.size))


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveWindows:
    """Windows of about equal size, so many along either axis; neighbours may share an element."""

    size: tuple[int, ...]
    result: tuple[int, ...]

    @property
    def longest(self) -> tuple[int, ...]:
        """Places of the longest window along either axis."""
        return tuple(max(len(places) for places in axis) for axis in self.places)

    @property
    def places(self) -> list[list[range]]:
        """Of every window along either axis: window i of r goes from i s / r to (i + 1) s / r."""
        return [
            [range(i * s // r, -(-(i + 1) * s // r)) for i in range(r)]
            for s, r in zip(self.size, self.result, strict=True)
        ]

    def shares(self) -> list[npt.NDArray[np.float64]]:
        """For either axis the matrix ``(windows, size)`` that averages."""
        matrices = []
        for size, windows in zip(self.size, self.places, strict=True):
            matrix = np.zeros((len(windows), size))
            for row, places in enumerate(windows):
                matrix[row, places] = 1 / len(places)
            matrices.append(matrix)
        return matrices

    def blocks(self, graph: GraphBuilder, x: Value) -> Value:
        """Shape ``(..., windows, windows, places)``; a short window repeats its last place."""
        for axis, chosen in enumerate(self._chosen()):
            if chosen != list(range(self.size[axis])):
                x = graph.gather(x, chosen, axis - 2)
        lead, (high, wide), (rows, columns) = x.shape[:-2], self.result, self.longest
        cut = graph.reshape(x, (*lead, high, rows, wide, columns))
        n = len(lead)
        together = graph.transpose(cut, (*range(n), n, n + 2, n + 1, n + 3))
        return graph.reshape(together, (*lead, high, wide, rows * columns))

    def spread(self, graph: GraphBuilder, blocks: Value) -> Value:
        """The inverse of ``blocks``; what came from one place is added up there."""
        lead, (high, wide), (rows, columns) = blocks.shape[:-3], self.result, self.longest
        n = len(lead)
        cut = graph.reshape(blocks, (*lead, high, wide, rows, columns))
        apart = graph.transpose(cut, (*range(n), n, n + 2, n + 1, n + 3))
        x = graph.reshape(apart, (*lead, high * rows, wide * columns))
        for axis, chosen in enumerate(self._chosen()):
            if chosen == list(range(self.size[axis])):
                continue
            matrix = np.zeros((len(chosen), self.size[axis]))
            matrix[range(len(chosen)), chosen] = 1
            if axis == 0:
                x = graph.matmul(graph.constant(matrix.T, "float32"), x)
            else:
                x = graph.matmul(x, graph.constant(matrix, "float32"))
        return x

    def _chosen(self) -> list[list[int]]:
        return [
            list(
                itertools.chain.from_iterable(
                    [*places, *[places[-1]] * (longest - len(places))] for places in windows
                )
            )
            for windows, longest in zip(self.places, self.longest, strict=True)
        ]


def _pair(numbers: Sequence[int]) -> tuple[int, ...]:
    return tuple(numbers) * 2 if len(numbers) == 1 else tuple(numbers)
