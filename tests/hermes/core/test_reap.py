from __future__ import annotations

import asyncio

from hermes.core.reap import reap


async def test_a_killed_process_that_was_not_read_to_its_end_is_waited_for() -> None:
    process = await asyncio.create_subprocess_exec("yes", stdout=asyncio.subprocess.PIPE, limit=16)
    assert process.stdout is not None
    await process.stdout.readexactly(4)  # the first piece is larger than the limit, so that nothing more is taken
    process.kill()
    async with asyncio.timeout(20):
        assert await reap(process) == -9
