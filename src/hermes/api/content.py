"""What a request brings besides text, made ready before its run starts: images are checked, files put in their place.

Every route that starts a run goes through `prepared`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hermes.api.services import Services
from hermes.core.addresses import AddressRefused, Resolver, check_url
from hermes.core.errors import InvalidInput
from hermes.core.run import RunRequest
from hermes.files.parts import in_request
from hermes.runs.budget import within_budget

MAX_REMOTE_IMAGES = 50


async def prepared(
    request: RunRequest, services: Services, remote_images: Sequence[tuple[str, str]] = ()
) -> RunRequest:
    """`remote_images` are places in the client's request and URLs (`hermes.agent.messages.image_urls`).

    Raises InvalidInput or NotFound `file_not_found`, naming the part. The run may cost what its key has left
    (`hermes.runs.budget`).
    """
    await check_images(remote_images, services.resolve)
    request = await in_request(request, services.files)
    return await within_budget(request, services.database)


async def check_images(remote: Sequence[tuple[str, str]], resolve: Resolver | None) -> None:
    """The provider, or a model server on this machine, will fetch them: none may lead into the owner's network."""
    if not remote:
        return
    if len(remote) > MAX_REMOTE_IMAGES:
        raise InvalidInput(f"the request has more than {MAX_REMOTE_IMAGES} remote images", param=_list_of(remote))
    results = await asyncio.gather(*(check_url(url, resolve=resolve) for _, url in remote), return_exceptions=True)
    for (param, _), result in zip(remote, results, strict=True):
        if isinstance(result, AddressRefused):
            raise InvalidInput(f"{param}: {result.message}", code="invalid_image_url", param=param)
        if isinstance(result, BaseException):
            raise result


def _list_of(remote: Sequence[tuple[str, str]]) -> str:
    return remote[0][0].partition("[")[0]
