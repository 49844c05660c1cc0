"""Events of a run as text for a terminal: plain lines that are only added to. `live` has what is rewritten in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hermes.cli.context import plain


class PlainView:
    """Events, as their projections have them, as lines for any terminal or file. It remembers whether the cursor stands
    behind some text."""

    def __init__(self) -> None:
        self.is_in_line = False
        self._reasons = False

    def show(self, event: Mapping[str, Any]) -> str:
        """The text of one event, which may be none."""
        match event.get("event"):
            case "message.delta":
                return self._say(event["delta"], reasons=False)
            case "reasoning.delta":
                return self._say(event["delta"], reasons=True)
            case "tool.started":
                return self.own_line(f"{event.get('emoji') or '🔧'} {event['tool']}: {one_line(event['preview'], 200)}")
            case "tool.completed":
                how = f"failed: {one_line(event['error'], 200)}" if event["error"] else one_line(event["preview"], 200)
                return self.own_line(f"  ↳ {event['duration']:g} s  {how}")
            case "subagent.start":
                return self.own_line(f"👥 {event['subagent_id']}: {one_line(event['goal'], 200)}")
            case "subagent.complete":
                how = f"{event['status']}: {one_line(event['error'] or event['summary'], 200)}"
                return self.own_line(f"  ↳ {event['duration']:g} s  {event['subagent_id']} {how}")
            case "tool.client_call":
                return self.own_line(f"🔌 {event['tool']} is the client's to run: {one_line(event['arguments'], 200)}")
            case "approval.request":
                way_out = f"Answer with: hermes runs approve {event.get('run_id', 'RUN_ID')}"
                return self.own_line(f"{question_text(event)}\n{way_out}")
            case "approval.responded":
                who = f" by {plain(event['by'])}" if event["by"] else ""
                return self.own_line(f"  ↳ {event['choice']}{who} ({event['outcome']})")
            case "clarify.request":
                way_out = f"Answer with: hermes runs answer {event.get('run_id', 'RUN_ID')} TEXT"
                return self.own_line(f"{clarification_text(event)}\n{way_out}")
            case "clarify.responded":
                return self.own_line(f"  ↳ {one_line(event['answer'] or 'nobody answered', 400)}")
            case "model.retry":
                return self.own_line(f"… the model failed ({one_line(event['reason'])}); asking {event['model']}")
            case "context.compacted":
                how = f"about {event['tokens_before']:,} tokens, now {event['tokens_after']:,}"
                return self.own_line(f"… too long for the model, which is shown it in short: {how}")
            case "run.warning":
                return self.own_line(f"! {one_line(event['message'], 400)}")
            case "run.steered":
                return self.own_line(f"» {one_line(event['text'], 400)}")
            case "run.completed" | "run.failed" | "run.cancelled" | "run.interrupted":
                return self.own_line(_ending(event))
            case _:
                return ""

    def _say(self, text: str, *, reasons: bool) -> str:
        start = ""
        if reasons != self._reasons:
            start = ("\n" if self.is_in_line else "") + ("(thinking) " if reasons else "")
            self._reasons = reasons
        self.is_in_line = not text.endswith("\n")
        return start + plain(text)

    def own_line(self, text: str) -> str:
        start = "\n" if self.is_in_line else ""
        self.is_in_line = self._reasons = False
        return f"{start}{text}\n"


def _ending(event: Mapping[str, Any]) -> str:
    match event["event"]:
        case "run.completed":
            usage = event["usage"]
            cost = "" if usage.get("cost_usd") is None else f", {usage['cost_usd']:.4f} USD"
            return f"✓ completed: {usage.get('input_tokens', 0)} tokens in, {usage.get('output_tokens', 0)} out{cost}"
        case "run.failed":
            return f"✗ failed: {one_line(str(event['error'].get('message', '')), 400)}"
        case "run.cancelled":
            return f"✗ stopped: {one_line(event['reason'], 400)}" if event["reason"] else "✗ stopped"
        case _:
            return f"✗ interrupted: {one_line(event['reason'], 400)}"


def question_text(question: Mapping[str, Any]) -> str:
    command = plain(question["command"]).replace("\n", "\n    ")
    return f"? {question['tool']}: {one_line(question['description'], 200)}\n    {command}"


def clarification_text(event: Mapping[str, Any]) -> str:
    choices = "".join(f"\n    · {one_line(choice, 400)}" for choice in event["choices"])
    return f"? {one_line(event['question'], 4_000)}{choices}"


def one_line(text: str, most: int = 60) -> str:
    line = plain(" ".join(text.split()))
    return line if len(line) <= most else line[: most - 1] + "…"
