import pytest
from torch.distributed import HashStore

from runner import workers
from runner.workers import Shard, Worker, find
from values.errors import Failure, UserError

ENVIRONMENT = {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}


class Store:
    """What processes share, in this one."""

    def __init__(self):
        self.counts, self.keys = {}, set()

    def add(self, key, amount):
        self.counts[key] = self.counts.get(key, 0) + amount
        return self.counts[key]

    def set(self, key, value):
        self.keys.add(key)

    def check(self, keys):
        return self.keys.issuperset(keys)


def crew(size, store):
    made = [Worker({**ENVIRONMENT, "RANK": str(rank)}) for rank in range(size)]
    for worker in made:
        worker.store = store
    return made


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(workers, "POLL", 0.001)
    monkeypatch.setattr(workers, "PATIENCE", 0.05)


def test_every_batch_is_taken_by_one_process():
    done, others = set(), []
    first, second = crew(2, Store())
    taking = [w.take(lambda: iter(range(9)), done.__contains__) for w in (first, second)]
    for turn in (0, 0, 1, 0, 1, 1, 0, 0, 1):  # whoever is free
        batch = next(taking[turn])
        assert batch not in done
        done.add(batch)
        others += [batch] if turn else []
    assert [list(rest) for rest in taking] == [[], []]
    assert done == set(range(9))
    assert len(others) == 4


def test_what_a_lost_process_took_is_drawn_by_the_first():
    done, store = set(), Store()
    first, lost = crew(2, store)
    assert next(lost.take(lambda: iter(range(4)), done.__contains__)) == 0  # and is no more
    for batch in first.take(lambda: iter(range(4)), done.__contains__):
        done.add(batch)
    assert done == {0, 1, 2, 3}


def test_first_process_waits_for_those_that_are_at_work(monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 600)
    done, seen = {0, 1}, []
    first, _ = crew(2, Store())
    first.store.add("next", 3)  # all are taken, and the last one is being drawn

    def look():
        seen.append(len(seen))
        if len(seen) == 3:
            done.add(2)

    first.meanwhile = look
    assert list(first.take(lambda: iter(range(3)), done.__contains__)) == []
    assert len(seen) == 3


def test_other_processes_wait_for_nobody():
    _, second = crew(2, Store())
    second.store.add("next", 3)
    assert list(second.take(lambda: iter(range(3)), lambda _: False)) == []


def test_restart_goes_through_all_batches_again(monkeypatch):
    """The store outlives it, and the process that took a batch may have died within it."""
    store, batches = HashStore(), range(4)
    monkeypatch.setattr("torch.distributed.rendezvous", lambda _: iter([(store, 0, 2)]))
    for restarts in ("0", "1"):
        worker = Worker({**ENVIRONMENT, "TORCHELASTIC_RESTART_COUNT": restarts})
        worker.start(lambda: None)
        assert list(worker.take(lambda: iter(batches), lambda _: True)) == list(batches)
        worker.report(4)
        assert worker.finished(4) == 4


def test_shards_are_all_batches_once():
    shares = [list(Shard(i, 3).own(range(10))) for i in (1, 2, 3)]
    assert shares == [[0, 3, 6, 9], [1, 4, 7], [2, 5, 8]]


def test_a_process_knows_what_it_is():
    assert find(None, {}).size == 1
    assert find((2, 5), {}).number == 2
    assert find(None, ENVIRONMENT).shared
    with pytest.raises(UserError, match="both share a run"):
        find((2, 5), ENVIRONMENT)


def test_store_that_is_gone_is_told_in_a_line():
    class Gone:
        def add(self, *_):
            raise RuntimeError("Connection reset by peer")

    (worker,) = crew(1, Gone())
    with pytest.raises(Failure, match="does not answer"):
        next(worker.take(lambda: iter([1]), lambda _: False))
