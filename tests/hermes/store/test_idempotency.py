"""Of all that come with one key, one runs."""

from __future__ import annotations

import asyncio

import pytest

from hermes.store import idempotency, runs, sessions
from hermes.store.database import Connection, Database
from hermes.store.idempotency import TTL_SECONDS, Claim, KeptAnswer
from tests.support.store import keep_run


def claim_and_keep(
    conn: Connection, run_id: str, now: float, owner: str = "alice", fingerprint: str = "f"
) -> Claim | None:
    """What the runner does: the claim and the run, or neither."""
    earlier = idempotency.claim(conn, owner, "key", fingerprint, run_id, now)
    if earlier is None:
        keep_run(conn, run_id)
    return earlier


async def test_the_first_claim_wins_and_the_others_are_told_of_it(database: Database) -> None:
    assert await database.write(claim_and_keep, "first", 1.0) is None
    assert await database.write(claim_and_keep, "second", 2.0) == Claim("first", "f")
    assert await database.read(runs.get, "second") is None


async def test_of_many_claims_at_once_one_wins(database: Database) -> None:
    claims = await asyncio.gather(*(database.write(claim_and_keep, f"r{number}", 1.0) for number in range(50)))
    assert claims.count(None) == 1
    assert {claim for claim in claims if claim is not None} == {Claim(f"r{claims.index(None)}", "f")}


async def test_the_fingerprint_of_the_first_is_told_so_that_another_request_is_seen(database: Database) -> None:
    await database.write(claim_and_keep, "first", 1.0)
    earlier = await database.write(claim_and_keep, "second", 2.0, "alice", "another")
    assert earlier == Claim("first", "f")


async def test_owners_have_keys_of_their_own(database: Database) -> None:
    assert await database.write(claim_and_keep, "first", 1.0, "alice") is None
    assert await database.write(claim_and_keep, "second", 1.0, "bob") is None


@pytest.mark.parametrize(("age", "is_free"), [(TTL_SECONDS - 1, False), (TTL_SECONDS, True)])
async def test_a_key_is_free_again_a_day_after_it_was_claimed(database: Database, age: float, is_free: bool) -> None:
    await database.write(claim_and_keep, "first", 1.0)
    await database.write(idempotency.keep, "alice", "key", 200, b"{}")
    earlier = await database.write(claim_and_keep, "second", 1.0 + age)
    assert earlier == (None if is_free else Claim("first", "f"))
    answer = await database.read(idempotency.kept, "alice", "key")
    assert answer == (None if is_free else KeptAnswer(200, b"{}"))


async def test_a_key_whose_run_was_deleted_is_free_again(database: Database) -> None:
    await database.write(claim_and_keep, "first", 1.0)
    await database.write(sessions.delete, "s")
    assert await database.write(claim_and_keep, "second", 2.0) is None


async def test_a_claim_in_a_failed_write_was_never_made(database: Database) -> None:
    def fail(conn: Connection) -> None:
        claim_and_keep(conn, "first", 1.0)
        raise LookupError

    with pytest.raises(LookupError):
        await database.write(fail)
    assert await database.write(claim_and_keep, "second", 1.0) is None


async def test_the_kept_answer_comes_back_byte_for_byte(database: Database) -> None:
    await database.write(claim_and_keep, "first", 1.0)
    assert await database.read(idempotency.kept, "alice", "key") is None
    body = bytes(range(256))
    await database.write(idempotency.keep, "alice", "key", 201, body)
    assert await database.read(idempotency.kept, "alice", "key") == KeptAnswer(201, body)
    assert await database.read(idempotency.kept, "bob", "key") is None
