from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from lab.cluster.arrangements import PRELOAD
from lab.cluster.supervisor import Supervisor
from lab.external.programs import PRELOAD as FOREIGN_PRELOAD
from tests.support.patience import patience

__all__ = ["patience"]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def supervisor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Supervisor]:
    folder = tmp_path_factory.mktemp("supervisor")
    async with Supervisor((*PRELOAD, *FOREIGN_PRELOAD), folder) as supervising:
        yield supervising
