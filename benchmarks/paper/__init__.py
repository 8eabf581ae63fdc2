"""The paper's claims, each measured anew by one command on this project's own settings."""
