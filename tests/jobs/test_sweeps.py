"""Sweeps: what may be swept, over what, and what jobs that makes."""

import pytest

from cli.scripts import CFG
from jobs.jobs import Jobs
from tests.jobs.test_jobs import FLAGS, texts
from values.errors import UserError


def test_sweep_is_the_product_of_its_values(read):
    text = "cat\ndog --steps 99\n"
    jobs = read(text, "--sweep", "steps=10,20", "method=plms,ddim,ab2").all
    assert len(jobs) == 2 * 6
    assert [(j.image.steps, j.image.method) for j in jobs[:6]] == [
        (steps, method) for steps in (10, 20) for method in ("plms", "ddim", "ab2")
    ]
    assert [job.row for job in jobs[:6]] == [0, 0, 0, 1, 1, 1]
    assert jobs[-1].swept == {"steps": 20, "method": "ab2"}


def test_values_of_several_words_are_swept(read):
    sizes = [job.image.size for job in read("cat\n", "--sweep", "size=64 32,32 64").all]
    assert sizes == [[64, 32], [32, 64]]


@pytest.mark.parametrize(
    "sweep",
    [
        *("steps", "steps=", "steps=1,,2", "model=emoji", "steps=0", "nonsense=1", "=1"),
        *("prompt=a", "size=64y", "prompt=a,:2", "overwrite=1", "eta=0.5,2"),
    ],
)
def test_sweeps_that_make_no_sense_are_refused(sweep):
    with pytest.raises(UserError) as refused:
        Jobs(CFG, [*FLAGS, "cat", "--sweep", sweep])
    assert sweep.split("=")[0] in str(refused.value)


@pytest.mark.parametrize(
    ("sweep", "combination"),
    [
        (("method=ddim,ab23", "eta=0,0.5"), "where method=ab23, eta=0.5"),
        (
            ("steps=9", "guidance-interval=0.1 1,0.9 0.2"),
            "where steps=9, guidance-interval=0.9 0.2",
        ),
    ],
)
def test_combination_that_makes_no_sense_is_named(sweep, combination, read):
    with pytest.raises(UserError) as refused:
        Jobs(CFG, [*FLAGS, "cat", "--sweep", *sweep])
    assert str(refused.value).endswith(f" (--sweep, {combination})")
    with pytest.raises(UserError, match=f"line 1, column 1: .*{combination}"):
        read("cat\n", "--sweep", *sweep)


def test_file_that_one_combination_names_is_told_with_it(read):
    jobs = read("cat\ndog --steps 9\n", "--sweep", "init=a.png,b.png")

    def look(image):
        if image.init == "b.png":
            raise UserError("b.png: no such file")

    with pytest.raises(UserError, match=r"line 1, .*b.png: no such file \(--sweep, where init=b"):
        jobs.check(look)


def test_sweep_of_more_than_anyone_looks_at_is_refused():
    many = "seed=" + ",".join(map(str, range(1, 201)))
    with pytest.raises(UserError, match="10,000 combinations"):
        Jobs(CFG, [*FLAGS, "cat", "--sweep", many, many.replace("seed", "steps")])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--sweep", "steps=1,2", "steps=3,4"), "--steps twice"),
        (("--sweep", "n=1,2", "seeds=3,4"), "-n and --seeds exclude each other"),
        (("--sweep", "n=1,2", "--seeds", "3"), "-n and --seeds exclude each other"),
        (("--sweep", "steps=1,2", "--steps", "3"), "--steps is given, too"),
    ],
)
def test_a_sweep_that_would_undo_another_is_refused(flags, said):
    with pytest.raises(UserError, match=said):
        Jobs(CFG, [*FLAGS, "cat", *flags])


def test_a_flag_of_many_values_given_twice_counts_twice():
    jobs = Jobs(CFG, [*FLAGS, "cat", "--sweep", "steps=1,2", "--sweep", "seed=3,4"])
    assert [(job.image.steps, job.image.seed) for job in jobs.all] == [
        (1, 3),
        (1, 4),
        (2, 3),
        (2, 4),
    ]


def test_what_a_sweep_makes_right_is_not_refused_before():
    jobs = Jobs(CFG, [*FLAGS, "cat", "--eta", "0.5", "--sweep", "method=ddim,dpmpp_2m"])
    assert [job.image.eta for job in jobs.all] == [0.5, 0.5]


@pytest.mark.parametrize(
    ("sweep", "swept"),
    [
        ("prompt=a cat,a dog:2", [("a cat", 3), ("a dog", 2)]),
        ("prompt=a {b,c} d, e", [("a {b,c} d", 3), ("e", 3)]),
        ('prompt=["a, b", "c:1"]', [("a, b", 3), ("c", 1)]),
    ],
)
def test_prompts_are_swept(sweep, swept):
    assert texts("--sweep", sweep) == [[prompt] for prompt in swept]
    beside = texts("oil:1", "--sweep", sweep, "weight=7,8")
    assert beside == [[(text, w), ("oil", 1)] for text, _ in swept for w in (7, 8)]


def test_sweep_that_the_shell_has_taken_apart_is_refused():
    with pytest.raises(UserError, match='one value, "a": quote the whole'):
        texts("--sweep", *["prompt=a", "cat,a", "dog"])
