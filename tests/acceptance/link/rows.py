"""The 97 published rows of Link as data: who may call each, what a right call is, and what comes back.

`body` is what is sent; `fields` are those of the answer that clients know. Parts in `{braces}` are filled with things
that a `World` makes for each call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Access = Literal["public", "connect", "machine", "chat", "admin"]
"""machine: without a token, where it comes from this machine itself."""

Kind = Literal["json", "bare", "sse", "html", "bytes", "empty"]


def anonymous(path: str) -> str:
    """Whatever its parameters are called."""
    return re.sub(r"\{[^}]*\}", "{}", path)


@dataclass(frozen=True)
class Row:
    """`kind`: json has `ok`, bare is JSON without it."""

    method: str
    path: str
    access: Access = "chat"
    status: int = 200
    kind: Kind = "json"
    fields: str = ""
    body: Any = None
    content: bytes | None = None
    query: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def route(self) -> str:
        return f"/api/v1{self.path}" if self.path != "/pair" else self.path


TOKENS = "link device access_token refresh_token"
CONVERSATION = "/conversations/{conversation}"
JOB = "/profiles/{profile}/cron-jobs/{job}"
CREATION = "state profile_name job_id started_at finished_at lines error"
MEMORY = "/profiles/{profile}/memory"
TOOL = "/profiles/{profile}/tool-configs/{tool}"
PERMISSIONS = "/profiles/{profile}/permissions"
REMEMBERED = "profileName memoryDir stores settings notice"
SPEAK = {"content": "hello"}
UPDATE = "state job_id started_at finished_at exit_code lines error target_version manual_command"
CHECK = "local remote update_available check_state issue manual"
PROFILE_MODELS = "/profiles/{profile}/model-configs"
MODELS = "configPath defaultModel defaultReasoningEffort compressionModelId models"
RELOAD = "requiresGatewayReload restartHint"
MODEL = {"id": "{model}", "provider": "custom", "base_url": "http://127.0.0.1:9/v1", "reasoning_effort": "low"}

ROWS = (
    Row("GET", "/pair", "public", kind="html"),
    Row(
        "GET",
        "/bootstrap",
        "public",
        kind="bare",
        fields="link_id display_name version api_version paired pairing_supported preferred_pairing_urls routes "
        "capabilities",
    ),
    Row("GET", "/auth/me", fields="auth link device"),
    Row("POST", "/auth/device-session", "connect", fields=TOKENS, body={"device_label": "A", "device_platform": "web"}),
    Row(
        "POST",
        "/auth/refresh",
        "public",
        fields="device access_token refresh_token",
        body={"refresh_token": "{refresh}"},
    ),
    Row("POST", "/auth/logout", "public", body={"refresh_token": "{refresh}"}),
    Row("GET", "/pairing/session", "public", fields="session", query={"session_id": "{pairing}"}),
    Row(
        "POST",
        "/pairing/claim",
        "public",
        fields=TOKENS,
        body={"session_id": "{pairing}", "claim_token": "{code}", "device_label": "A", "device_platform": "android"},
    ),
    Row(
        "GET",
        "/status",
        fields="version paired link_id port link hermes gateway api_server devices profiles",
    ),
    Row("GET", "/logs", "admin", fields="source logs", query={"source": "link", "limit": "5"}),
    Row("GET", "/devices", "chat", fields="current_device_id devices summary"),
    Row("PATCH", "/devices/{device}", "admin", body={"label": "Kitchen"}, fields="device"),
    Row("DELETE", "/devices/{device}", "admin", fields="current_device_revoked device summary"),
    Row("DELETE", "/devices/{revoked}/app-listing", "admin"),
    Row("GET", "/conversations", fields="conversations page"),
    Row("GET", "/conversations/search", fields="conversations page", query={"q": "hello"}),
    Row("POST", "/conversations", status=201, fields="conversation", body={"title": "Plans"}),
    Row("DELETE", "/conversations", body={"conversation_ids": ["{conversation}"]}),
    Row("DELETE", CONVERSATION, fields="conversation_id deleted_at blobs_deleted"),
    Row("GET", f"{CONVERSATION}/messages", fields="conversation_id messages last_event_seq runtime page"),
    Row(
        "POST",
        f"{CONVERSATION}/messages",
        status=202,
        body=SPEAK,
        fields="conversation_id user_message assistant_message run last_event_seq conversation",
    ),
    Row("GET", f"{CONVERSATION}/events", kind="sse"),
    Row("GET", "/conversations/events", kind="sse"),
    Row("PATCH", f"{CONVERSATION}/title", body={"title": "Trip"}, fields="conversation"),
    Row("PATCH", f"{CONVERSATION}/model", body={"model_id": "hermes-agent"}, fields="conversation"),
    Row("PATCH", f"{CONVERSATION}/profile", body={"profile": "default"}, fields="conversation"),
    Row("POST", f"{CONVERSATION}/ack", body={"seq": 1}, fields="acked_seq"),
    Row("POST", "/conversations/clear-plans", status=201, body={}, fields="plan"),
    Row("GET", "/conversations/clear-plans/{plan}", fields="plan"),
    Row("POST", "/conversations/clear-plans/{plan}/execute", fields="plan"),
    Row("POST", f"{CONVERSATION}/runs/{{run}}/cancel", fields="run"),
    Row("POST", f"{CONVERSATION}/approvals/{{approval}}/approve", body={}, fields="approval_id decision scope"),
    Row("POST", f"{CONVERSATION}/approvals/{{approval}}/deny", body={}, fields="approval_id decision scope"),
    Row("POST", f"{CONVERSATION}/blobs", status=201, content=b"some text", fields="blob blob_id"),
    Row("GET", f"{CONVERSATION}/blobs/{{blob}}", kind="bytes"),
    Row("DELETE", f"{CONVERSATION}/blobs/{{blob}}", fields="deleted blob_id"),
    Row("GET", "/statistics", fields="statistics"),
    Row("GET", "/statistics/usage", fields="usage"),
    Row("GET", "/models", kind="bare", fields="object data"),
    Row("GET", "/model-configs", fields=MODELS),
    Row("POST", "/model-configs", "admin", fields=f"{MODELS} {RELOAD} model", body=MODEL),
    Row("PATCH", "/model-configs/defaults", "admin", fields=f"{MODELS} {RELOAD}", body={"task_model_id": "{model}"}),
    Row("DELETE", "/model-configs", "admin", fields=f"{MODELS} {RELOAD}", body={"model_id": "{model}"}),
    Row("GET", "/profiles", fields="profiles"),
    Row("POST", "/profiles", "admin", 202, fields=CREATION, body={"name": "{fresh}"}),
    Row("PATCH", "/profiles/{spare}", "admin", body={"display_name": "Ada"}, fields="profile"),
    Row("DELETE", "/profiles/{spare}", "admin", 204, kind="empty"),
    Row("GET", "/profiles/catalog", fields="generatedAt profiles"),
    Row("GET", "/profile-creation/status", "admin", fields=CREATION),
    Row("GET", "/profile-creation/events", "admin", kind="sse"),
    Row("GET", "/profiles/{profile}/status", fields="profile"),
    Row("GET", "/profiles/{profile}/statistics", fields="profile capabilities statistics"),
    Row("GET", "/profiles/{profile}/skills", fields="skills categories"),
    Row("PATCH", "/profiles/{profile}/skills/{skill}", "admin", body={"enabled": False}, fields="skill"),
    Row("GET", MEMORY, fields=REMEMBERED),
    Row("POST", f"{MEMORY}/entries", "admin", body={"target": "user", "content": "Has a {entry}"}, fields=REMEMBERED),
    Row(
        "PATCH",
        f"{MEMORY}/entries",
        "admin",
        body={"target": "memory", "match": "{entry}", "content": "another"},
        fields=REMEMBERED,
    ),
    Row("DELETE", f"{MEMORY}/entries", "admin", body={"target": "memory", "match": "{entry}"}, fields=REMEMBERED),
    Row("DELETE", MEMORY, "admin", body={"target": "all"}, fields=REMEMBERED),
    Row("PATCH", f"{MEMORY}/settings", "admin", body={"userCharLimit": 1000}, fields=REMEMBERED),
    Row("PATCH", f"{MEMORY}/provider", "admin", body={"provider": "built-in"}, fields=REMEMBERED),
    Row("GET", PERMISSIONS, fields="permissions"),
    Row(
        "PATCH",
        PERMISSIONS,
        "admin",
        body={"approvals": {"timeout": 60}, "command_allowlist": []},
        fields="permissions",
    ),
    Row("GET", TOOL, fields="profileName configPath toolKey available values configured"),
    Row("PATCH", TOOL, "admin", body={"values": {"maxResults": 8}}, fields="profileName toolKey values configured"),
    Row("GET", PROFILE_MODELS, fields=MODELS),
    Row("POST", PROFILE_MODELS, "admin", fields=f"{MODELS} {RELOAD} model", body=MODEL),
    Row(
        "PATCH",
        f"{PROFILE_MODELS}/defaults",
        "admin",
        fields=f"{MODELS} {RELOAD}",
        body={"compression_model_id": "{model}"},
    ),
    Row("DELETE", PROFILE_MODELS, "admin", fields=f"{MODELS} {RELOAD}", body={"model_id": "{model}"}),
    Row("GET", "/cron-jobs", fields="jobs failures"),
    Row("GET", "/profiles/{profile}/cron-jobs", fields="jobs failures"),
    Row(
        "POST",
        "/profiles/{profile}/cron-jobs",
        "admin",
        201,
        fields="job",
        body={"name": "news", "schedule": "0 8 * * *", "prompt": "What is new?"},
    ),
    Row("GET", JOB, fields="job"),
    Row("PATCH", JOB, "admin", body={"name": "other"}, fields="job"),
    Row("DELETE", JOB, "admin"),
    Row("POST", f"{JOB}/pause", "admin", fields="job"),
    Row("POST", f"{JOB}/resume", "admin", fields="job"),
    Row("POST", f"{JOB}/run", "admin"),
    Row("POST", "/runs", status=202, kind="bare", fields="run_id fallback", body={"input": "hello"}),
    Row("GET", "/runs/{direct}/events", kind="sse"),
    Row("POST", "/runs/{direct}/cancel"),
    Row("GET", "/hermes/update-check", "admin", fields=CHECK),
    Row("GET", "/hermes/update/status", "admin", fields=UPDATE),
    Row("POST", "/hermes/update", "admin", 409, "bare", "error", {}),
    Row("GET", "/hermes/update/events", "admin", kind="sse"),
    Row("GET", "/link/update-check", "admin", fields=CHECK),
    Row("GET", "/link/update/status", "admin", fields=UPDATE),
    Row("POST", "/link/update", "admin", 409, "bare", "error", {}),
    Row("GET", "/link/update/events", "admin", kind="sse"),
    Row(
        "GET",
        "/system/status",
        fields="version linkId installId port autostart environment networkReport updateAvailable",
    ),
    Row("GET", "/system/version", "public", fields="version"),
    Row("POST", "/system/autostart/enable", "admin", fields="autostart note"),
    Row("POST", "/system/autostart/disable", "admin", fields="autostart note"),
    Row("GET", "/system/logs", "admin", fields="entries", query={"limit": "5"}),
    Row("GET", "/system/logs/gateway", "admin", fields="entries", query={"limit": "5"}),
    Row("GET", "/system/updates", "admin", fields="update_available hermes link dismissed_version"),
    Row("POST", "/system/updates/dismiss", "admin", body={"version": "99.0"}, fields="dismissed_version"),
)

ARCHIVE_PLANS = "/conversations/archive-plans"
BEYOND = (
    Row("POST", "/pairing/session", "machine", 201, body={"scope": "chat"}, fields="session scope connect_token qr"),
    Row("GET", "/conversations/archived", fields="conversations page"),
    Row("GET", "/conversations/archived/search", fields="conversations page", query={"q": "hello"}),
    Row("POST", f"{CONVERSATION}/archive", body={}, fields="conversation"),
    Row("POST", f"{CONVERSATION}/unarchive", body={}, fields="conversation"),
    Row("POST", ARCHIVE_PLANS, status=201, body={}, fields="plan"),
    Row("GET", f"{ARCHIVE_PLANS}/{{archive_plan}}", fields="plan"),
    Row("POST", f"{ARCHIVE_PLANS}/{{archive_plan}}/execute", body={}, fields="plan"),
    Row("GET", "/audit", "admin", fields="entries"),
    Row(
        "PATCH",
        f"{MEMORY}/providers/{{provider}}/settings",
        "admin",
        body={"user_char_limit": 1100},
        fields=REMEMBERED,
    ),
    Row("GET", "/expose", "admin", fields="exposed url exposure byHand answers problem"),
    Row("POST", "/expose", "admin", fields="exposed url exposure byHand answers problem", body={"seconds": None}),
    Row("DELETE", "/expose", "admin", fields="exposed closed byHand"),
)
"""Ours beside the published ones."""


@dataclass(frozen=True)
class Wrong:
    """A call that is refused: with this status and code. `token`: what is sent instead of the admin's."""

    method: str
    path: str
    status: int
    code: str
    body: Any = None
    query: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    token: str | None = None

    def __str__(self) -> str:
        return f"{self.code}: {self.method} {self.path} {'&'.join(self.query)}"


