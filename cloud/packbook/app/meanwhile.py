"""Work that goes on beside something else, and ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    """`work` runs while this is open; then it is cancelled and waited for. If it fails, both fail."""
    async with asyncio.TaskGroup() as both:
        task = both.create_task(work, name=name)
        yield
        task.cancel()
