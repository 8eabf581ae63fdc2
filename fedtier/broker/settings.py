"""What it takes to start a broker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fedtier.errors import ConfigError
from fedtier.limits import PART_BYTES_DEFAULT, PART_BYTES_MAX, PART_BYTES_MIN
from fedtier.render.broker_files import ListenerTls

BrokerKind = Literal["embedded", "mosquitto"]
KINDS: tuple[BrokerKind, ...] = ("embedded", "mosquitto")
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """One broker with one listener.

    Raises:
        ConfigError: If a value is outside its range, or asks of the embedded broker what only
            mosquitto can do.
    """

    kind: BrokerKind
    host: str = LOOPBACK
    port: int = 0  # 0 = a free one is chosen
    part_bytes: int = PART_BYTES_DEFAULT
    children: int = 64  # clients that may send to one parent; the queue limits follow from it
    sys_interval_s: int = 10  # mosquitto: how often $SYS is published, 0 = never
    allow_anonymous: bool | None = None  # None = only where no password, ACL or TLS is asked for
    acl: str | None = None  # the text of an ACL file, see ``render.broker_files.acl_file``
    password_file: Path | None = None
    tls: ListenerTls | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(
                f"broker kind {self.kind!r} is unknown. Use one of {', '.join(KINDS)}."
            )
        if not 0 <= self.port <= 65_535:
            raise ConfigError(f"broker port {self.port} is not in 1 to 65535 (0 = a free one)")
        if not PART_BYTES_MIN <= self.part_bytes <= PART_BYTES_MAX:
            raise ConfigError(
                f"part_bytes {self.part_bytes} is not in {PART_BYTES_MIN} to {PART_BYTES_MAX}"
            )
        if self.kind == "embedded":
            if self.acl or self.password_file or self.tls:
                raise ConfigError(
                    "the embedded broker knows no passwords, ACLs or certificates. "
                    'Use kind = "mosquitto".'
                )
            if self.host not in (LOOPBACK, "localhost"):
                raise ConfigError(
                    f"the embedded broker admits anybody, so it listens on {LOOPBACK} only, "
                    f'not on {self.host}. Use kind = "mosquitto" for a network.'
                )

    @property
    def admits_anonymous(self) -> bool:
        """Whether a client may come without a name."""
        if self.allow_anonymous is not None:
            return self.allow_anonymous
        return not (self.acl or self.password_file or self.tls)
