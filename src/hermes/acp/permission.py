"""Questions put to the person at the editor: of the approval gate, and of the model."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from acp import schema
from acp.interfaces import Client

from hermes.core.event import ClarifyRequested

log = logging.getLogger(__name__)

OPTIONS: dict[str, tuple[str, schema.PermissionOptionKind]] = {
    "once": ("Allow once", "allow_once"),
    "session": ("Allow for this session", "allow_always"),
    "always": ("Always allow", "allow_always"),
    "deny": ("Deny", "reject_once"),
}
"""What each answer of an approval is called in an editor."""


async def ask_editor(
    editor: Client, session_id: str, call: schema.ToolCallUpdate, choices: Sequence[str]
) -> tuple[str, str | None]:
    """The answer, and why where it is none of the person's own: whatever goes wrong counts as a no."""
    options = [
        schema.PermissionOption(option_id=choice, name=OPTIONS[choice][0], kind=OPTIONS[choice][1])
        for choice in choices
        if choice in OPTIONS
    ]
    try:
        response = await editor.request_permission(session_id, call, options)
    except Exception as error:  # noqa: BLE001 whatever the editor answers with
        log.warning("the editor could not ask for permission: %s", error)
        return "deny", "the editor could not show the question"
    match response.outcome:
        case schema.AllowedOutcome(option_id=chosen) if chosen in {option.option_id for option in options}:
            return chosen, None
        case schema.AllowedOutcome(option_id=chosen):
            return "deny", f"the editor answered {chosen!r}, which was not offered"
    return "deny", "the question was closed in the editor"


NO_CHOICE = (
    "(None of the choices. What the user wants instead you learn by ending your answer with the question; "
    "the next message answers it.)"
)
CANNOT_ASK = (
    "(This editor cannot show a question that is answered in words. End your answer with the question; the next "
    "message answers it.)"
)


async def ask_for_words(
    editor: Client, session_id: str, call: schema.ToolCallUpdate, question: ClarifyRequested, *, has_forms: bool
) -> str:
    """What the model is told. `has_forms`: the editor can ask for text; else it offers the choices as buttons."""
    try:
        if has_forms:
            return await _form(editor, session_id, call.tool_call_id, question)
        if question.choices:
            return await _buttons(editor, session_id, call, question.choices)
    except Exception as error:  # noqa: BLE001 whatever the editor answers with
        log.warning("the editor could not ask the model's question: %s", error)
    return CANNOT_ASK


async def _buttons(editor: Client, session_id: str, call: schema.ToolCallUpdate, choices: Sequence[str]) -> str:
    options = [
        schema.PermissionOption(option_id=f"choice_{number}", name=choice, kind="allow_once")
        for number, choice in enumerate(choices)
    ]
    options.append(schema.PermissionOption(option_id="none", name="Something else", kind="reject_once"))
    response = await editor.request_permission(session_id, call, options)
    chosen = response.outcome.option_id if isinstance(response.outcome, schema.AllowedOutcome) else None
    return next((option.name for option in options[:-1] if option.option_id == chosen), NO_CHOICE)


async def _form(editor: Client, session_id: str, tool_call_id: str, question: ClarifyRequested) -> str:
    hint = f"For example: {' · '.join(question.choices)}" if question.choices else None
    answer = schema.ElicitationStringPropertySchema(type="string", title="Your answer", description=hint)
    mode = schema.ElicitationFormSessionMode(
        session_id=session_id,
        tool_call_id=tool_call_id,
        requested_schema=schema.ElicitationSchema(properties={"answer": answer}, required=["answer"]),
    )
    response = await editor.create_elicitation(question.question, mode)
    if isinstance(response, schema.AcceptElicitationResponse):
        said = (response.content or {}).get("answer")
        text = str(getattr(said, "root", said) or "").strip()
        if text:
            return text
    return NO_CHOICE
