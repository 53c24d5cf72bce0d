"""What a run shows of itself: previews, trajectories and the gallery at its end."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from media import animation, grids, preview
from media.preview import Preview
from runner.watch import Watch
from values import files
from values.picture_types import trajectory_file

FAST = ("--model", "emoji", "--steps", "4", "--dtype", "float32", "--size", "32", "32")
APPLE = (*FAST, "a red apple")


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def durations(path):
    with Image.open(path) as image:
        found = []
        for i in range(image.n_frames):
            image.seek(i)
            image.load()
            found.append(image.info["duration"])
        return found


def cells(picture, images, frames, side=32):
    """A strip taken apart: [row][column] -> pixels."""
    titles = {"row_titles": ["pred", "x"] * images, "column_titles": ["0.000"] * frames}
    plan = grids.layout(2 * images * frames, (side, side), spacing=animation.GAP, **titles)
    assert picture.shape == (plan.size[1], plan.size[0], 3)
    parts = [picture[y : y + side, x : x + side] for x, y in plan.cells]
    return [parts[i : i + frames] for i in range(0, len(parts), frames)]


# Trajectories.


def test_strip_has_a_column_a_step_and_ends_in_the_images_as_they_are_saved(cfg_sample):
    status, out, err = cfg_sample(
        *APPLE, "-n", 3, "-bs", 2, "--method", "ddim", "--trajectory", "strip.png"
    )
    assert status == 0, err
    assert sorted(out) == ["out_00000.png", "out_00001.png", "out_00002.png", "strip.png"]
    rows = cells(pixels("strip.png"), images=2, frames=5)
    for i in range(2):
        pred, x, saved = rows[2 * i], rows[2 * i + 1], pixels(f"out_0000{i}.png")
        assert np.array_equal(pred[-1], saved)
        assert np.array_equal(x[-1], saved)
        assert abs(pred[-2] - saved).max() <= 1  # ddim's last step ends at its pred
        assert abs(x[0] - saved).mean() > 20
        assert x[0].std() > 40  # noise is seen, and not cut to black and white
        assert (abs(x[0] - 127.5) > 127).mean() < 0.1


@pytest.mark.parametrize("kind", ["gif", "webp", "apng"])
def test_animation_has_a_frame_a_step_and_rests_on_the_last(cfg_sample, kind):
    path = f"t.{kind}"
    status, out, err = cfg_sample(*APPLE, "--trajectory", path, "--fps", 20)
    assert (status, out) == (0, ["out_00000.png", path]), err
    assert durations(path) == [50, 50, 50, 50, 1500]
    with Image.open(path) as image:
        assert image.size == (32 + 2 * animation.GAP, 2 * 32 + 3 * animation.GAP)
        assert image.info["loop"] == 0
        image.seek(4)
        shown = np.asarray(image.convert("RGB")).astype(int)
    edge = animation.GAP
    pred = shown[edge : edge + 32, edge : edge + 32]
    assert abs(pred - pixels(out[0])).mean() < (1 if kind == "apng" else 12)


def test_video_is_written_where_pyav_is(cfg_sample):
    av = pytest.importorskip("av")
    status, _, err = cfg_sample(*APPLE, "--trajectory", "t.mp4", "--fps", 10)
    assert status == 0, err
    with av.open("t.mp4") as video:
        frames = list(video.decode(video=0))
        assert video.streams.video[0].average_rate == 10
    assert len(frames) == 5 + 14
    assert all(side % 2 == 0 for side in (frames[0].width, frames[0].height))


def test_video_without_pyav_is_refused_before_any_work(cfg_sample, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *_: pytest.fail("slow work"))
    status, out, err = cfg_sample(*APPLE, "--trajectory", "t.mp4")
    assert (status, out) == (2, [])
    assert "MP4 needs PyAV" in err
    assert err.count("\n") == 1


def test_frames_are_bounded_however_many_steps_and_pixels():
    trajectory = animation.Trajectory(8, (512, 256), 1000, strip=False)
    assert len(trajectory.picked) + 1 == animation.MOST_FRAMES
    assert {0, 999} <= trajectory.picked
    width, height = trajectory.cell
    assert width == 2 * height
    assert width * height * 2 * 8 * animation.MOST_FRAMES <= animation.MOST_PIXELS
    gaps = np.diff(sorted(trajectory.picked))
    assert gaps.max() - gaps.min() <= 1

    trajectory.add(0.5, *[[Image.new("RGB", (512, 256))] * 8] * 2)
    [frame] = trajectory.frames
    assert {image.size for image in (*frame.preds, *frame.xs)} == {(width, height)}

    strip = animation.Trajectory(8, (512, 512), 1000, strip=True)
    assert len(strip.picked) + 1 == animation.MOST_COLUMNS


def test_run_from_a_photo_is_seen_to_dissolve_and_to_come_back(reverse_sample):
    photo = Image.radial_gradient("L").convert("RGB").resize((32, 32))
    photo.save("photo.png")
    status, out, err = reverse_sample(
        "photo.png", *FAST, "--round-trip", "--trajectory", "there.png", "--preview-every", 1
    )
    assert (status, out) == (0, ["latent_00000.safetensors", "there.png"]), err
    # By leapfrog the way back starts a state before the last.
    _, x = cells(pixels("there.png"), images=1, frames=4 + 3 + 1)
    assert abs(x[0] - pixels("photo.png")).max() <= 1
    assert abs(x[-1] - pixels("photo.png")).max() <= 1
    assert abs(x[4] - pixels("photo.png")).mean() > 10
    assert preview.is_preview("preview.png")

    status, *_ = reverse_sample("photo.png", *FAST, "--trajectory", "up.gif")
    assert status == 0
    assert len(durations("up.gif")) == 4 + 1


@pytest.mark.parametrize("flags", [(), ("--direct",)])
def test_edit_is_watched_from_the_photo_on(cfg_modify_image, flags):
    Image.new("RGB", (32, 32), (200, 60, 60)).save("photo.png")
    status, out, err = cfg_modify_image(
        "photo.png", "a blue heart", *FAST, "--method", "ddim", *flags, "--trajectory", "t.png"
    )
    assert (status, out) == (0, ["out.png", "t.png"]), err
    _, x = cells(pixels("t.png"), images=1, frames=4 + 1 if flags else 2 * 4 + 1)
    assert abs(x[0] - (200, 60, 60)).max() <= 1
    assert np.array_equal(x[-1], pixels("out.png"))


def test_steered_run_is_watched(clip_sample):
    status, out, err = clip_sample(
        *APPLE, "--cutn", 2, "--clip-model", "emoji", "--trajectory", "t.png", "--preview-every", 2
    )
    assert status == 0, err
    pred, _ = cells(pixels("t.png"), images=1, frames=5)
    assert np.array_equal(pred[-1], pixels(out[0]))
    assert Path("preview.png").exists()


def test_image_that_is_drawn_again_in_its_batch_is_shown_alone(cfg_sample):
    cfg_sample(*APPLE, "-n", 2, "-bs", 2)
    status, _, err = cfg_sample("--from-png", "out_00001.png", "--trajectory", "t.png")
    assert status == 0, err
    assert np.array_equal(cells(pixels("t.png"), 1, 5)[0][-1], pixels("out_00001.png"))


# What is refused, before any work.


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--trajectory", "t.jpg"), ".png, .gif, .webp, .apng or .mp4"),
        (("--trajectory", ".gif"), "end in a name"),
        (("--trajectory", "there.gif"), "there.gif already exists"),
        (("--trajectory", "t.gif", "--fps", "0"), "from 1 to 50"),
        (("--trajectory", "t.png", "--fps", "5"), "--fps is of an animation"),
        (("--fps", "5"), "--fps is of an animation"),
        (("--trajectory", "t.gif", "-n", "9", "-bs", "9"), "lower --batch-size"),
        (("--trajectory", "a.png", "-o", "a.png"), "would both be a.png"),
        (("--grid", "2.png", "-o", "{seed}.png", "-n", "3"), "would both be 2.png"),
        (("--results", "./a.png", "-o", "a.png"), "would both be a.png"),
        (("--grid", "x.png", "--trajectory", "x.png"), "would both be x.png"),
        (("--preview-every", "1", "-o", "preview.png"), "would both be preview.png"),
        (("--preview-every", "0"), "at least 1"),
        (("--preview-every", "2", "-o", "mine/{seed}.png"), "is no preview"),
        (("--gallery", "cat.htm1"), "must end in .html"),
        (("--gallery", "mine/index.html"), "exists and is no gallery"),
        (("--gallery", "--shard", "1/2", "-o", "{seed}.png"), "make_gallery.py"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_line(cfg_sample, monkeypatch, flags, said):
    Path("mine").mkdir()
    Image.new("RGB", (8, 8)).save("mine/preview.png")
    for name in ("there.gif", "mine/index.html"):
        Path(name).write_text("somebody's")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *_: pytest.fail("slow work"))
    status, out, err = cfg_sample(*APPLE, *flags)
    assert (status, out) == (2, [])
    assert said in err
    assert err.count("\n") == 1
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_trajectory_is_replaced_or_left_as_other_outputs_are(cfg_sample):
    common = (*APPLE, "-o", "{seed}.png", "--trajectory", "t.gif")
    Path("t.gif").write_text("old")
    assert cfg_sample(*common)[0] == 2
    assert cfg_sample(*common, "--skip-existing")[:2] == (0, ["0.png"])
    assert Path("t.gif").read_text() == "old"
    assert cfg_sample(*common, "--overwrite")[:2] == (0, ["0.png", "t.gif"])
    assert len(durations("t.gif")) == 5


def test_trajectory_that_cannot_be_finished_leaves_nothing(cfg_sample, monkeypatch):
    def fail(part, *_):
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(animation, "_write_animation", fail)
    status, _, err = cfg_sample(*APPLE, "--trajectory", "t.gif")
    assert status == 1
    assert "t.gif cannot be written: No space left on device" in err
    assert sorted(path.name for path in Path().iterdir()) == ["out_00000.png"]


# Previews.


def test_preview_is_a_whole_png_whenever_it_is_looked_at(cfg_sample, monkeypatch):
    seen, write = [], files.write_whole

    def look():
        if Path("runs/preview.png").exists():
            with Image.open("runs/preview.png") as image:
                image.load()
                seen.append(image.size)

    def watched(path, write_part, overwrite=False):
        def slowly(part):
            write_part(part)
            look()

        write(path, slowly, overwrite)
        look()

    monkeypatch.setattr("media.saving.write_whole", watched)
    status, out, err = cfg_sample(
        *APPLE, "-n", 3, "-bs", 2, "-o", "runs/{seed}.png", "--preview-every", 2
    )
    assert (status, out) == (0, [f"runs/{i}.png" for i in range(3)]), err
    assert set(seen) == {(64, 32), (32, 32)}  # two beside each other, then the third alone
    assert np.array_equal(pixels("runs/preview.png"), pixels("runs/2.png"))
    assert sorted(p.name for p in Path("runs").iterdir()) == [
        *("0.png", "1.png", "2.png"),
        "preview.png",
    ]


def test_preview_is_renewed_every_so_many_steps(tmp_path, monkeypatch):
    shown = []

    def show(self, batch):
        shown.append(batch[0].getpixel((0, 0))[0])

    monkeypatch.setattr(Preview, "show", show)
    options = SimpleNamespace(preview_every=3, trajectory=None, fps=None, policy=None)
    watch = Watch(options, tmp_path / "out.png", 1)
    watch.begin(1, (8, 8), 8)
    for number in [*range(8), None]:  # None: what it has come to
        if watch.wants(number):
            level = 8 if number is None else number
            images = [Image.new("RGB", (1, 1), (level, level, level))]
            watch.show(number, 0.5, images, images)
    assert shown == [0, 3, 6, 8]


def test_only_the_first_of_several_processes_watches(tmp_path):
    template = trajectory_file(str(tmp_path / "t.gif"))
    options = SimpleNamespace(preview_every=1, trajectory=template, fps=None, policy=None)
    watch = Watch(options, tmp_path / "out.png", 1, first=False)
    watch.begin(1, (8, 8), 1)
    assert not watch.wants(0)
    assert not watch.wants(None)
    assert watch.save() is None
    assert list(tmp_path.iterdir()) == []


def test_preview_of_a_large_batch_stays_small(tmp_path):
    Preview(tmp_path, 1).show([Image.new("RGB", (128, 64))] * 100)
    with Image.open(tmp_path / "preview.png") as image:
        assert max(image.size) <= preview.SIDE
        assert image.width == 2 * image.height


def test_picture_that_has_come_to_be_there_meanwhile_is_not_replaced(tmp_path):
    Image.new("RGB", (3, 3)).save(tmp_path / "preview.png")
    Preview(tmp_path, 1).show([Image.new("RGB", (8, 8))])
    assert pixels(tmp_path / "preview.png").shape == (3, 3, 3)


def test_watching_changes_no_image(cfg_sample):
    common = (*APPLE, "-n", 2, "-bs", 2, "--method", "ddpm")
    cfg_sample(*common, "-o", "a{seed}.png")
    cfg_sample(*common, "-o", "b{seed}.png", "--trajectory", "t.webp", "--preview-every", 1)
    for seed in range(2):
        assert Path(f"a{seed}.png").read_bytes() == Path(f"b{seed}.png").read_bytes()


# The gallery at the end.


def test_gallery_of_the_folder_is_written_at_the_end(cfg_sample):
    status, out, err = cfg_sample(
        *APPLE, "-n", 2, "-o", "runs/{seed}.png", "--preview-every", 2, "--gallery"
    )
    assert (status, out) == (0, ["runs/0.png", "runs/1.png", "runs/index.html"]), err
    page = Path("runs/index.html").read_text()
    assert '"src":"0.png"' in page
    assert '"src":"1.png"' in page
    assert '"src":"preview.png"' not in page


def test_gallery_of_several_folders_is_of_what_holds_them(cfg_sample):
    status, out, err = cfg_sample(
        *APPLE, "-n", 2, "-o", "all/{seed}/x.png", "--gallery", "all/page.html"
    )
    assert (status, out[-1]) == (0, "all/page.html"), err
    page = Path("all/page.html").read_text()
    assert '"src":"0/x.png"' in page
    assert '"src":"1/x.png"' in page


def test_preview_is_no_image_of_a_folder(cfg_sample, make_grid):
    cfg_sample(*APPLE, "-o", "runs/a.png", "--preview-every", 2)
    assert make_grid("runs", "-o", "grid.png")[0] == 0
    with Image.open("grid.png") as image:
        assert image.size == (32, 32)
