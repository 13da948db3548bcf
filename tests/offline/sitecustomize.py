"""Cuts Python off the network: `python3 course.py test --offline` puts this folder on PYTHONPATH.

Python imports this module as it starts, so that it holds in pytest, in its workers, in the kernels
of notebooks and in every Python that these start. An audit hook cannot be taken off again, and it
sees what C extensions do through Python's sockets as well as `socket`, `ssl`, `urllib`, `asyncio`.
It does not see programs that are not Python, nor libraries that open sockets without Python;
ZeroMQ is one of those, and kernels talk through it on this machine only.

Each attempt is an error, and a line in the file that COURSEKIT_NETWORK_LOG names: an attempt that
was caught and passed over still counts.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import traceback
from typing import Any

# Where the host stands in an event's arguments: as an address, or as a name or number.
_ADDRESSES = {"socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1, "socket.getnameinfo": 0}
_NAMES = {"socket.getaddrinfo": 0, "socket.gethostbyname": 0, "socket.gethostbyaddr": 0}
_LOCAL_NAMES = {"localhost", "localhost.localdomain", "ip6-localhost", socket.gethostname().lower()}


class NetworkCutOff(ConnectionRefusedError):
    """The network is cut off in this process."""


def host_of(event: str, arguments: tuple[Any, ...]) -> str:
    """The host that an event is about; empty for none, and for what cannot leave this machine."""
    if event in _ADDRESSES:
        address = arguments[_ADDRESSES[event]]
        # Unix sockets have a path, other families (netlink, vsock) no host in this place.
        host = address[0] if isinstance(address, tuple) and address else ""
    else:
        host = arguments[_NAMES[event]] if event in _NAMES else ""
    if isinstance(host, (bytes, bytearray)):
        host = bytes(host).decode("utf-8", "replace")
    return host if isinstance(host, str) else ""


def is_local(host: str) -> bool:
    """Whether a name or number means this very machine, without asking anybody."""
    if not host or host.lower() in _LOCAL_NAMES:
        return True
    try:
        number = ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    number = getattr(number, "ipv4_mapped", None) or number
    return number.is_loopback or number.is_unspecified


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if not event.startswith("socket."):
        return
    host = host_of(event, arguments)
    if is_local(host):
        return
    _note(f"{host} ({event})")
    raise NetworkCutOff(
        f"The network is cut off (course.py test --offline), and something tried to reach {host}."
    )


def _note(what: str) -> None:
    log = os.environ.get("COURSEKIT_NETWORK_LOG")
    if not log:
        return
    frames = traceback.extract_stack()[:-2][-12:]
    way = " > ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames)
    with open(log, "a", encoding="utf-8") as file:
        file.write(f"{what}: {way}\n")


# A proxy on this machine would be a way out.
for _name in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[_name]
sys.addaudithook(_refuse)
