"""Whether a broker lets a node in: said when it does not, with the reason, for as long as it lasts.

A broker that is not there yet is given a moment, for the order in which things start must not
matter. One that answers and refuses is told of at once: it will refuse again.
"""

from __future__ import annotations

import logging

from fedtier.core.effects import Side, Stop
from fedtier.errors import EXIT_UNREACHABLE
from fedtier.limits import CONNECT_WARN_AGAIN_S, CONNECT_WARN_S
from fedtier.transport.base import Credentials, Trouble

log = logging.getLogger(__name__)

_LOGIN_HINT = "the broker does not know this user or password: see its password file"
_ANONYMOUS_HINT = (
    "the broker wants to know who this is: name a username and password_file, or a certificate"
)


class Reaching:
    """How long one side's broker has not let this node in. Times are of the monotonic clock."""

    def __init__(
        self, *, side: Side, where: str, credentials: Credentials, give_up_s: float | None
    ) -> None:
        """Wait for nothing yet.

        Args:
            side: Which connection of the node it is.
            where: The broker, for people.
            credentials: What the broker is shown.
            give_up_s: How long to try for the first connection; None = for ever.
        """
        self._side: Side = side
        self._where = where
        self._credentials = credentials
        self._give_up_s = give_up_s
        self._since_s: float | None = None  # None while there is a connection
        self._warn_at_s = 0.0
        self._trouble: Trouble | None = None  # of the last attempt

    @property
    def timer_s(self) -> float | None:
        """When ``tick`` is next due."""
        if self._since_s is None:
            return None
        if self._give_up_s is None:
            return self._warn_at_s
        return min(self._warn_at_s, self._since_s + self._give_up_s)

    def begin(self, now_s: float) -> None:
        """Wait from now on, unless it is waited for already."""
        if self._since_s is None:
            self._since_s = now_s
            self._warn_at_s = now_s + CONNECT_WARN_S

    def reached(self) -> None:
        """Wait no more; and never again give up: a broker that was there will be there again."""
        self._since_s = self._trouble = self._give_up_s = None

    def failed(self, trouble: Trouble, now_s: float) -> None:
        """Take in why an attempt failed, or is not made yet: then the broker is not waited for."""
        if trouble.kind == "waiting":
            self._since_s = self._trouble = None
            return
        self.begin(now_s)
        known = self._trouble is not None and self._trouble.kind == trouble.kind
        self._trouble = trouble
        if self._since_s is not None and trouble.kind != "unreachable" and not known:
            self._warn(now_s)

    def tick(self, now_s: float) -> Stop | None:
        """Say what is due; returns the end of the node where it is time to give up."""
        if self._since_s is None:
            return None
        if now_s >= self._warn_at_s:
            self._warn(now_s)
        if self._give_up_s is None or now_s < self._since_s + self._give_up_s:
            return None
        return Stop(exit_code=EXIT_UNREACHABLE, reason=self._farewell(self._give_up_s))

    def _warn(self, now_s: float) -> None:
        assert self._since_s is not None
        self._warn_at_s = now_s + CONNECT_WARN_AGAIN_S
        fields: dict[str, object] = {
            "side": self._side, "broker": self._where, "seconds": round(now_s - self._since_s),
        }  # fmt: skip
        trouble = self._trouble
        if trouble is not None:
            fields["reason"] = trouble.reason
        if trouble is None or trouble.kind == "unreachable":
            log.warning("broker unreachable", extra=fields)
        else:
            log.warning("broker refuses", extra=fields | self._login(trouble))

    def _login(self, trouble: Trouble) -> dict[str, object]:
        shown = self._credentials
        named = {
            "username": shown.username,
            "password_file": shown.password_file,
            "certfile": shown.certificate_file,
        }
        fields: dict[str, object] = {k: str(v) for k, v in named.items() if v is not None}
        if trouble.kind == "login refused":
            fields["hint"] = _LOGIN_HINT if fields else _ANONYMOUS_HINT
        return fields

    def _farewell(self, give_up_s: float) -> str:
        trouble = self._trouble
        if trouble is None or trouble.kind == "unreachable":
            reason = "" if trouble is None else f" ({trouble.reason})"
            return (
                f"no broker answers at {self._where} for {give_up_s:.0f} s{reason}. "
                "Start it, or correct the url in this node's file."
            )
        login = self._login(trouble)
        hint = login.pop("hint", "")
        shown = "".join(f", {key} {value}" for key, value in login.items())
        return (
            f"the broker at {self._where} refuses this node for {give_up_s:.0f} s: "
            f"{trouble.reason}{shown}{'; ' if hint else ''}{hint}."
        )
