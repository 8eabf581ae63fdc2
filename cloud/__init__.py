"""The program of the cloud node: holds the global model. Private; see ``fedtier``."""
