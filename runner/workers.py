"""How several processes share a run: by torchrun, or by `--shard`.

Under torchrun every process takes the next batch from a counter in the job's rendezvous store, so
that a slow machine holds nobody up; by `--shard I/N` a process takes every N-th batch, and needs to
know of no other. Either way each draws what it takes on a device of its own and writes its own
files: there is nothing to gather.
"""

import os
import time

from values.errors import Failure, UserError

PATIENCE = 60.0  # seconds, at least, before a batch that another process took is drawn again
POLL = 0.5  # seconds between two looks at what the others have done


class Alone:
    """One process, which draws every batch."""

    rank, size, local_rank = 0, 1, None
    shared = False  # whether other processes write files of this run
    left_out = 0  # images that could not be drawn
    meanwhile = staticmethod(lambda: None)  # called again and again while there is nothing to do

    def own(self, batches):
        """Those of the run's batches that this process may draw, in order."""
        return batches

    def start(self, refuse):
        """Calls `refuse`, which stops a run whose files exist, unless the run goes on."""
        refuse()

    def take(self, batches, is_finished):
        """The batches to draw.

        Args:
            batches: function () -> the run's batches.
            is_finished: function (batch) -> whether nothing of it is left to draw.
        """
        return self.own(batches())

    def report(self, images):
        """Tells the others how many more images are finished."""

    def give_up(self, batch):
        """Says that an image of a batch cannot be drawn."""
        self.left_out += 1

    def gave_up(self, batch):
        """Whether a process has said so."""
        return False

    def finished(self, own):
        """How many images of all processes are finished, of which `own` are this one's."""
        return own


class Shard(Alone):
    """One of several processes that know nothing of each other.

    Args:
        number: of this one, from 1.
        size: how many there are.
    """

    def __init__(self, number, size):
        self.number, self.size = number, size

    def own(self, batches):
        return (batch for i, batch in enumerate(batches) if i % self.size == self.number - 1)


class Worker(Alone):
    """One of the processes that torchrun has started."""

    shared = True

    def __init__(self, environment):
        self.rank, self.size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        self.local_rank = int(environment["LOCAL_RANK"])
        self.restarts = int(environment.get("TORCHELASTIC_RESTART_COUNT", 0))
        self.store = None
        self.seen, self.looked = 0, 0.0

    def start(self, refuse):
        from torch.distributed import PrefixStore, rendezvous

        # The store outlives a restart, which counts anew and goes through all batches again: one
        # whose process died may lack an image, or have it and lack its line of --results.
        self.store = PrefixStore(f"restart {self.restarts}", next(rendezvous("env://"))[0])
        if self.rank == 0:
            # A run that lost a machine starts anew, with files of its own that exist.
            if not self.restarts and not self.store.check(["begun"]):
                refuse()
            self.store.set("begun", "yes")
        else:
            self._ask(lambda: self.store.wait(["begun"]))

    def take(self, batches, is_finished):
        longest, mine = 0.0, self._next()
        for i, batch in enumerate(batches()):
            if i == mine:
                began = time.monotonic()
                yield batch
                longest = max(longest, time.monotonic() - began)
                mine = self._next()
        if self.rank == 0:
            yield from self._left_over(batches, is_finished, max(PATIENCE, 10 * longest))

    def _left_over(self, batches, is_finished, patience):
        """Batches that others took and do not finish, because those processes died."""
        left = [batch for batch in batches() if not is_finished(batch)]
        since = time.monotonic()
        while left:
            still = [batch for batch in left if not is_finished(batch)]
            if len(still) < len(left):
                left, since = still, time.monotonic()
            elif time.monotonic() - since > patience:
                yield left.pop(0)
            else:
                self.meanwhile()
                time.sleep(POLL)

    def _next(self):
        return self._ask(lambda: self.store.add("next", 1)) - 1

    def report(self, images):
        self._ask(lambda: self.store.add("images", images))

    def give_up(self, batch):
        self._ask(lambda: self.store.set(f"failed/{batch[0].index}", "yes"))
        self._ask(lambda: self.store.add("failed", 1))

    def gave_up(self, batch):
        return self._ask(lambda: self.store.check([f"failed/{batch[0].index}"]))

    @property
    def left_out(self):
        # The first process is there until all have finished: the others' status is that of success,
        # or torchrun would end those that are still at work.
        if self.rank or self.store is None:  # None: there was nothing to draw
            return 0
        return self._ask(lambda: self.store.add("failed", 0))

    def finished(self, own):
        if time.monotonic() - self.looked > POLL:
            self.seen = self._ask(lambda: self.store.add("images", 0))
            self.looked = time.monotonic()
        return self.seen

    def _ask(self, question):
        try:
            return question()
        except RuntimeError as error:  # DistError and what is derived from it
            raise Failure("torchrun's store does not answer: the same command goes on") from error


def find(shard, environment=os.environ):
    """What this process is in its run.

    Args:
        shard: (number, size) of `--shard`, or None.
    Raises:
        UserError: for a shard of a process that torchrun has started.
    """
    if not {"TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK"} <= set(environment):
        return Shard(*shard) if shard else Alone()
    if shard:
        raise UserError("--shard and torchrun both share a run: use one of them")
    return Worker(environment)
