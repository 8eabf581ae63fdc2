"""Serves the newest accepted global model to the application on the board, beside training."""
