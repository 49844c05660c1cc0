"""What is published and not served yet: it answers 501 `not_implemented`. A row that is served leaves this list."""

from __future__ import annotations

from fastapi import APIRouter

from hermeslink.api.access import Row
from hermeslink.api.errors import ErrorAnswer, NotImplementedYet

LATER: tuple[Row, ...] = ()

router = APIRouter(prefix="/api/v1", tags=["later"])


async def not_implemented() -> None:
    """Not there yet."""
    raise NotImplementedYet("this version of Hermes Link does not have this yet")


for _method, _path in LATER:
    router.add_api_route(
        _path,
        not_implemented,
        methods=[_method],
        status_code=501,
        response_model=ErrorAnswer,
        operation_id=f"{_method} {_path}".lower().translate(str.maketrans("/-", "__", "{}")).replace(" _", "_"),
    )
