"""Writes posts at a steady rate, notes when each is acknowledged and when the feed shows it.

    python -m tests.programs.steady_writer POSTS_URL QUERY_URL RATE SECONDS

Prints `writing` after a second, and a JSON object at the end: how many posts are `acknowledged` and
`missing` in the feed, and for each visible one [acknowledged, visible] in s since the start.
"""

import asyncio
import json
import sys
import time
from typing import Any

import aiohttp

LOOK_EVERY_S = 0.05
SETTLED_WITHIN_S = 90.0


async def main(posts: str, query: str, rate: float, seconds: float) -> None:
    acknowledged: dict[str, float] = {}
    visible: dict[str, float] = {}
    begun = time.perf_counter()
    timeout = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(timeout=timeout) as session:

        async def write(number: int) -> None:
            try:
                body = {"title": f"w-{number}"}
                async with session.post(f"{posts}/posts", json=body) as response:
                    if response.status == 201:
                        acknowledged[(await response.json())["id"]] = time.perf_counter() - begun
            except (aiohttp.ClientError, TimeoutError):
                return

        async def look(whole: bool) -> None:
            """Note all posts of the feed that are new there; of the `whole`, or of its newest."""
            before = "~"
            while True:
                page = await read(f"{query}/feed?limit=100&before={before}")
                ids = [entry["id"] for entry in page]
                now = time.perf_counter() - begun
                known = any(post in visible for post in ids)
                visible.update({post: now for post in ids if post not in visible})
                if not ids or (known and not whole):
                    return
                before = ids[-1]

        async def read(url: str) -> list[dict[str, Any]]:
            try:
                async with session.get(url) as response:
                    page: list[dict[str, Any]] = await response.json() if response.ok else []
                    return page
            except (aiohttp.ClientError, TimeoutError):
                return []

        async def keep_looking() -> None:
            while True:
                await look(whole=False)
                await asyncio.sleep(LOOK_EVERY_S)

        looking = asyncio.create_task(keep_looking())
        writes = []
        for number in range(round(rate * seconds)):
            await asyncio.sleep(begun + number / rate - time.perf_counter())
            writes.append(asyncio.create_task(write(number)))
            if number == round(rate):
                sys.stdout.write("writing\n")
                sys.stdout.flush()
        await asyncio.gather(*writes)
        looking.cancel()
        give_up = time.perf_counter() + SETTLED_WITHIN_S
        while acknowledged.keys() - visible.keys() and time.perf_counter() < give_up:
            await look(whole=True)
    report = {
        "begun": begun,
        "acknowledged": len(acknowledged),
        "missing": len(acknowledged.keys() - visible.keys()),
        "both": [[at, visible[post]] for post, at in acknowledged.items() if post in visible],
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
