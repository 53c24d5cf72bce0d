"""Files, texts and command lines that nobody meant to give, by the thousand.

Each case ends in success or in one clear line. A traceback, a crash, a hang of more than
`worker.SECONDS` and more than `worker.BYTES` of memory are failures.

A target is one function: a Hypothesis test that takes no fixtures. It runs in a worker, each case
in an empty folder. A further format, of files or of lines, is a strategy and a test beside the
others:

    @given(mutate.damaged(corpus.some_good_files))          # or with how they fall into parts
    def test_damaged_file_is_read_or_refused_in_one_line(data): ...

`make test` runs the same few cases every time, `make fuzz` others each time, FUZZ_CASES of each
target. A failing case is printed as small as it can be; the next `make fuzz` begins with it.
"""
