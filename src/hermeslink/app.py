"""The composition root: what there is of Link in one process, and who needs what."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hermes.core.clock import Clock, SystemClock
from hermes.expose.published import Published
from hermes.store.database import Database
from hermeslink.blobs.attaching import Attaching
from hermeslink.blobs.blobs import Blobs
from hermeslink.blobs.folder import Folder
from hermeslink.blobs.inboxes import Inboxes
from hermeslink.conversations.approvals import Approvals
from hermeslink.conversations.conversations import Conversations
from hermeslink.conversations.log import EventLog
from hermeslink.conversations.plans import Plans
from hermeslink.conversations.sending import Sending
from hermeslink.hermes.direct_runs import DirectRuns
from hermeslink.hermes.servers import ApiServers
from hermeslink.home import LinkHome
from hermeslink.identity import IdentityFile
from hermeslink.pairing.devices import Devices
from hermeslink.pairing.pairing import Pairing
from hermeslink.profiles.catalog import Catalog
from hermeslink.profiles.creation import Creations
from hermeslink.profiles.files import ProfileFiles
from hermeslink.profiles.memory import ProfileMemories
from hermeslink.profiles.models import ProfileModels
from hermeslink.profiles.names import Names
from hermeslink.profiles.permissions import ProfilePermissions
from hermeslink.profiles.profiles import Profiles
from hermeslink.profiles.skills import ProfileSkills
from hermeslink.profiles.tool_configs import ToolConfigs
from hermeslink.profiles.trash import Trash
from hermeslink.settings import LinkSettings, load_settings
from hermeslink.store.schema import LINK
from hermeslink.system.autostart import Autostart
from hermeslink.system.exposing import Exposing
from hermeslink.system.network import Network
from hermeslink.updates.updates import Updates
from hermeslink.usage.book import UsageBook
from hermeslink.usage.statistics import StatisticsBook


@dataclass
class Link:
    """What handlers ask. `stopping` is set when the service ends: open streams end then."""

    home: LinkHome
    hermes_root: Path
    environ: Mapping[str, str]
    settings: LinkSettings
    clock: Clock
    network: Network
    published: Published
    exposing: Exposing
    autostart: Autostart
    database: Database
    identity: IdentityFile
    devices: Devices
    pairing: Pairing
    servers: ApiServers
    direct_runs: DirectRuns
    blobs: Blobs
    attaching: Attaching
    usage: UsageBook
    statistics: StatisticsBook
    log: EventLog
    conversations: Conversations
    plans: Plans
    sending: Sending
    approvals: Approvals
    updates: Updates
    files: ProfileFiles
    memories: ProfileMemories
    skills: ProfileSkills
    permissions: ProfilePermissions
    profiles: Profiles
    creations: Creations
    catalog: Catalog
    tool_configs: ToolConfigs
    models: ProfileModels
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def open_link(
    home: LinkHome,
    hermes_root: Path,
    *,
    clock: Clock | None = None,
    environ: Mapping[str, str] | None = None,
    settings: LinkSettings | None = None,
) -> AsyncIterator[Link]:
    """Everything at work, and all of it ended after. `settings`: those that were read already.

    Raises ConfigError, StoreUnavailable or StoreCorrupt.
    """
    environ = os.environ if environ is None else environ
    clock = clock or SystemClock()
    home.make()
    settings = settings or load_settings(home, environ)
    database = await Database.open(home.database_url, LINK)
    log, published = EventLog(database, clock), Published(home.run_dir, environ, now=clock.now)
    try:
        identity, devices = IdentityFile(home.identity_file, clock), Devices(database, clock)
        access_seconds = settings.access_token_minutes * 60.0
        pairing = Pairing(database, clock, identity, devices, access_seconds=access_seconds)
        inboxes = Inboxes(hermes_root, lambda: identity.link_id)
        blobs = Blobs(database, Folder(home.blobs_dir), inboxes, clock)
        await blobs.sweep()
        network = Network(settings, published=published.urls)
        names = Names(hermes_root, home.profiles_file, log, clock)
        async with (
            devices.watched(),
            ApiServers(hermes_root, clock, environ) as servers,
            names.watched(),
            Trash(hermes_root, clock, environ).emptied(),
            DirectRuns(servers, database, clock) as direct_runs,
        ):
            conversations = Conversations(database, log, blobs, clock, servers.home)
            attaching = Attaching(blobs)
            sending = Sending(log, database, servers, attaching, clock)
            conversations.deleted = sending.forget
            sending.renamed = names.look_if_possible
            files = ProfileFiles(servers.home, database, clock)
            updates = Updates(home, hermes_root, database, clock, environ, asks_unasked=settings.update_check)
            profiles = Profiles(files, names, servers, database, clock, environ)
            creations = Creations(home.creation_file, servers, files, names, clock)
            async with sending.running(), updates.running(), creations.running():
                yield Link(
                    home=home,
                    hermes_root=hermes_root,
                    environ=environ,
                    settings=settings,
                    clock=clock,
                    network=network,
                    published=published,
                    exposing=Exposing(home, network, database, clock, environ),
                    autostart=Autostart(home, hermes_root, environ),
                    database=database,
                    identity=identity,
                    devices=devices,
                    pairing=pairing,
                    servers=servers,
                    direct_runs=direct_runs,
                    blobs=blobs,
                    attaching=attaching,
                    usage=UsageBook(database, clock),
                    statistics=StatisticsBook(database, servers),
                    log=log,
                    conversations=conversations,
                    plans=Plans(database, log, conversations, clock),
                    sending=sending,
                    approvals=Approvals(log, database, servers, clock),
                    updates=updates,
                    files=files,
                    memories=ProfileMemories(files),
                    skills=ProfileSkills(files),
                    permissions=ProfilePermissions(files, environ),
                    profiles=profiles,
                    creations=creations,
                    catalog=Catalog(files, profiles, servers, environ),
                    tool_configs=ToolConfigs(files, environ),
                    models=ProfileModels(files, environ),
                )
    finally:
        await log.close()
        await database.close()
