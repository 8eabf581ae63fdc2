"""The program of a device: trains, predicts and minds the board. Private; see ``fedtier``."""
