"""Fixtures every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from natscope.errors import NamespaceError
from natscope.sources.netns import Namespace, new_namespace

settings.register_profile("dev", max_examples=50, deadline=None)
# the gate: the same examples whoever runs it, however busy the machine
settings.register_profile(
    "ci",
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("nightly", max_examples=5000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def unavailable(reason: str) -> None:
    """Skip with a reason; where the kernel is required, fail instead."""
    if os.environ.get("NATSCOPE_REQUIRE_KERNEL") == "1":
        pytest.fail(f"NATSCOPE_REQUIRE_KERNEL=1, but {reason}")
    pytest.skip(reason)


@pytest.fixture
def netns() -> Iterator[Namespace]:
    """A fresh network namespace, entered for the length of the test.

    Programs the test starts run in it too.
    """
    try:
        namespace = new_namespace("test")
    except NamespaceError as error:
        unavailable(f"no private namespace: {error}")
        raise
    with namespace, namespace.enter():
        yield namespace
