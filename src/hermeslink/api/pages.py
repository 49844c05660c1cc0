"""The pages for a browser, and the files they load. What they show, their scripts ask the API for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header
from starlette.responses import HTMLResponse, Response

from hermes.core.errors import NotFound
from hermeslink.api.dependencies import TheLink
from hermeslink.pages import rendering

if TYPE_CHECKING:
    from hermeslink.app import Link

router = APIRouter(tags=["pages"])

Languages = Annotated[str, Header(alias="accept-language")]


@router.get("/", response_class=HTMLResponse)
async def show_home(link: TheLink, accept_language: Languages = "") -> Response:
    """What this is, for somebody who found it with a browser."""
    return _page(link, rendering.HOME, accept_language)


@router.get("/pair", response_class=HTMLResponse)
async def show_pair(link: TheLink, accept_language: Languages = "") -> Response:
    """The page that shows a QR code, to somebody at this machine or with a connect token."""
    return _page(link, rendering.PAIR, accept_language)


@router.get("/static/{name}", include_in_schema=False)
async def show_asset(name: str) -> Response:
    """Raises NotFound for anything that is not in the list of files."""
    asset = rendering.assets().get(name)
    if asset is None:
        raise NotFound("there is no such file")
    return Response(asset.content, media_type=asset.kind, headers={"Cache-Control": "no-cache"})


def _page(link: Link, name: str, accept_language: str) -> Response:
    language = rendering.language_of(link.settings.language, accept_language)
    headers = {
        "Content-Security-Policy": rendering.POLICY,
        "Content-Language": language,
        "Vary": "Accept-Language",
    }
    return HTMLResponse(rendering.page(name, language), headers=headers)
