"""Fixtures that every test file shares."""

import os
import zlib
from collections.abc import Iterator

import numpy as np
import pytest

import grufast
from grufast import _core


def isas() -> list[str]:
    """What the tests run under: everything this machine can, or what is forced."""
    forced = os.environ.get("GRUFAST_ISA")
    return [forced] if forced else grufast.build_info()["isas_available"]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers of the test's own: the same ones however tests are selected."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(params=isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run the test under each instruction set."""
    previous = grufast.build_info()["isa"]
    name: str = request.param
    _core.set_isa(name)
    yield name
    _core.set_isa(previous)


@pytest.fixture
def keep_num_threads() -> Iterator[None]:
    """Put the number of threads back after the test."""
    previous = grufast.get_num_threads()
    yield
    grufast.set_num_threads(previous)


@pytest.fixture(scope="session", autouse=True)
def every_thread_takes_part() -> Iterator[None]:
    """Use the threads that were asked for, even where they come late.

    Otherwise a busy machine would run tests about many threads on one.
    """
    _core.set_adaptive(False)
    yield
    _core.set_adaptive(True)
