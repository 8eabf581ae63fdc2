"""From a torch module to an artefact: graphs that train and predict with onnxruntime alone.

Nothing is imported here: ``fedtier compile`` must be able to say that torch is missing.
"""
