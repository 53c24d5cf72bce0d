from types import SimpleNamespace

import pytest

from runner import memory


@pytest.mark.parametrize(("most", "threshold"), [(2**40, 2**30), (2**25, 2**25)])
def test_freed_memory_is_kept_by_older_c_libraries_too(most, threshold, monkeypatch):
    settings = {}

    def mallopt(which, value):
        if which == -3 and value > most:
            return 0
        settings[which] = value
        return 1

    libc = SimpleNamespace(mallopt=mallopt, malloc_trim=lambda _: 1)
    monkeypatch.setattr(memory, "_gnu_libc", lambda: libc)
    memory.give_back_freed_memory()
    assert settings[-3] == 2**20
    memory.keep_freed_memory()
    assert settings == {-3: threshold, -1: 2**31 - 1}
