"""From a torch module to an artefact: graphs that train and predict with onnxruntime alone."""

from __future__ import annotations

from cloud.compiler.compile import compile_module, layout_of

__all__ = ["compile_module", "layout_of"]
