"""The models of profiles: looked at, changed, and noted in the audit (model_configs.py, model_edits.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hermes.core.errors import InvalidInput
from hermes.home.live import needs_restart
from hermes.home.locks import edit_lock
from hermes.home.paths import Home
from hermeslink.core.caller import Caller
from hermeslink.profiles import model_configs
from hermeslink.profiles.files import ProfileFiles
from hermeslink.profiles.model_configs import ModelConfigs
from hermeslink.profiles.model_edits import ModelDraft, Wanted


@dataclass(frozen=True, slots=True)
class Changed:
    """`restart_hint`: what to do so that a running gateway takes it up; None where it does so by itself."""

    configs: ModelConfigs
    restart_hint: str | None


class ProfileModels:
    """Errors are those of `ModelDraft` and of `ProfileFiles`. `environ` speaks for the default profile."""

    def __init__(self, files: ProfileFiles, environ: Mapping[str, str]) -> None:
        self._files = files
        self._environ = environ

    async def show(self, profile: str) -> ModelConfigs:
        return await self._files.read(profile, self.of)

    def of(self, home: Home) -> ModelConfigs:
        """For who has a home at hand already; not on the event loop."""
        return model_configs.of(home, self._environ)

    async def save(self, caller: Caller, profile: str, wanted: Wanted) -> Changed:
        noted = {"model": wanted.id, "fields": sorted(wanted.said), "key": wanted.api_key is not None}
        return await self._change(caller, profile, "model_config.saved", lambda draft: draft.save(wanted), noted)

    async def delete(self, caller: Caller, profile: str, model_id: str | None) -> Changed:
        if not model_id:
            raise InvalidInput("say in model_id which one", code="model_id_required", param="model_id")
        noted = {"model": model_id[:200]}
        return await self._change(caller, profile, "model_config.deleted", lambda draft: draft.delete(model_id), noted)

    async def set_defaults(self, caller: Caller, profile: str, said: Mapping[str, str | None]) -> Changed:
        """`said`: `task_model_id` and `compression_model_id`, as far as they were sent; null gives compression to the
        model that is asked. Raises InvalidInput `model_config_update_empty`."""
        if not said:
            raise InvalidInput(
                "say task_model_id, compression_model_id, or both",
                code="model_config_update_empty",
                param="task_model_id",
            )

        def change(draft: ModelDraft) -> None:
            if "task_model_id" in said:
                draft.make_default(said["task_model_id"] or "")
            if "compression_model_id" in said:
                draft.compress_with(said["compression_model_id"] or None)

        return await self._change(caller, profile, "model_config.defaults_changed", change, dict(said))

    async def _change(
        self,
        caller: Caller,
        profile: str,
        action: str,
        change: Callable[[ModelDraft], None],
        noted: Mapping[str, Any],
    ) -> Changed:
        def work(home: Home) -> Changed:
            with edit_lock(home.config_file):
                draft = ModelDraft(home, self._environ)
                change(draft)
                draft.write()
                configs = self.of(home)
            waits = any(needs_restart(name) for name in draft.changed)
            hint = f"the running gateway goes on as it was until: {home.command} gateway restart" if waits else None
            return Changed(configs, hint)

        return await self._files.change(caller, profile, action, work, noted)
