"""bpf(2), where it is refused: the error says why, and what it takes."""

from __future__ import annotations

import os
import sys

import pytest

from conftest import unavailable
from kernel.ordinary import run_as_nobody
from natscope.errors import KernelError
from natscope.trace.bpf import loader
from natscope.trace.bpf.assembler import R0, R1, Assembly

pytestmark = pytest.mark.kernel

ASK = "from natscope.trace.bpf import loader; print(loader.available())"


def test_what_the_verifier_says_is_in_the_error() -> None:
    if (why := loader.available()) is not None:
        unavailable(why)
    code = Assembly()
    code.load(8, R0, R1, 4000)  # beyond struct bpf_nf_ctx
    code.exit()
    with pytest.raises(KernelError, match="invalid bpf_context access off=4000"):
        loader.load_program(loader.PROG_NETFILTER, code.code())


def test_without_capabilities_they_are_named() -> None:
    if os.geteuid() != 0:
        unavailable("only root can become nobody")
    done = run_as_nobody(sys.executable, "-c", ASK)
    assert "CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF" in done.stdout
