"""What a person can choose for a session in the editor: its mode and its model."""

from __future__ import annotations

from acp import schema

from hermes.acp.modes import TITLES, Mode
from hermes.acp.services import Services
from hermes.acp.session import OpenSession
from hermes.core.errors import InvalidInput

MODE, MODEL = "mode", "model"
DEFAULT_MODEL = "default"

Options = list[schema.SessionConfigOptionSelect | schema.SessionConfigOptionBoolean]


def modes_of(services: Services, session: OpenSession) -> schema.SessionModeState:
    modes = [schema.SessionMode(id=mode, name=name, description=text) for mode, (name, text) in TITLES.items()]
    return schema.SessionModeState(current_mode_id=services.modes.of(session.id), available_modes=modes)


def parse_mode(mode_id: str) -> Mode:
    """Raises InvalidInput."""
    try:
        return Mode(mode_id)
    except ValueError:
        raise InvalidInput(f"no mode {mode_id!r}; there are {', '.join(Mode)}", param="modeId") from None


def options_of(services: Services, session: OpenSession) -> Options:
    modes = [
        schema.SessionConfigSelectOption(value=mode, name=name, description=text)
        for mode, (name, text) in TITLES.items()
    ]
    return [
        schema.SessionConfigOptionSelect(
            type="select",
            id=MODE,
            name="Mode",
            category="mode",
            current_value=services.modes.of(session.id),
            options=modes,
        ),
        schema.SessionConfigOptionSelect(
            type="select",
            id=MODEL,
            name="Model",
            category="model",
            current_value=session.model or DEFAULT_MODEL,
            options=_models(services, session),
        ),
    ]


async def choose_model(services: Services, session: OpenSession, value: str) -> None:
    """Raises InvalidInput for a name that is none, NoModel for one whose model does not answer."""
    name = None if value == DEFAULT_MODEL else value
    known = [option.value for option in _models(services, session)]
    if value not in known and not services.direct_models:
        raise InvalidInput(f"no model {value!r}; there are {', '.join(known)}", param="value")
    await services.models.resolve(name)
    session.model = name


def _models(services: Services, session: OpenSession) -> list[schema.SessionConfigSelectOption]:
    """The home's own, the names of `model_routes`, and, where a model may be asked for by its name, what its server
    says it has."""
    choice = services.models.choice
    title = f"{choice.model} of {choice.provider}" if choice is not None else "none yet"
    names = list(services.models.names)
    if services.direct_models and choice is not None:
        chosen = next((one for one in choice.candidates if one.is_usable and one.provider == choice.provider), None)
        names += [name for name in (chosen.models if chosen is not None else ()) if name != choice.model]
    if session.model is not None:
        names.append(session.model)
    return [
        schema.SessionConfigSelectOption(
            value=DEFAULT_MODEL, name=title, description=choice.why if choice is not None else None
        ),
        *(schema.SessionConfigSelectOption(value=name, name=name) for name in dict.fromkeys(names)),
    ]
