"""Which images a run comes to, and which of them are drawn together."""

from pathlib import Path
from types import SimpleNamespace

from cli.option import Is
from cli.options import options_of
from cli.scripts import CFG, MODIFY
from jobs.jobs import MAX_OPEN, Jobs, batches, items


def drawn(text, tmp_path, *flags):
    path = tmp_path / "jobs.txt"
    path.write_text(text)
    return list(items(Jobs(CFG, ["--model", "emoji", "--from-file", str(path), *flags])))


def grouped(found, size):
    return [[(item.job.line, item.seed) for item in batch] for batch in batches(found, size, CFG)]


def test_images_are_numbered_through_the_run(tmp_path):
    found = drawn("cat -n 2\ndog --seeds 7\n", tmp_path)
    assert [item.index for item in found] == [0, 1, 2]
    assert [item.number for item in found] == [0, 1, 0]
    assert [item.fields["prompt"] for item in found] == ["cat", "cat", "dog"]


def test_images_of_many_lines_fill_a_batch(tmp_path):
    text = "".join(f'"thing {i}" --seed {i}\n' for i in range(7))
    sizes = [len(batch) for batch in batches(drawn(text, tmp_path), 3, CFG)]
    assert sizes == [3, 3, 1]


def test_what_differs_in_shape_is_drawn_apart(tmp_path):
    text = "cat\ndog --steps 5\nfox\nbee --size 32 32\nowl bird\nant:1\ncat --steps 5\n"
    groups = grouped(drawn(text, tmp_path), 2)
    assert groups == [[(1, 0), (3, 0)], [(2, 0), (7, 0)], [(4, 0)], [(5, 0)], [(6, 0)]]


def test_weights_and_texts_may_differ_within_a_batch(tmp_path):
    assert len(grouped(drawn("cat:2\ndog:7\nfox:1.5\n", tmp_path), 8)) == 1


def test_weights_with_and_without_a_guidance_interval_are_drawn_apart(tmp_path):
    lines = "cat:2\nfox:-1\n'cat:2' --guidance-interval 0.17 1\n"
    assert grouped(drawn(lines, tmp_path), 8) == [[(1, 0), (2, 0)], [(3, 0)]]


def test_choices_are_those_of_the_seed_and_recorded(tmp_path):
    found = drawn("'a {cat,dog}' -n 40\n", tmp_path)
    texts = [item.prompts[0].text for item in found]
    assert set(texts) == {"a cat", "a dog"}
    assert [item.fields["prompt"] for item in found] == texts
    again = drawn("'a {cat,dog}' --seed 5\n", tmp_path)
    assert again[0].prompts[0].text == texts[5]


def test_texts_that_become_one_are_one_prompt(tmp_path):
    (item,) = drawn("'{cat,cat}:2' cat:1\n", tmp_path)
    assert [(p.text, p.weight) for p in item.prompts] == [("cat", 3)]


def test_a_thousand_shapes_do_not_wait_for_each_other():
    def item(i):
        shaped = [o.name for o in options_of(CFG).values() if Is.SHAPE in o.is_]
        image = SimpleNamespace(**{**dict.fromkeys([*shaped, "init", "source"]), "steps": i})
        return SimpleNamespace(image=image, conditions=[])

    pulled = 0

    def source():
        nonlocal pulled
        for i in range(1000):
            pulled += 1
            yield item(i)

    for taken, _ in enumerate(batches(source(), 8, CFG)):
        assert pulled - taken <= MAX_OPEN + 1
    assert (pulled, taken) == (1000, 999)


def test_edits_of_several_photos_are_drawn_together_where_the_way_is_alike(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in "abcde":
        Path(f"{name}.png").touch()
    path = tmp_path / "jobs.txt"
    lines = ["'a.png' cat", "'b.png' dog", "c.png cat -mt 0.5"]
    lines += ["d.png cat --source dog", "'e.png' owl"]
    path.write_text("".join(f"{line}\n" for line in lines))
    jobs = Jobs(MODIFY, ["--model", "emoji", "--from-file", str(path)])
    groups = batches(items(jobs), 2, MODIFY)
    assert [[item.photo for item in batch] for batch in groups] == [
        ["a.png", "b.png"],
        ["d.png", "e.png"],  # a source of weight 1 is a row, as none is
        ["c.png"],
    ]
