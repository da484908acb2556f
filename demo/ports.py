"""Ports of this machine: which are free, and who answers on them."""

import random
import socket
import urllib.error
import urllib.request

from demo.processes import StackError

HOST = "127.0.0.1"
_LOWEST = 10_000
_HIGHEST = 32_000  # above it the system hands ports out to clients
_BLOCK = 100  # ports that are claimed by one of them
_CONNECT_S = 1.0
_ANSWER_S = 2.0


def free_ports(count: int) -> tuple[int, list[int]]:
    """Ports of the loopback that nobody listens on, and a descriptor that keeps them ours.

    They are all different, and ours until the descriptor is closed. They lie below those that the
    system hands out to clients, in a block of a hundred whose first stands for all. Raises
    StackError.
    """
    blocks = range(_LOWEST, _HIGHEST, _BLOCK)
    for block in random.sample(blocks, len(blocks)):
        with socket.socket() as claim:
            try:
                claim.bind((HOST, block))
            except OSError:
                continue
            others = range(block + 1, block + _BLOCK)
            free = [port for port in others if not listens(port)]
            if len(free) >= count:
                return claim.detach(), free[:count]
    raise StackError(f"no {count} ports are free on this machine: end what listens there")


def listens(port: int) -> bool:
    """Whether somebody listens on a port of the loopback."""
    try:
        socket.create_connection((HOST, port), _CONNECT_S).close()
    except OSError:
        return False
    return True


def answers(url: str) -> bool:
    """Whether a server is there."""
    try:
        urllib.request.urlopen(url, timeout=_ANSWER_S).close()
    except urllib.error.HTTPError as error:
        return error.code == 403  # a store that wants credentials is there
    except OSError:
        return False
    return True
