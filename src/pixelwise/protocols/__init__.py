"""Every rule by which a published figure was scored: means, boundaries, upper bounds, intervals, test servers.

All of it works on label maps, (H, W) integers, and knows nothing of networks.
"""

from pixelwise.protocols.accumulate import Accumulator, Protocol, ProtocolScores
from pixelwise.protocols.rules import PROTOCOLS, protocol

__all__ = ["PROTOCOLS", "Accumulator", "Protocol", "ProtocolScores", "protocol"]
