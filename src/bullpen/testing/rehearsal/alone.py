"""Cutting this process and its children off from every host but this one, where Linux allows."""

import ctypes
import errno
import os
import socket
import struct
import sys
from fcntl import ioctl
from pathlib import Path

_NEW_USER = 0x10000000
_NEW_NET = 0x40000000
_GET_FLAGS = 0x8913
_SET_FLAGS = 0x8914
_UP = 0x1


def cut_off() -> str | None:
    """Enter a network of our own that holds nothing but loopback; return None, or why not.

    Sockets in the file system go on working. Must be called before there are threads.
    """
    if sys.platform != "linux":
        return f"{sys.platform} has no network namespaces"
    uid, gid = os.geteuid(), os.getegid()
    flags = _NEW_NET if uid == 0 else _NEW_NET | _NEW_USER
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(flags) != 0:
        return f"the kernel refuses: {errno.errorcode.get(ctypes.get_errno(), 'unknown')}"
    try:
        if uid != 0:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
        _raise_loopback()
    except OSError as fault:
        return f"loopback cannot be brought up: {fault.strerror}"
    return None


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh", b"lo", 0)
        flags = struct.unpack("16sh", ioctl(handle, _GET_FLAGS, request))[1]
        ioctl(handle, _SET_FLAGS, struct.pack("16sh", b"lo", flags | _UP))
