"""What fedtier costs and what it reaches, measured; one command for each question."""

import fedtier as fedtier  # before onnxruntime, which it keeps from reporting home
