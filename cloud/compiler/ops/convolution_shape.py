"""The sizes of one convolution."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvolutionShape:
    """Sizes along the spatial axes are tuples of length 1 or 2."""

    batch: int
    channels: int
    outputs: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int  # channels and outputs are cut into as many parts, and each output sees one

    @property
    def result(self) -> tuple[int, ...]:
        """Spatial size of the result."""
        return tuple(
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, padding, dilation in zip(
                self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True
            )
        )

    @property
    def suits_gemm(self) -> bool:
        """Whether ``convolution_gemm`` covers it: one axis and one group."""
        return len(self.size) == 1 and self.groups == 1
