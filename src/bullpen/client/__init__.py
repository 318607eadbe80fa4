"""The service from Python: typed objects with the same verbs as the shell, async only.

    async with bullpen.connect() as pen:
        session = await pen.create("demo", "path/to/repository", place="worktree")
        print(await session.ask("mend the failing test"))
        await session.land()

The service is started when none runs. Requests that may be repeated without harm (all that read,
and those that carry a key) are repeated when it restarts; waiting and following go on by
themselves. An error of the service arrives as the class of `bullpen.errors` that has its code,
with the service's message and hint. Sessions go on working when the block is left.
"""
