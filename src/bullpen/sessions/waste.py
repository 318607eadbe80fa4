"""Deleting folders without holding up the loop."""

import shutil
from pathlib import Path

import anyio.to_thread


async def delete_folder(folder: Path) -> None:
    """Delete `folder` and what is in it; a missing one is fine. Links are not followed."""

    def delete() -> None:
        shutil.rmtree(folder, ignore_errors=True)

    await anyio.to_thread.run_sync(delete)
