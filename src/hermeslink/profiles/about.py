"""What a person says of a profile, checked."""

from __future__ import annotations

from hermes.core.errors import InvalidInput
from hermes.home.about import AVATAR_TYPES, IMAGE, INITIALS, MAX_DESCRIPTION, MAX_DISPLAY_NAME, is_avatar_url
from hermeslink.core.text import is_shown, one_line


def checked_display_name(text: str | None) -> str | None:
    """None, and what cannot be seen, takes it away. Raises InvalidInput `invalid_profile_display_name`."""
    line = one_line(text or "")
    if len(line) > MAX_DISPLAY_NAME:
        raise InvalidInput(
            f"a display name is one line of at most {MAX_DISPLAY_NAME} characters",
            code="invalid_profile_display_name",
            param="display_name",
        )
    return line or None


def checked_description(text: str | None) -> str | None:
    kept = "".join(sign for sign in (text or "") if sign == "\n" or is_shown(sign)).strip()
    if len(kept) > MAX_DESCRIPTION:
        raise InvalidInput(
            f"a description has at most {MAX_DESCRIPTION} characters",
            code="invalid_profile_description",
            param="description",
        )
    return kept or None


def checked_avatar(kind: object, url: str | None) -> tuple[str, str | None]:
    """`kind` None: initials. Raises InvalidInput `invalid_profile_avatar_type`, `invalid_profile_avatar_url`."""
    kind = INITIALS if kind is None else kind
    if not isinstance(kind, str) or kind not in AVATAR_TYPES:
        raise InvalidInput(
            f"avatar_type is {' or '.join(AVATAR_TYPES)}", code="invalid_profile_avatar_type", param="avatar_type"
        )
    if kind != IMAGE:
        return kind, None
    if not url or not is_avatar_url(url):
        raise InvalidInput(
            "avatar_url is an https address, or data:image/ of a small png, jpeg, gif or webp in base64",
            code="invalid_profile_avatar_url",
            param="avatar_url",
        )
    return kind, url
