"""The contract suite: what every broker must show, written once and run on all. Needs the extra ``testing``.

For an adapter, or a cluster, of your own::

    import pytest


    @pytest.fixture
    async def harness(harness_of):
        async with harness_of("redis://localhost/9?visibility=2") as harness:
            yield harness

    @contract
    async def test_contract(case, harness):
        await case(harness)
"""

from msgbus.testing.faults import NotOffered, ServerFaults
from msgbus.testing.harness import Harness
from msgbus.testing.probe import Probe
from msgbus.testing.proxy import Proxy
from msgbus.testing.suite import CASES, contract

__all__ = ["CASES", "Harness", "NotOffered", "Probe", "Proxy", "ServerFaults", "contract"]
