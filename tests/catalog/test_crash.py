"""A process that is killed while it publishes leaves every document whole."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

from catalog.material import generation, texts, version
from ragstone.catalog.catalog import Catalog

TESTS = Path(__file__).parents[1]
URIS = [f"file:///{n}" for n in range(5)]

PUBLISH = """
import asyncio, itertools, sys
from catalog.material import generation, version
from catalog.test_crash import URIS, lines
from ragstone.catalog.catalog import Catalog

async def main() -> None:
    catalog = await Catalog.open(sys.argv[1])
    collection, made = await generation(catalog)
    print("ready", flush=True)
    for n in itertools.count(int(sys.argv[2])):
        await catalog.publish(made, [version(uri, lines(uri, n), str(n)) for uri in URIS])
        if n % 7 == 0:
            await catalog.delete(collection, URIS[:1])

asyncio.run(main())
"""


def lines(uri: str, number: int) -> list[str]:
    """The text of a revision tells its own length."""
    return [f"{uri} {number} {line}" for line in range(5 + number % 50)]


def _publish_and_be_killed(url: str, number: int) -> None:
    command = [sys.executable, "-c", PUBLISH, url, str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={"PYTHONPATH": str(TESTS)}) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(random.uniform(0.02, 0.4))
        child.kill()


async def test_kill_at_any_moment_leaves_every_document_whole(catalog: Catalog, database_url: str) -> None:
    collection, made = await generation(catalog)
    numbers: list[int] = []
    for attempt in range(5):
        await asyncio.to_thread(_publish_and_be_killed, database_url, attempt * 1000)
        found = await texts(catalog, made)
        revisions = {uri: state.revision for uri, state in (await catalog.states(made)).items()}
        for uri, chunks in found.items():
            assert chunks == lines(uri, int(revisions[uri]))
        assert len(set(revisions.values())) == 1, "a batch is one transaction"
        assert set(found) in (set(URIS), set(URIS[1:]))
        numbers.append(int(max(revisions.values(), key=int)))
        index = {r.document_id: [p.text for p in r.points] for r in (await catalog.replacements(0, 10**6))[0]}
        assert sum(map(len, index.values())) == (await catalog.stats(collection)).chunks
    assert any(number % 1000 for number in numbers), "something was published before a kill"


async def test_cancelled_calls_leave_nothing_half_done_and_their_connections_usable(catalog: Catalog) -> None:
    collection, made = await generation(catalog)
    await catalog.publish(made, [version(uri, lines(uri, 1), "1") for uri in URIS])
    for number in range(2, 80):
        batch = [version(uri, lines(uri, number), str(number)) for uri in URIS]
        calls = [catalog.publish(made, batch), catalog.states(made), catalog.delete(collection, URIS[:1])]
        for call in calls:
            task = asyncio.create_task(call)
            await asyncio.sleep(random.choice([0, 0.001, 0.002, 0.005, 0.02]))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    states = await catalog.states(made)
    assert len({states[uri].revision for uri in URIS[1:]}) == 1
    for uri, chunks in (await texts(catalog, made)).items():
        assert chunks == lines(uri, int(states[uri].revision))
    await asyncio.gather(*(catalog.publish(made, [version(uri, ["usable"])]) for uri in URIS))
    assert await texts(catalog, made) == {uri: ["usable"] for uri in URIS}
