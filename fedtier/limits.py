"""Every bound of the protocol and the runtime, in one place.

Units are the last word of each name. A limit that a file may set has its default here and its
allowed range beside it.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

# The tree
TIERS_MAX = 8
NODE_ID_CHARACTERS_MAX = 40
CHILDREN_MAX = 4096
RESERVED_IDS = frozenset({"all", "operator"})

# The plan
ROUNDS_MAX = 1_000_000
TAU_MAX = 1_000_000  # per link
STEPS_PER_ROUND_MAX = 2**53  # the product of all tau: exact in float64 and in any int64
MU_MIN = 1e-15  # step sizes that files and commands take: with smaller ones no float32 changes,
MU_MAX = 100  # and with larger ones nothing is learned
MU_END = 1e6  # in heads step sizes lie in (0, this)
MILESTONES_MAX = 8  # of a step schedule
SEED_MAX = 2**63 - 1  # the largest whole number of TOML

# Messages
PART_BYTES_MIN = 4 * KIB
PART_BYTES_MAX = 1 * MIB
PART_BYTES_DEFAULT = 64 * KIB
MANIFEST_BYTES_MAX = 3 * KIB + 512
HEAD_BYTES_BASE = 2 * KIB
HEAD_BYTES_PER_MEMBER = 80  # id 40, weight, digest of what is beneath, JSON's quotes and commas
CONTROL_BYTES_MAX = 4 * KIB  # presence, want, ack, beacon
BLOB_BYTES_MAX = 2**32 - 1
ARTEFACT_BYTES_MAX = 64 * MIB  # of a compiled model as it travels, and as it is unpacked
SECTIONS_MAX = 64
REASON_CHARACTERS_MAX = 200

# Transfer
TRANSFERS_AT_ONCE = 4  # K: a parent serves at most so many updates at a time
WINDOW_PARTS = 16  # parts asked for in one want
GAP_S = 2.0  # ask again after so long without progress, later where parts take longer, doubling
OFFER_FIRST_S = 5.0  # repeat an unanswered offer after this, later where answers do, doubling
PAUSE_MAX_S = 60.0  # of both
BEACON_S = 30.0
DEAF_BEACONS = 3  # a connection that has missed so many signs of life is made anew
GIVE_UP_S = 600.0
BOARD_AGAIN_S = 5.0  # a device whose board hinders it looks again after so long
SECOND_PARENT_WAIT_S = 2.0
SESSION_EXPIRY_S = 86_400
CELL_SESSION_EXPIRY_S = 60  # a parent's session ends with its boot; no broker keeps dead ones long
RECEIVE_MAXIMUM = 4
MAILBOX_BYTES_MAX = 64 * MIB  # parts that wait for a node's loop; more are dropped, and asked again
WAITING_FIRST_S = 10.0  # a parent says whom it waits for after so long,
WAITING_AGAIN_S = 60.0  # then every so often,
WAITING_NAMES_MAX = 10  # naming at most so many of each kind
KEEPALIVE_S = 30  # default of [parent] and [cell]
KEEPALIVE_S_MIN = 5
KEEPALIVE_S_MAX = 3600
CONNECT_WARN_S = 5.0  # a broker that does not answer is told of after so long,
CONNECT_WARN_AGAIN_S = 60.0  # then every so often
CONNECT_GIVE_UP_S = 10.0  # to the broker of one's own cell; that of the parent is tried for ever

# The application's requests on a device
PREDICT_BYTES_MAX = 4 * MIB  # of one line
PREDICT_EXAMPLES_MAX = 1024  # in it
PREDICT_CONNECTIONS_MAX = 16  # at a time; further ones wait,
PREDICT_WAITING_MAX = 128  # and more than these find no room

# Arithmetic
WEIGHT_MAX = 2**31 - 1  # of a member: devices, or examples, beneath it
COUNT_MAX = 2**31 - 1  # any other number of things in a message
RANGE_BITS_MAX = 30
RANGE_BITS_DEFAULT = 6  # R: a coordinate of an update lies in (-2**R, 2**R)
FIXED_POINT_BITS_MIN = 30  # E: fewer fraction bits than this and the round is refused
FIXED_POINT_BITS_TOTAL = 62
DIMENSION_MAX = 2**28
LEVELS_MAX = 32_767
BUCKET_MAX = 2**20
LATTICE_SPACING_MIN = 1 / 256  # in units of the deltas' root mean square
LATTICE_SPACING_MAX = 64
BUCKET_DEFAULT = 512  # of block
BLOCK_BITS_MIN = 2
BLOCK_BITS_MAX = 16
LOSS_UNITS_PER_NAT = 2**20

DAY_S = 86_400.0  # what a budget of a day is counted over, whenever it begins
SECONDS_MAX = 30 * DAY_S  # of whatever a federation file says how long it takes
PILOT_ROUNDS_MIN = 2  # gradients at two models, with a round between
GRADIENT_BATCHES_MAX = 8  # a pilot measures so many on each device, at one model or two
