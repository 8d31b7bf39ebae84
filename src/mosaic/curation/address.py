"""Whether a Ray cluster answers at an address. Ray itself waits for minutes, then exits."""

import os
import socket
import struct

PATIENCE = 5.0  # seconds, for a connection and again for an answer
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"  # RFC 9113, section 3.4: what a client of HTTP/2 begins with,
SETTINGS = 4  # and the kind of frame that both sides must send first
EXAMPLE = "HOST:PORT of its head node, 10.0.0.1:6379 say"


def check(address: str) -> None:
    """ValueError, within seconds, if nothing listens at an address, or what does is no HTTP/2, as Ray is.

    "auto", a cluster on this machine, is left to Ray; so is one that wants TLS.
    """
    if address == "auto" or os.environ.get("RAY_USE_TLS", "0") != "0":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal() and int(port) < 1 << 16):
        raise ValueError(f"--ray-address {address} is no address of a Ray cluster: give {EXAMPLE}.")
    try:
        speaks = _speaks_http2(host.strip("[]"), int(port))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ValueError(
            f"--ray-address {address}: no Ray cluster answers there ({reason}): give {EXAMPLE}."
        ) from error
    if not speaks:
        raise ValueError(f"--ray-address {address}: what answers there is no Ray cluster: give {EXAMPLE}.")


def _speaks_http2(host: str, port: int) -> bool:
    """Whether a server answers the preface with its settings."""
    empty_settings = struct.pack(">I", 0)[1:] + bytes([SETTINGS, 0]) + struct.pack(">I", 0)
    with socket.create_connection((host, port), PATIENCE) as connection:
        connection.sendall(PREFACE + empty_settings)
        answer = b""
        while len(answer) < 4 and (more := connection.recv(64)):
            answer += more
    return len(answer) >= 4 and answer[3] == SETTINGS
