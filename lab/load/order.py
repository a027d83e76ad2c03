"""Which post is older: the lab's own ids say so, those of other people's blogs say nothing.

Where ids say nothing, a post is as old as the moment it was first met, in the answer to its author
or in the feed. Two that were met at about the same moment may have been written the other way
round, so what hangs on their order is not looked at closer than MARGIN posts.
"""

from collections.abc import Sequence

MARGIN = 10


class Order:
    """Keys by which posts sort, the oldest first. `by_id`: the ids themselves do."""

    def __init__(self, by_id: bool = True) -> None:
        self.by_id = by_id
        self._keys: dict[str, str] = {}

    def key(self, post_id: str) -> str:
        """The key of a post, which is met now if it never was."""
        if self.by_id:
            return post_id
        if (key := self._keys.get(post_id)) is None:
            key = self._keys[post_id] = f"{len(self._keys):012d}"
        return key

    def meet(self, newest_first: Sequence[str]) -> None:
        """Meet the posts of a page."""
        if not self.by_id:
            for post_id in reversed(newest_first):
                self.key(post_id)

    def reaches_back_to(self, newest_first: Sequence[str]) -> str:
        """The key from which on a page must have every post that there is."""
        keys = [self.key(one) for one in newest_first]
        return min(keys) if self.by_id else max(keys[-MARGIN:])