NOBODY = "0" * 32
NO_CONVERSATION = f"/conversations/conv_{NOBODY}"
ONE = {"conversation_ids": ["{conversation}", f"conv_{NOBODY}"]}

WRONGS = (
    Wrong(
        "POST", "/auth/device-session", 401, "auth_required", {"device_label": "A", "device_platform": "web"}, token=""
    ),
    Wrong(
        "POST",
        "/auth/device-session",
        401,
        "auth_invalid",
        {"device_label": "A", "device_platform": "web"},
        token="x" * 43,
    ),
    Wrong("POST", "/auth/device-session", 403, "app_connect_required", {"device_label": "A", "device_platform": "web"}),
    Wrong("GET", "/auth/me", 401, "auth_required", token=""),
    Wrong("GET", "/auth/me", 401, "device_access_token_invalid", token="hlat_" + "x" * 43),
    Wrong("POST", "/auth/refresh", 400, "refresh_token_required", {}),
    Wrong("POST", "/expose", 400, "expose_command_refused", {"via": "command"}),
    Wrong("POST", "/expose", 400, "invalid_request", {"via": "smoke"}),
    Wrong("POST", "/expose", 400, "invalid_request", {"seconds": 0}),
    Wrong("POST", "/expose", 400, "invalid_request", {"seconds": 10**9}),
    Wrong("POST", "/expose", 422, "validation_error", {"seconds": True}),
    Wrong("POST", "/expose", 409, "expose_tool_missing", {"via": "cloudflared"}),
    Wrong("POST", "/auth/refresh", 401, "refresh_token_invalid", {"refresh_token": "hlrt_" + "x" * 43}),
    Wrong("GET", "/pairing/session", 400, "pairing_session_required"),
    Wrong("GET", "/pairing/session", 404, "pairing_session_not_found", query={"session_id": f"ps_{NOBODY}"}),
    Wrong("POST", "/pairing/claim", 400, "pairing_claim_invalid", {}),
    Wrong(
        "POST",
        "/pairing/claim",
        404,
        "pairing_session_not_found",
        {"session_id": f"ps_{NOBODY}", "claim_token": "x" * 43},
    ),
    Wrong(
        "POST", "/pairing/claim", 409, "pairing_claim_mismatch", {"session_id": "{pairing}", "claim_token": "x" * 43}
    ),
    Wrong(
        "POST", "/pairing/claim", 409, "pairing_already_claimed", {"session_id": "{claimed}", "claim_token": "{code}"}
    ),
    Wrong("PATCH", "/devices/{device}", 400, "device_label_required", {}),
    Wrong("PATCH", "/devices/{device}", 400, "device_label_invalid", {"label": "x" * 129}),
    Wrong("PATCH", f"/devices/dev_{NOBODY}", 404, "device_not_found", {"label": "A"}),
    Wrong("PATCH", "/devices/{revoked}", 409, "device_revoked", {"label": "A"}),
    Wrong("DELETE", f"/devices/dev_{NOBODY}", 404, "device_not_found"),
    Wrong("DELETE", "/devices/{device}/app-listing", 409, "device_still_active"),
    Wrong("DELETE", f"/devices/dev_{NOBODY}/app-listing", 404, "device_not_found"),
    Wrong("GET", "/conversations", 400, "invalid_cursor", query={"cursor": "nothing"}),
    Wrong("GET", "/conversations", 422, "validation_error", query={"limit": "101"}),
    Wrong("GET", "/conversations/search", 400, "invalid_cursor", query={"q": "a", "cursor": "nothing"}),
    Wrong("POST", "/conversations", 404, "profile_not_found", {"profile": "nobody"}),
    Wrong("GET", "/profiles/nobody/model-configs", 404, "profile_not_found"),
    Wrong("GET", "/profiles/..%2f/model-configs", 404, "not_found"),
    Wrong("POST", "/model-configs", 422, "validation_error", {"provider": "openai"}),
    Wrong("POST", "/model-configs", 400, "model_config_invalid", {"id": "a", "provider": "custom"}),
    Wrong("POST", PROFILE_MODELS, 404, "model_config_not_found", {**MODEL, "original_id": "nothing"}),
    Wrong("PATCH", "/model-configs/defaults", 400, "model_config_update_empty", {}),
    Wrong("PATCH", "/model-configs/defaults", 400, "model_config_unknown", {"task_model_id": "nothing"}),
    Wrong("DELETE", "/model-configs", 400, "model_id_required", {}),
    Wrong("DELETE", "/model-configs", 404, "model_config_not_found", {"model_id": "nothing"}),
    Wrong("DELETE", "/conversations", 400, "conversation_ids_required", {}),
    Wrong("DELETE", "/conversations", 409, "conversation_bulk_delete_partial_failure", ONE),
    Wrong("DELETE", NO_CONVERSATION, 404, "conversation_not_found"),
    Wrong("DELETE", "/conversations/nothing", 404, "conversation_not_found"),
    Wrong("GET", f"{NO_CONVERSATION}/messages", 404, "conversation_not_found"),
    Wrong("GET", f"{CONVERSATION}/messages", 400, "message_cursor_not_found", query={"before": f"msg_{NOBODY}"}),
    Wrong("POST", f"{CONVERSATION}/messages", 400, "message_content_required", {}),
    Wrong("POST", f"{CONVERSATION}/messages", 400, "message_content_required", {"content": "  "}),
    Wrong("POST", f"{CONVERSATION}/messages", 404, "blob_not_found", {"attachments": [f"blob_{NOBODY}"]}),
    Wrong("POST", f"{NO_CONVERSATION}/messages", 404, "conversation_not_found", SPEAK),
    Wrong("GET", f"{NO_CONVERSATION}/events", 404, "conversation_not_found"),
    Wrong("PATCH", f"{CONVERSATION}/title", 400, "title_required", {}),
    Wrong("PATCH", f"{CONVERSATION}/model", 400, "model_id_required", {}),
    Wrong("PATCH", f"{CONVERSATION}/profile", 400, "profile_required", {}),
    Wrong("PATCH", f"{CONVERSATION}/profile", 404, "profile_not_found", {"profile": "nobody"}),
    Wrong("PATCH", f"{NO_CONVERSATION}/title", 404, "conversation_not_found", {"title": "A"}),
    Wrong("POST", f"{NO_CONVERSATION}/ack", 404, "conversation_not_found", {"seq": 1}),
    Wrong("GET", f"/conversations/clear-plans/plan_{NOBODY}", 404, "clear_plan_not_found"),
    Wrong("POST", f"/conversations/clear-plans/plan_{NOBODY}/execute", 404, "clear_plan_not_found"),
    Wrong("POST", "/conversations/clear-plans/{executed}/execute", 409, "clear_plan_executed"),
    Wrong("POST", f"{CONVERSATION}/runs/run_{NOBODY}/cancel", 404, "run_not_found"),
    Wrong("POST", f"{CONVERSATION}/runs/{{ended}}/cancel", 409, "run_not_active"),
    Wrong("POST", f"{CONVERSATION}/approvals/appr_{NOBODY}/approve", 404, "approval_not_found", {}),
    Wrong("POST", f"{CONVERSATION}/approvals/appr_{NOBODY}/deny", 404, "approval_not_found", {}),
    Wrong("POST", f"{CONVERSATION}/approvals/{{approval}}/approve", 422, "validation_error", {"scope": "for ever"}),
    Wrong("POST", f"{CONVERSATION}/approvals/{{resolved}}/deny", 409, "approval_resolved", {}),
    Wrong("POST", f"{CONVERSATION}/blobs", 400, "blob_empty", content=b""),
    Wrong("POST", f"{NO_CONVERSATION}/blobs", 404, "conversation_not_found", content=b"a"),
    Wrong("GET", f"{CONVERSATION}/blobs/blob_{NOBODY}", 404, "blob_not_found"),
    Wrong("GET", "/conversations/{other}/blobs/{blob}", 404, "blob_not_found"),
    Wrong("DELETE", "/conversations/{other}/blobs/{blob}", 404, "blob_not_found"),
    Wrong("DELETE", f"{CONVERSATION}/blobs/{{used}}", 409, "blob_in_use"),
    Wrong("GET", "/statistics/usage", 400, "invalid_range", query={"days": "0"}),
    Wrong("GET", "/statistics/usage", 400, "invalid_range", query={"days": "366"}),
    Wrong("GET", "/statistics/usage", 400, "invalid_range", query={"from": "2026-02-02", "to": "2026-02-01"}),
    Wrong("GET", "/statistics/usage", 400, "invalid_range", query={"from": "yesterday"}),
    Wrong("GET", "/profiles/nobody/cron-jobs", 404, "profile_not_found"),
    Wrong("POST", "/profiles", 400, "invalid_profile_name", {}),
    Wrong("POST", "/profiles", 400, "invalid_profile_name", {"name": "../etc"}),
    Wrong("POST", "/profiles", 409, "profile_exists", {"name": "default"}),
    Wrong("POST", "/profiles", 404, "profile_not_found", {"name": "copy", "clone_from": "nobody"}),
    Wrong("PATCH", "/profiles/default", 400, "default_profile_not_mutable", {"name": "other"}),
    Wrong("PATCH", "/profiles/default", 400, "profile_update_empty", {}),
    Wrong("PATCH", "/profiles/default", 400, "invalid_profile_avatar_type", {"avatar_type": "film"}),
    Wrong("PATCH", "/profiles/default", 400, "invalid_profile_avatar_url", {"avatar_url": "javascript:alert(1)"}),
    Wrong("PATCH", "/profiles/{spare}", 400, "invalid_profile_name", {"name": "Not A Name"}),
    Wrong("PATCH", "/profiles/{spare}", 409, "profile_exists", {"name": "default"}),
    Wrong("PATCH", "/profiles/nobody", 404, "profile_not_found", {"name": "other"}),
    Wrong("PATCH", "/profiles/nobody", 404, "profile_not_found", {"display_name": "A"}),
    Wrong("DELETE", "/profiles/default", 400, "default_profile_not_mutable"),
    Wrong("DELETE", "/profiles/nobody", 404, "profile_not_found"),
    Wrong("GET", "/profiles/Not.A.Name/status", 404, "profile_not_found"),
    Wrong("GET", "/profiles/nobody/status", 404, "profile_not_found"),
    Wrong("GET", "/profiles/nobody/statistics", 404, "profile_not_found"),
    Wrong("GET", "/system/logs", 422, "validation_error", query={"limit": "1001"}),
    Wrong("GET", "/system/logs/gateway", 404, "profile_not_found", query={"profile": "nobody"}),
    Wrong("GET", "/profiles/nobody/skills", 404, "profile_not_found"),
    Wrong("GET", "/profiles/..%2E/memory", 404, "profile_not_found"),
    Wrong("PATCH", "/profiles/{profile}/skills/{skill}", 400, "skill_enabled_required", {}),
    Wrong("PATCH", "/profiles/{profile}/skills/nothing", 404, "skill_not_found", {"enabled": True}),
    Wrong("GET", "/profiles/nobody/permissions", 404, "profile_not_found"),
    Wrong("PATCH", PERMISSIONS, 400, "profile_permissions_update_empty", {}),
    Wrong("PATCH", PERMISSIONS, 400, "profile_permissions_invalid", {"approvals": {"mode": "loud"}}),
    Wrong("GET", "/profiles/default/tool-configs/teleport", 404, "tool_config_unknown"),
    Wrong("GET", "/profiles/nobody/tool-configs/web", 404, "profile_not_found"),
    Wrong("PATCH", TOOL, 400, "profile_tool_config_update_empty", {}),
    Wrong("PATCH", TOOL, 400, "profile_tool_config_invalid", {"values": {"maxResults": 0}}),
    Wrong("PATCH", "/profiles/default/tool-configs/rl", 409, "tool_not_available", {"values": {"a": 1}}),
    Wrong("POST", f"{MEMORY}/entries", 400, "memory_invalid_target", {"target": "soul", "content": "a"}),
    Wrong("POST", f"{MEMORY}/entries", 400, "memory_content_required", {"target": "user"}),
    Wrong("POST", f"{MEMORY}/entries", 400, "memory_limit_exceeded", {"target": "user", "content": "x" * 9_000}),
    Wrong("PATCH", f"{MEMORY}/entries", 400, "memory_match_required", {"target": "user", "content": "a"}),
    Wrong("DELETE", f"{MEMORY}/entries", 400, "memory_entry_not_found", {"target": "user", "match": "nothing"}),
    Wrong("DELETE", f"{MEMORY}/entries", 400, "memory_entry_ambiguous", {"target": "memory", "match": "{twice}"}),
    Wrong("DELETE", MEMORY, 400, "memory_invalid_target", {}),
    Wrong("PATCH", f"{MEMORY}/settings", 400, "memory_settings_update_empty", {}),
    Wrong("PATCH", f"{MEMORY}/settings", 422, "validation_error", {"memory_char_limit": 0}),
    Wrong("PATCH", f"{MEMORY}/provider", 400, "memory_provider_unknown", {"provider": "cloud"}),
    Wrong("PATCH", f"{MEMORY}/providers/cloud/settings", 400, "memory_provider_unknown", {"user_char_limit": 9}),
    Wrong("POST", "/runs", 400, "run_input_required", {}),
    Wrong("POST", "/runs", 404, "profile_not_found", {"input": "a", "profile": "nobody"}),
    Wrong("GET", f"/runs/run_{NOBODY}/events", 404, "run_not_found"),
    Wrong("POST", f"/runs/run_{NOBODY}/cancel", 404, "run_not_found"),
    Wrong("POST", "/system/updates/dismiss", 400, "update_version_unknown", {"version": "99.0; rm -rf ~"}),
    Wrong("POST", "/link/update", 400, "update_version_unknown", {"version": "99.0 --index-url=http://evil.example"}),
    Wrong("POST", "/hermes/update", 400, "update_version_unknown", {"version": "../../evil"}),
    Wrong("POST", "/link/update", 409, "update_by_hand", {"version": "99.0"}),
    Wrong("GET", "/nothing", 404, "not_found"),
    Wrong("PUT", "/conversations", 405, "method_not_allowed", {}),
    Wrong("POST", "/conversations", 400, "invalid_json", content=b"{"),
    Wrong("POST", "/conversations", 422, "validation_error", {"title": ["no", "text"]}),
    Wrong("POST", "/conversations", 413, "body_too_large", {"title": "x" * (1 << 20)}),
)
"""What needs a clock or a stopped API server (expired codes and plans, 503) is not here."""
