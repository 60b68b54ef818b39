"""bpf(2): maps, programs and links.

Everything is a descriptor; when the last one of an object is closed, the kernel
removes it, also when the process is killed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from pathlib import Path

from natscope.errors import KernelError, MissingTool, NatscopeError, PermissionNeeded
from natscope.trace.bpf.assembler import R0, R1, R2, R3, R10, Assembly, Helper

_SYSCALL = {
    "x86_64": 321,
    "aarch64": 280,
    "riscv64": 280,
    "loongarch64": 280,
    "ppc64le": 361,
}
"""__NR_bpf of the 64-bit little-endian machines."""
_MAP_CREATE, _PROG_LOAD = 0, 5
_RAW_TRACEPOINT_OPEN, _LINK_CREATE = 17, 28

MAP_ARRAY, MAP_PERCPU_ARRAY, MAP_LRU_HASH, MAP_RINGBUF = 2, 6, 9, 27
F_MMAPABLE = 0x400
PROG_RAW_TRACEPOINT, PROG_NETFILTER = 17, 32
_ATTACH_NETFILTER = 45  # BPF_NETFILTER

_MAP_ATTR = struct.Struct("=7I16s")
_PROG_ATTR = struct.Struct("=IIQQIIQII16sII")
_LINK_ATTR = struct.Struct("=IIIIIIiI")
_TRACEPOINT_ATTR = struct.Struct("=QI4x")
_NAME = b"natscope"
_LOG_SIZE = 1 << 20
_LOG_SHOWN = 1500
_CAPABILITIES = {12: "CAP_NET_ADMIN", 38: "CAP_PERFMON", 39: "CAP_BPF"}
_CAP_SYS_ADMIN = 21
KERNEL_BTF = Path("/sys/kernel/btf")
_LOCKDOWN = Path("/sys/kernel/security/lockdown")


def create_map(kind: int, key: int, value: int, entries: int, flags: int = 0) -> int:
    """A descriptor of a new map; sizes in bytes, of a ring buffer ``entries``.

    Raises:
        KernelError: refused.
    """
    attr = _MAP_ATTR.pack(kind, key, value, entries, flags, 0, 0, _NAME)
    return _bpf(_MAP_CREATE, attr, "making a BPF map")


def load_program(kind: int, code: bytes, *, logged: bool = False) -> int:
    """A descriptor of a program the verifier took.

    Raises:
        KernelError: refused; the message ends with what the verifier said.
    """
    instructions = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(_LOG_SIZE if logged else 1)
    attach = _ATTACH_NETFILTER if kind == PROG_NETFILTER else 0
    attr = _PROG_ATTR.pack(
        kind,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(licence),
        1 if logged else 0,
        _LOG_SIZE if logged else 0,
        ctypes.addressof(log) if logged else 0,
        0,  # kern_version
        0,  # prog_flags
        _NAME,
        0,  # prog_ifindex
        attach,
    )
    operation = "loading a BPF program"
    try:
        return _bpf(_PROG_LOAD, attr, operation)
    except PermissionNeeded:
        raise
    except KernelError as error:
        if logged:
            said = log.value.decode(errors="replace")[-_LOG_SHOWN:].strip()
            raise KernelError(
                operation,
                error.errno,
                os.strerror(error.errno),
                extack=said or None,
                hint=error.hint,
            ) from error
        return load_program(kind, code, logged=True)


def link_netfilter(program: int, family: int, hook: int, priority: int) -> int:
    """Attach a program to a hook of the calling thread's network namespace.

    Args:
        program: of kind PROG_NETFILTER.
        family: AF_INET or AF_INET6 (NFPROTO_* are the same numbers).
        hook: of enum nf_inet_hooks.
        priority: not the lowest and not the highest there is.

    Returns:
        A descriptor; the program runs while it is open.

    Raises:
        KernelError: refused.
    """
    attr = _LINK_ATTR.pack(program, 0, _ATTACH_NETFILTER, 0, family, hook, priority, 0)
    return _bpf(_LINK_CREATE, attr, "attaching a BPF program to a netfilter hook")


def open_raw_tracepoint(program: int, name: str) -> int:
    """Attach a program to a tracepoint, of the whole machine.

    Raises:
        KernelError: refused, or no such tracepoint.
    """
    text = ctypes.create_string_buffer(name.encode())
    attr = _TRACEPOINT_ATTR.pack(ctypes.addressof(text), program)
    return _bpf(_RAW_TRACEPOINT_OPEN, attr, f"opening the tracepoint {name}")


def available() -> str | None:
    """None where programs at netfilter hooks can be loaded, else why they cannot.

    It is tried with the smallest program that reads kernel memory.
    """
    if not (KERNEL_BTF / "vmlinux").exists():
        return "this kernel does not tell its types (CONFIG_DEBUG_INFO_BTF)"
    code = Assembly()
    code.move(R1, R10)
    code.add(R1, -8)
    code.move(R2, 8)
    code.move(R3, 0)
    code.call(Helper.PROBE_READ_KERNEL)
    code.move(R0, 1)
    code.exit()
    try:
        os.close(load_program(PROG_NETFILTER, code.code()))
    except NatscopeError as error:
        return f"{error}; {error.hint}" if error.hint else str(error)
    return None


def _bpf(command: int, attr: bytes, operation: str) -> int:
    number = _SYSCALL.get(platform.machine())
    if number is None or sys.byteorder != "little" or sys.maxsize < 1 << 32:
        raise MissingTool(
            f"BPF positions know no {platform.machine()} machine",
            hint="--method nft works on all",
        )
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attr, len(attr))
    done: int = libc.syscall(
        ctypes.c_long(number), command, buffer, ctypes.c_uint(len(attr))
    )
    if done < 0:
        raise _refused(operation, ctypes.get_errno())
    return done


def _refused(operation: str, code: int) -> KernelError:
    """The error of a bpf(2) call, with what to do."""
    reason = os.strerror(code)
    if code == errno.EPERM:
        return PermissionNeeded(operation, code, reason, hint=_forbidden_hint())
    hint = None
    if code == errno.ENOSYS:
        hint = "this kernel has no CONFIG_BPF_SYSCALL"
    elif code == errno.EINVAL and _is_confidential():
        hint = "kernel lockdown is at confidentiality: no program may read its memory"
    elif code == errno.EINVAL:
        hint = (
            "needs Linux 6.4 or newer with CONFIG_NETFILTER_BPF_LINK; "
            f"this is {platform.release()}"
        )
    return KernelError(operation, code, reason, hint=hint)


def missing_capabilities() -> list[str]:
    """Of those BPF positions need, the names this process does not have."""
    held = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
    if held >> _CAP_SYS_ADMIN & 1:
        # stands for both in bpf_capable() and perfmon_capable()
        held |= 1 << 38 | 1 << 39
    return [name for bit, name in _CAPABILITIES.items() if not held >> bit & 1]


def _forbidden_hint() -> str:
    missing = missing_capabilities()
    if missing:
        return f"needs {', '.join(missing)}, as root outside user namespaces has"
    return (
        "the capabilities are there, so it is a user namespace, a container's seccomp "
        "filter or a security module that forbids it: run as root of the host"
    )


def _is_confidential() -> bool:
    """Whether lockdown keeps even root from reading kernel memory."""
    try:
        return "[confidentiality]" in _LOCKDOWN.read_text()
    except OSError:
        return False
