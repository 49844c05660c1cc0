"""What the editor is told of a failure: JSON-RPC codes, and our own code beside them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ParamSpec, TypeVar

from acp.exceptions import RequestError

from hermes.core.errors import Conflict, HermesError, InvalidInput, NoModel, NotFound

INTERNAL, INVALID_PARAMS, INVALID_REQUEST = -32603, -32602, -32600
AUTH_REQUIRED, NOT_FOUND = -32000, -32002

P = ParamSpec("P")
R = TypeVar("R")


def request_error(error: HermesError) -> RequestError:
    match error:
        case NoModel():
            code = AUTH_REQUIRED
        case NotFound():
            code = NOT_FOUND
        case InvalidInput():
            code = INVALID_PARAMS
        case Conflict():
            code = INVALID_REQUEST
        case _:
            code = INTERNAL
    return RequestError(code, error.message, {"code": error.code, **({"param": error.param} if error.param else {})})


def failed_run(error: Mapping[str, Any]) -> RequestError:
    """`error` as a failed run has it (`core.event.RunFailed`)."""
    code = AUTH_REQUIRED if error.get("code") == NoModel.code else INTERNAL
    return RequestError(
        code, str(error.get("message", "The run failed.")), {"code": error.get("code", "internal_error")}
    )


def told(method: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """A method whose errors go out as the protocol's."""

    @functools.wraps(method)
    async def answered(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(*args, **kwargs)
        except HermesError as error:
            raise request_error(error) from error

    return answered
