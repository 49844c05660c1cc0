"""How a device gets its tokens, and how they end (spec: link-api, Auth)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel, BeforeValidator, Field
from starlette.requests import Request

from hermes.core.errors import InvalidInput, Unauthorized
from hermeslink.api.access import sent_token
from hermeslink.api.bodies import Answer, Body
from hermeslink.api.dependencies import TheCaller, TheLink, ThePeer
from hermeslink.api.devices import DeviceView
from hermeslink.core.device import Platform
from hermeslink.core.times import iso
from hermeslink.pairing.pairing import Admission, Newcomer, Token

if TYPE_CHECKING:
    from hermeslink.app import Link

router = APIRouter(prefix="/api/v1/auth", tags=["auth"])

MAX_WORDS = 512

AppInstance = Annotated[
    str | None,
    Header(alias="x-hermes-app-instance-id", max_length=MAX_WORDS, description="What the app calls its installation."),
]


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _text(value: object) -> object:
    return value if isinstance(value, str) else None


AnyPlatform = Annotated[Platform, BeforeValidator(_lower)]
Text = Annotated[str | None, BeforeValidator(_text)]
"""What is no text is as if it were not there: the route names its own error for that."""


async def sent_by(request: Request) -> str | None:
    return sent_token(dict(request.scope["headers"]))


async def connect_token_of(token: Annotated[str | None, Depends(sent_by)]) -> str:
    if token is None:
        raise Unauthorized("this needs a connect token: Authorization: Bearer TOKEN", code="auth_required")
    return token


SentToken = Annotated[str | None, Depends(sent_by)]
"""Of Authorization: Bearer, whatever kind it is."""
ConnectToken = Annotated[str, Depends(connect_token_of)]


class LinkView(BaseModel):
    """`link_id` is null where the identity cannot be read."""

    link_id: str | None
    display_name: str


class TokenView(BaseModel):
    token: str
    expires_at: str

    @classmethod
    def of(cls, token: Token) -> TokenView:
        return cls(token=token.token, expires_at=iso(token.expires_at))


class AdmissionAnswer(Answer):
    """The only time that these tokens are told."""

    link: LinkView
    device: DeviceView
    access_token: TokenView
    refresh_token: TokenView


class RefreshedAnswer(Answer):
    device: DeviceView
    access_token: TokenView
    refresh_token: TokenView


class AuthView(BaseModel):
    kind: Literal["device"] = "device"
    account_id: None = None


class MeAnswer(Answer):
    auth: AuthView
    link: LinkView
    device: DeviceView


class DeviceSession(Body):
    device_label: str = Field(min_length=1, max_length=MAX_WORDS)
    device_platform: AnyPlatform
    device_model: str | None = Field(None, max_length=MAX_WORDS)
    app_instance_id: str | None = Field(None, max_length=MAX_WORDS)


class Refreshing(Body):
    refresh_token: Text = None


Leaving = Annotated[Refreshing | None, BeforeValidator(lambda sent: sent if isinstance(sent, dict) else None)]


@router.get("/me")
async def show_me(link: TheLink, caller: TheCaller) -> MeAnswer:
    """The device that asks, and the Link that answers."""
    device = await link.devices.get(caller.device_id)
    return MeAnswer(auth=AuthView(), link=link_view(link), device=DeviceView.of(device, caller.device_id))


@router.post("/device-session")
async def open_device_session(
    session: DeviceSession, link: TheLink, peer: ThePeer, connect_token: ConnectToken, app_instance: AppInstance = None
) -> AdmissionAnswer:
    """Lets a device in by a connect token, which is spent by that."""
    newcomer = Newcomer(
        label=session.device_label,
        platform=session.device_platform,
        model=session.device_model or None,
        app_instance=session.app_instance_id or app_instance or None,
    )
    return admitted(link, await link.pairing.by_connect_token(connect_token, newcomer, peer.address))


@router.post("/refresh")
async def refresh_tokens(
    link: TheLink, peer: ThePeer, refreshing: Refreshing | None = None, app_instance: AppInstance = None
) -> RefreshedAnswer:
    """New tokens for a refresh token. The same one again within 30 seconds is an answer that was lost; later it is
    reuse, and all tokens of the device end."""
    if refreshing is None or not refreshing.refresh_token:
        raise InvalidInput("send the refresh token", code="refresh_token_required", param="refresh_token")
    admission = await link.pairing.refresh(refreshing.refresh_token, app_instance or None, peer.address)
    return RefreshedAnswer(
        device=DeviceView.of(admission.device, admission.device.id),
        access_token=TokenView.of(admission.access),
        refresh_token=TokenView.of(admission.refresh),
    )


@router.post("/logout")
async def log_out(link: TheLink, peer: ThePeer, access_token: SentToken, leaving: Leaving = None) -> Answer:
    """The tokens of the device end, whichever of them was sent."""
    sent = (access_token, leaving.refresh_token if leaving else None)
    await link.pairing.logout([token for token in sent if token], peer.address)
    return Answer()


def link_view(link: Link) -> LinkView:
    return LinkView(link_id=link.identity.link_id, display_name=link.network.display_name)


def admitted(link: Link, admission: Admission) -> AdmissionAnswer:
    return AdmissionAnswer(
        link=link_view(link),
        device=DeviceView.of(admission.device, admission.device.id),
        access_token=TokenView.of(admission.access),
        refresh_token=TokenView.of(admission.refresh),
    )
