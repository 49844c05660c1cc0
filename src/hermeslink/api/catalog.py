"""All that there is to know of profiles: of each of them at once, and of one with what was said in it."""

from __future__ import annotations

from fastapi import APIRouter

from hermes.core.reasoning import Effort
from hermeslink.api.bodies import CamelAnswer, CamelView
from hermeslink.api.dependencies import TheLink
from hermeslink.api.model_configs import ModelConfigView, facts_of
from hermeslink.api.permissions import PermissionsView
from hermeslink.api.profiles import ProfileView
from hermeslink.api.statistics import Counts, counts_view
from hermeslink.core.times import iso
from hermeslink.profiles.catalog import Capabilities, Entry, Trouble

router = APIRouter(prefix="/api/v1/profiles", tags=["profiles"])


class CapabilitiesView(CamelView):
    """By the files, whether a gateway runs or not; null where they cannot be read. Tools of MCP servers are not among
    them."""

    default_model: str | None
    model_count: int | None
    skill_count: int | None
    tool_count: int | None

    @classmethod
    def of(cls, capabilities: Capabilities) -> CapabilitiesView:
        return cls.model_validate(capabilities)


class ModelConfigsView(CamelView):
    config_path: str
    default_model: str | None
    default_reasoning_effort: Effort | None
    compression_model_id: str | None
    models: list[ModelConfigView]


class TroubleView(CamelView):
    """`part`: permissions, modelConfigs or skills."""

    part: str
    code: str
    message: str

    @classmethod
    def of(cls, trouble: Trouble) -> TroubleView:
        return cls.model_validate(trouble)


class CatalogEntry(CamelView):
    """`permissions` and `modelConfigs` are null where `errors` says why."""

    profile: ProfileView
    capabilities: CapabilitiesView
    permissions: PermissionsView | None
    model_configs: ModelConfigsView | None
    errors: list[TroubleView]

    @classmethod
    def of(cls, entry: Entry) -> CatalogEntry:
        return cls(
            profile=ProfileView.of(entry.profile),
            capabilities=CapabilitiesView.of(entry.capabilities),
            permissions=None if entry.permissions is None else PermissionsView.of(entry.permissions),
            model_configs=None if entry.models is None else ModelConfigsView(**facts_of(entry.models)),
            errors=[TroubleView.of(trouble) for trouble in entry.errors],
        )


class CatalogAnswer(CamelAnswer):
    generated_at: str
    profiles: list[CatalogEntry]


class ProfileStatisticsAnswer(CamelAnswer):
    profile: ProfileView
    capabilities: CapabilitiesView
    statistics: Counts


@router.get("/catalog")
async def show_catalog(link: TheLink) -> CatalogAnswer:
    """Every profile with its models and permissions. What cannot be read of one is told beside it."""
    entries = await link.catalog.all()
    return CatalogAnswer(generated_at=iso(link.clock.now()), profiles=[CatalogEntry.of(entry) for entry in entries])


@router.get("/{name}/statistics")
async def show_profile_statistics(link: TheLink, name: str) -> ProfileStatisticsAnswer:
    """What it can do, and how much there is of it."""
    entry = await link.catalog.one(name)
    return ProfileStatisticsAnswer(
        profile=ProfileView.of(entry.profile),
        capabilities=CapabilitiesView.of(entry.capabilities),
        statistics=counts_view(await link.statistics.read(name)),
    )
