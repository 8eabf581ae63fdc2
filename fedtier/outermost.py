"""The outermost place of a program, where every error ends."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from fedtier.errors import EXIT_BUG, EXIT_INTERRUPTED, FedtierError


def exit_with(do: Callable[[], int]) -> NoReturn:
    """Do it and exit with what it returns.

    Raises:
        SystemExit: Always. An error of ours is one line on stderr and its own exit code; a bug
            is a traceback and exit code 70.
    """
    try:
        sys.exit(do())
    except FedtierError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except Exception:  # noqa: BLE001 (a bug: shown whole, and told apart from a refusal)
        traceback.print_exc()
        sys.exit(EXIT_BUG)
