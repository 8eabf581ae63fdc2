"""Every error fedtier raises, split by who must act.

::

    FedtierError
    ├─ ConfigError      the operator: file, key, value, allowed range, hint      exit 78
    ├─ PeerError        another node sent bad data: count it, answer it, go on
    │  ├─ WireError     magic, version, header, CRC, length, digest
    │  └─ UpdateError   layout, non-finite, weight, base model
    ├─ LinkError        the network: retry with back-off                         exit 69 at start
    ├─ StorageError     the disk: stop at once, nothing accepted is lost         exit 74
    └─ TrainingError    the trainer failed or diverged: abstain with the reason

A bug is an assertion, never one of these: it ends the process (exit 70), and the durable points
make the restart safe. A run that came to its end without any training is no error of a process,
and no success either: its cloud exits with 65.
"""

from __future__ import annotations

EXIT_DONE = 0
EXIT_USAGE = 2
EXIT_UNTRAINED = 65  # the run is finished, and in none of its rounds did a member come
EXIT_UNREACHABLE = 69
EXIT_BUG = 70
EXIT_STORAGE = 74
EXIT_CONFIG = 78
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it
EXIT_TERMINATED = 143  # 128 + SIGTERM; only where being told to stop means not being done


class FedtierError(Exception):
    """The root of the tree; ``exit_code`` is what a command that meets it exits with."""

    exit_code = EXIT_BUG


class ConfigError(FedtierError):
    """Something the operator wrote cannot be; the message names file, key, value and remedy."""

    exit_code = EXIT_CONFIG


class PeerError(FedtierError):
    """Another node sent what it must not; counted and answered, never fatal."""


class WireError(PeerError):
    """Bytes that do not verify: magic, version, header, CRC, length or digest."""


class UpdateError(PeerError):
    """A well-formed update that cannot enter a mean: layout, finiteness, weight or base model."""


class LinkError(FedtierError):
    """The network or a broker failed; worth another try."""

    exit_code = EXIT_UNREACHABLE


class StorageError(FedtierError):
    """The disk failed; the process stops at once rather than lose what it accepted."""

    exit_code = EXIT_STORAGE


class TrainingError(FedtierError):
    """The trainer failed or its model is no longer finite; the device abstains with the reason."""
