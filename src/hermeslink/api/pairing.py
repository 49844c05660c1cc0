"""Codes that let a device in (spec: link-api, Pairing)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator

from hermes.core.errors import InvalidInput
from hermeslink.api.auth import AdmissionAnswer, AppInstance, SentToken, Text, admitted
from hermeslink.api.bodies import Answer, Body
from hermeslink.api.dependencies import MaybeCaller, TheLink, ThePeer
from hermeslink.core.device import Platform, Scope
from hermeslink.core.times import iso
from hermeslink.pages import qr
from hermeslink.pairing.pairing import Newcomer
from hermeslink.pairing.secrets import ACCESS_PREFIX

if TYPE_CHECKING:
    from hermeslink.app import Link

router = APIRouter(prefix="/api/v1/pairing", tags=["pairing"])


def _platform(value: object) -> Platform:
    known = value.strip().lower() if isinstance(value, str) else ""
    return Platform(known) if known in list(Platform) else Platform.OTHER


class SessionView(BaseModel):
    session_id: str
    link_id: str
    display_name: str
    local_api_url: str
    preferred_urls: list[str]
    created_at: str
    expires_at: str
    claimed: bool


class QrView(BaseModel):
    """`payload`: what an app reads out of the QR code. `image`: a data: URL of an SVG."""

    payload: str
    image: str


class SessionAnswer(Answer):
    """`qr` for whoever sent the connect token."""

    session: SessionView
    qr: QrView | None = None


class CodeAnswer(Answer):
    """The only time that the connect token is told."""

    session: SessionView
    scope: Scope
    connect_token: str
    qr: QrView


class Making(Body):
    scope: Scope = Scope.ADMIN


class Claiming(Body):
    session_id: Text = None
    claim_token: Text = None
    device_label: Text = None
    device_platform: Annotated[Platform, BeforeValidator(_platform)] = Platform.OTHER
    device_model: Text = None
    app_instance_id: Text = None


@router.post("/session", status_code=201)
async def make_code(link: TheLink, caller: MaybeCaller, making: Making | None = None) -> CodeAnswer:
    """A code that lets one device in within five minutes. For somebody at this machine, or a device of scope admin."""
    made = await link.pairing.make(making.scope if making else Scope.ADMIN, caller)
    session = _view(link, made.session_id, made.created_at, made.expires_at, claimed=False)
    return CodeAnswer(session=session, scope=made.scope, connect_token=made.code, qr=_qr(session, made.code))


@router.get("/session", response_model_exclude_none=True)
async def show_session(
    link: TheLink, peer: ThePeer, token: SentToken, session_id: Annotated[str, Query()] = ""
) -> SessionAnswer:
    """How a pairing is getting on; with the connect token instead of the id, its QR code as well."""
    code = token if token and not session_id and not token.startswith(ACCESS_PREFIX) else None
    if not session_id and code is None:
        raise InvalidInput("say which pairing session: ?session_id=ps_…", code="pairing_session_required")
    found = await (link.pairing.by_code(code, peer.address) if code else link.pairing.session(session_id))
    claimed = found.claimed_at is not None
    session = _view(link, found.id, found.created_at, found.expires_at, claimed=claimed)
    return SessionAnswer(session=session, qr=_qr(session, code) if code and not claimed else None)


@router.post("/claim")
async def claim_session(
    link: TheLink, peer: ThePeer, claiming: Claiming | None = None, app_instance: AppInstance = None
) -> AdmissionAnswer:
    """Lets a device in by what it read out of a QR code."""
    if claiming is None or not claiming.session_id or not claiming.claim_token:
        raise InvalidInput("send session_id and claim_token, as the QR code has them", code="pairing_claim_invalid")
    newcomer = Newcomer(
        label=claiming.device_label,
        platform=claiming.device_platform,
        model=claiming.device_model or None,
        app_instance=claiming.app_instance_id or app_instance or None,
    )
    return admitted(link, await link.pairing.claim(claiming.session_id, claiming.claim_token, newcomer, peer.address))


def _view(link: Link, session_id: str, created_at: float, expires_at: float, *, claimed: bool) -> SessionView:
    return SessionView(
        session_id=session_id,
        link_id=link.identity.get().link_id,
        display_name=link.network.display_name,
        local_api_url=link.network.local_url(),
        preferred_urls=list(link.network.preferred_urls()),
        created_at=iso(created_at),
        expires_at=iso(expires_at),
        claimed=claimed,
    )


def _qr(session: SessionView, code: str) -> QrView:
    payload = qr.payload(session.link_id, session.display_name, session.session_id, code, session.preferred_urls)
    return QrView(payload=payload, image=qr.picture(payload))
