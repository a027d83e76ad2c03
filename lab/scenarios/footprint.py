"""What a variant takes up while it runs: processes, and the memory that is theirs.

Looked at once, in the middle of `during`. The memory is the proportional set size (PSS), in which a
page that n processes share counts as one nth for each. The lab's programs are forked from one
process and share a lot with it, so that they take less than they would if started alone; compare
variants with each other, and no variant with anything else.
"""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict


class Footprint(BaseModel):
    """`memory_mib` is None where the system doesn't tell a PSS (it is Linux's)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    processes: int
    memory_mib: float | None = None


def footprint(pids: Iterable[int]) -> Footprint:
    """Of these processes, which are running. Raises psutil.Error when one has ended meanwhile."""
    import psutil  # not by those who only read figures

    sizes = [getattr(psutil.Process(pid).memory_full_info(), "pss", None) for pid in pids]
    known = [size for size in sizes if size is not None]
    whole = sum(known) / 2**20 if known and len(known) == len(sizes) else None
    return Footprint(processes=len(sizes), memory_mib=None if whole is None else round(whole, 1))
