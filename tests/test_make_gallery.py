"""make_gallery.py: what is in the page, and what a browser makes of it."""

import base64
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from media import gallery
from media.saving import save_png
from recipes import recipe as recipes
from tests.models.server import Server
from tests.shell import arguments_in_bash

EVIL = (
    "<img src=x onerror=\"document.title='owned'\"></script><script>alert(1)</script>&amp; {{data}}"
)
OTHER = f"{EVIL}\nNegative prompt: {EVIL}\nSteps: 20, Sampler: Euler a, Seed: 1, Size: 8x8"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Not that of who runs the tests, in which the suite may lie."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def picture(name, color="red", **fields):
    """A PNG with a recipe of ours, or with none if no fields are given."""
    texts = recipes.texts({"model": "emoji", **fields}) if fields else None
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    save_png(Image.new("RGB", (8, 8), color), name, texts, overwrite=True)
    return str(name)


def entries(path):
    """What a page knows of its images."""
    text = Path(path).read_text("utf-8")
    return json.loads(re.search('type="application/json">(.*?)</script>', text, re.DOTALL)[1])


# Without a browser.


def test_page_knows_how_the_images_were_made(make_gallery):
    picture("runs/a.png", prompts=[["a cat", 3.0], ["blurry", -1.0]], seed=2**63 - 1)
    status, out, err = make_gallery("runs")
    assert (status, out, err) == (0, ["runs/index.html"], "")
    (entry,) = entries(out[0])
    assert entry.pop("time") == os.stat("runs/a.png").st_mtime_ns // 10**6
    assert entry == {
        "name": "a.png",
        "src": "a.png",
        "width": 8,
        "height": 8,
        "seed": "9223372036854775807",  # more than a number of JavaScript holds
        "prompt": "a cat\nblurry",
        "rows": [
            ["prompts", " 3  a cat\n-1  blurry"],
            ["model", "emoji"],
            ["seed", "9223372036854775807"],
        ],
        "command": "cfg_sample.py 'a cat:3' blurry:-1 --model emoji --seed 9223372036854775807",
        "notes": [],
        "problem": "",
    }


def test_commands_name_files_as_the_folder_of_the_page_sees_them(
    make_gallery, monkeypatch, tmp_path
):
    monkeypatch.setattr(gallery, "HERE", shutil.copytree(gallery.HERE, tmp_path / "suite" / "cli"))
    picture("runs/photo.png")
    picture("runs/a.png", init="photo.png", seed=1, batch=[4, 1])
    assert make_gallery("runs")[0] == 0
    assert arguments_in_bash(entries("runs/index.html")[0]["command"]) == [
        *("../suite/cfg_sample.py", "--init", "photo.png"),
        *("--from-png", "a.png", "--model", "emoji", "--seed", "1"),
    ]


def test_folders_beyond_stay_private(make_gallery, tmp_path, monkeypatch):
    picture("secret/runs/a.png", seed=0, batch=[4, 1])
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert make_gallery(tmp_path / "secret" / "runs", "-o", "all.html")[0] == 0
    (entry,) = entries("all.html")
    assert entry["src"] == "../secret/runs/a.png"  # what a page elsewhere cannot do without
    assert entry["command"] == "cfg_sample.py --from-png ../secret/runs/a.png --model emoji"
    assert str(tmp_path) not in Path("all.html").read_text()


def test_scripts_at_home_are_named_from_there(make_gallery, tmp_path, monkeypatch):
    suite = tmp_path / "home" / "my suite"
    monkeypatch.setattr(gallery, "HERE", shutil.copytree(gallery.HERE, suite / "media"))
    picture("elsewhere/runs/a.png", seed=0)
    monkeypatch.chdir("elsewhere")
    assert make_gallery("runs")[0] == 0
    (entry,) = entries("runs/index.html")
    assert entry["command"] == "~/'my suite/cfg_sample.py' --model emoji"
    assert arguments_in_bash(entry["command"])[0] == str(suite / "cfg_sample.py")
    assert str(tmp_path) not in Path("runs/index.html").read_text()


def test_names_are_encoded_and_shown_harmless(make_gallery):
    odd = ["a #1? 50%.png", "javascript:alert(1).png", "ö\x1b\u202e.png", "'\"<b>&.png", "C.PNG"]
    for name in [*odd, os.fsdecode(b"bytes-\xff.png")]:
        picture(f"runs/{name}")
    make_gallery("runs")
    found = {entry["src"]: entry["name"] for entry in entries("runs/index.html")}
    assert found == {
        "a%20%231%3F%2050%25.png": "a #1? 50%.png",
        "javascript%3Aalert%281%29.png": "javascript:alert(1).png",
        "%C3%B6%1B%E2%80%AE.png": "ö\\x1b\\u202e.png",
        "%27%22%3Cb%3E%26.png": "'\"<b>&.png",
        "C.PNG": "C.PNG",
        "bytes-%FF.png": "bytes-\\udcff.png",
    }


def test_files_without_a_recipe_are_shown_by_name(make_gallery):
    picture("plain.png")
    Path("damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n....")
    Path("no.png").write_text("no image")
    Path("link.png").symlink_to("nowhere")
    picture("unknown.png", model="evil")
    picture("long.png", prompts=[["x" * 10_000, 1.0]] * 7)
    Path("folder.png").mkdir()
    status, out, err = make_gallery(".")
    assert (status, out) == (0, ["index.html"])
    assert err == "note: shown without a recipe: damaged.png and 5 more\n"
    problems = {entry["name"]: entry["problem"] for entry in entries("index.html")}
    assert problems == {
        "plain.png": 'holds no recipe: neither ours nor a "parameters" text',
        "damaged.png": "damaged (the file is cut short)",
        "no.png": "not a PNG, JPEG, WebP or GIF: only these hold a recipe",
        "link.png": "no such file: check the path",
        "unknown.png": 'the recipe names the model "evil", not known here',
        "long.png": "its recipe is too long to show",
    }
    assert all(entry["command"] == "" for entry in entries("index.html"))


def test_folders_within_count_if_asked_for(make_gallery):
    for name in ("a.png", "in/b.png", "in/.hidden.png", ".cache/c.png"):
        picture(f"runs/{name}")
    make_gallery("runs")
    assert [entry["src"] for entry in entries("runs/index.html")] == ["a.png"]
    make_gallery("runs", "--recursive")
    assert [entry["src"] for entry in entries("runs/index.html")] == ["a.png", "in/b.png"]


def test_policy_lets_nothing_out_and_only_our_script_run(make_gallery):
    picture("a.png", prompts=[[EVIL, 1.0]])
    make_gallery(".")
    text = Path("index.html").read_text()
    policy = re.search('http-equiv="Content-Security-Policy" content="(.*?)"', text)[1]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules.pop("default-src") == rules.pop("base-uri") == rules.pop("form-action") == "'none'"
    assert rules.pop("img-src") == "'self' file: data:"
    for kind, tag in [("style-src", "style"), ("script-src", "script")]:
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules.pop(kind) == f"'sha256-{digest}'"
    assert rules == {}
    assert text.count("<script") == text.count("</script") == 2  # the data and ours
    assert "://" not in text


def test_page_is_replaced_if_it_is_a_gallery_and_no_other_file(make_gallery):
    picture("a.png")
    assert make_gallery(".")[0] == 0
    picture("b.png")
    assert make_gallery(".")[0] == 0
    assert len(entries("index.html")) == 2
    Path("own.html").write_text("<title>mine</title>")
    status, out, err = make_gallery(".", "-o", "own.html")
    assert (status, out, err.count("\n")) == (2, [], 1)
    assert "exists and is no gallery" in err
    assert Path("own.html").read_text() == "<title>mine</title>"
    assert make_gallery(".", "-o", "own.html", "--overwrite")[0] == 0
    assert len(entries("own.html")) == 2
    assert not list(Path().glob(".*"))


MISTAKES = {
    ("gone",): "gone: no such folder",
    ("a.png",): "a.png: is not a folder",
    ("empty",): "empty holds no PNGs: name another folder, or use --recursive",
    ("empty", "-r"): "empty holds no PNGs",
    (".", "-o", "a.png"): "must end in .html",
    (".", "-o", "gone/a.html"): "gone: no such folder",
    (".", "-o", "folder.html"): "is a folder",
    (): "required",
}


@pytest.mark.parametrize("argv", MISTAKES)
def test_mistakes_are_one_line(make_gallery, argv):
    picture("a.png")
    Path("empty").mkdir()
    Path("folder.html").mkdir()
    status, out, err = make_gallery(*argv)
    assert (status, out, err.count("\n")) == (2, [], 1), err
    assert MISTAKES[argv] in err
    assert not Path("index.html").exists()


def test_other_scripts_can_check_before_they_draw_and_write_at_the_end(tmp_path):
    path = gallery.check(tmp_path)
    picture(tmp_path / "a.png", seed=1)
    picture(tmp_path / "b.png")
    assert gallery.write(tmp_path) == (path, ["b.png"])


# In a browser.


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    program, driver = (
        next(filter(None, map(shutil.which, names)), None)
        for names in (["chromium", "chromium-browser", "google-chrome"], ["chromedriver"])
    )
    if not program or not driver:
        pytest.skip("no Chromium with its driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1200,800",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()


class Page:
    """A page in the browser, as who looks at it sees it and uses it."""

    def __init__(self, browser, path):
        self.browser = browser
        browser.get("about:blank")
        browser.get_log("performance"), browser.get_log("browser")
        browser.get(Path(path).absolute().as_uri())

    def run(self, script, *arguments):
        return self.browser.execute_script(script, *arguments)

    def until(self, condition):
        """Waits for what comes about in its own time; TimeoutException if it does not."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.browser, 300, 0.05).until(lambda _: self.run(f"return {condition}"))

    def all(self, selector):
        return self.browser.find_elements("css selector", selector)

    def one(self, selector):
        (element,) = self.all(selector)
        return element

    def text(self, selector):
        return [element.get_property("textContent") for element in self.all(selector)]

    def names(self):
        """Of the images in sight, in the order in which they lie."""
        return self.text(".tile .caption:not(.said)")

    def click(self, selector, index=0):
        self.all(selector)[index].click()

    def press(self, key):
        from selenium.webdriver.common.keys import Keys

        self.browser.switch_to.active_element.send_keys(getattr(Keys, key))

    def type(self, selector, text):
        element = self.one(selector)
        element.clear()
        element.send_keys(text)

    def sort(self, key):
        self.run(
            "const sort = document.querySelector('#sort'); sort.value = arguments[0];"
            "sort.dispatchEvent(new Event('input'))",
            key,
        )

    def rows(self, selector):
        """A table as a dict from the first cell of a row to the others."""
        cells = "return [...arguments[0].cells].map((cell) => cell.textContent)"
        rows = [self.run(cells, row) for row in self.all(f"{selector} tbody tr")]
        return {name: texts for name, *texts in rows}

    def requests(self):
        """The addresses that were asked for since the page was opened."""
        for entry in self.browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                yield message["params"]["request"]["url"]

    def complaints(self):
        return [entry["message"] for entry in self.browser.get_log("browser")]


@pytest.fixture
def opened(chromium, make_gallery):
    """A function that makes a gallery of the current folder and opens it."""

    def open_():
        assert make_gallery(".")[0] == 0
        return Page(chromium, "index.html")

    return open_


@pytest.fixture
def four(tmp_path, monkeypatch):
    """Three images with recipes, one without."""
    monkeypatch.chdir(tmp_path)
    picture("out_2.png", "green", prompts=[["a green cat", 3.0]], seed=10, steps=5)
    picture("out_10.png", "red", prompts=[["a red cat", 3.0]], seed=9, steps=5)
    picture("b.png", "blue", prompts=[["Zebra on blue", 3.0]], seed=2**63 - 1)
    picture("plain.png", "gray")
    for time, name in enumerate(["plain.png", "out_10.png", "b.png", "out_2.png"]):
        os.utime(name, (time, time))
    return f"'{tmp_path}'"


@pytest.mark.slow
def test_click_shows_the_recipe_and_the_command(opened, four):
    page = opened()
    assert page.names() == ["b.png", "out_2.png", "out_10.png", "plain.png"]
    page.click(".open", 1)
    assert page.one("#one").is_displayed()
    assert page.text("#one-name") == ["out_2.png"]
    page.until("document.getElementById('one-image').naturalWidth === 8")
    rows = page.rows("#recipe")
    assert (rows["prompts"], rows["seed"], rows["steps"]) == (["3  a green cat"], ["10"], ["5"])
    assert page.text("#command") == [
        f"cd {four} && cfg_sample.py 'a green cat:3' --model emoji --seed 10 --steps 5"
    ]
    page.press("ESCAPE")
    assert not page.one("#one").is_displayed()
    page.click(".open", 3)
    assert page.one("#problem").text.startswith("holds no recipe")
    assert not page.one("#again").is_displayed()
    assert page.complaints() == []


@pytest.mark.slow
def test_all_can_be_done_with_the_keyboard(opened, four):
    page = opened()
    page.run("document.querySelector('.open').focus()")
    page.press("ARROW_RIGHT")
    page.press("ENTER")
    assert page.text("#one-name") == ["out_2.png"]
    for _ in range(5):  # and no further than the last
        page.press("ARROW_RIGHT")
    assert page.text("#one-name") == ["plain.png"]
    page.press("ARROW_LEFT")
    page.press("ESCAPE")
    page.until("document.activeElement.title === 'out_10.png'")  # where one has got to
    page.press("END")
    page.until("document.activeElement.title === 'plain.png'")
    page.press("HOME")
    page.until("document.activeElement.title === 'b.png'")


@pytest.mark.slow
def test_filters_leave_those_that_have_all_words_and_the_seed(opened, four):
    page = opened()
    for words, names in [
        ("cat", ["out_2.png", "out_10.png"]),
        ("CAT red", ["out_10.png"]),
        ("zebra", ["b.png"]),
        ("plain", ["plain.png"]),
        ("dog", []),
        ("", ["b.png", "out_2.png", "out_10.png", "plain.png"]),
    ]:
        page.type("#words", words or " ")
        assert page.names() == names
    assert page.text("#count") == ["4 images"]
    for seeds, names in [
        ("9", ["out_10.png"]),
        ("1-9, 10", ["out_2.png", "out_10.png"]),
        (str(2**63 - 1), ["b.png"]),
        (str(2**63 - 2), []),
        ("x", ["b.png", "out_2.png", "out_10.png", "plain.png"]),
    ]:
        page.type("#seeds", seeds)
        assert page.names() == names
        assert len(page.all("#seeds:invalid")) == (seeds == "x")
    page.type("#words", "cat")
    page.type("#seeds", "9")
    assert page.text("#count") == ["1 of 4 images"]
    page.click(".open")
    assert not page.one("#previous").is_enabled()
    assert not page.one("#next").is_enabled()


@pytest.mark.slow
def test_order_is_by_name_seed_time_or_prompt_either_way(opened, four):
    page = opened()
    for key, names in {
        "name": ["b.png", "out_2.png", "out_10.png", "plain.png"],
        "seed": ["out_10.png", "out_2.png", "b.png", "plain.png"],
        "time": ["plain.png", "out_10.png", "b.png", "out_2.png"],
        "prompt": ["out_2.png", "out_10.png", "b.png", "plain.png"],
    }.items():
        page.sort(key)
        assert page.names() == names
        page.click("#direction")
        backwards = names[::-1]
        if key in ("seed", "prompt"):  # those without are last in either direction
            backwards = [*names[-2::-1], names[-1]]
        assert page.names() == backwards
        page.click("#direction")


@pytest.mark.slow
def test_comparison_shows_both_and_where_they_differ(opened, four):
    page = opened()
    assert not page.one("#compare").is_enabled()
    for place in (3, 1, 2):  # of three the last two count
        page.run("document.querySelectorAll('.tile .pick')[arguments[0]].click()", place)
    page.click("#compare")
    assert page.one("#two").is_displayed()
    assert page.text("#both thead th") == ["", "out_2.png", "out_10.png"]
    sources = [image.get_property("src") for image in page.all("#both img")]
    assert [Path(source).name for source in sources] == ["out_2.png", "out_10.png"]
    rows = page.rows("#both")
    assert rows["seed ≠"] == ["10", "9"]
    assert rows["prompts ≠"] == ["3  a green cat", "3  a red cat"]
    assert rows["steps"] == ["5", "5"]
    page.press("ESCAPE")
    page.run("document.querySelectorAll('.tile .pick')[1].click()")
    assert not page.one("#compare").is_enabled()


@pytest.mark.slow
def test_prompts_with_html_stay_text(opened, tmp_path):
    picture("a.png", prompts=[[EVIL, 3.0]], script="cfg_sample.py", method=EVIL)
    picture("b.png", prompts=[[EVIL, 2.0]])
    picture("c<b>.png")
    info = PngInfo()
    info.add_text("parameters", OTHER)
    Image.new("RGB", (8, 8)).save("d.png", pnginfo=info)
    page = opened()
    elements = "return document.querySelectorAll('script, img, b').length"
    assert page.text(".said")[1] == EVIL
    for place in range(4):
        page.click(".open", place)
        assert page.run(elements) == 2 + 4 + 1  # two scripts; images, one of them open
        page.press("ESCAPE")
    page.click(".open", 3)
    assert page.rows("#recipe")["negative prompt"] == [EVIL]
    assert page.browser.title == tmp_path.name
    assert page.complaints() == []


@pytest.mark.slow
def test_no_request_leaves_the_page(opened, four):
    page = opened()
    page.click(".open", 1)
    page.until("[...document.images].every((image) => image.complete)")
    asked = list(page.requests())
    assert {Path(url).name for url in asked if url.startswith("file:")} == {
        *("index.html", "b.png", "out_2.png", "out_10.png", "plain.png")
    }
    assert all(url.startswith(("file:", "data:")) for url in asked)


@pytest.mark.slow
def test_page_could_not_even_make_a_request(opened, four):
    with Server(b"").running() as server:
        page = opened()
        refused = page.browser.execute_async_script(
            """
            const [url, done] = arguments, refused = [];
            addEventListener("securitypolicyviolation", (event) => {
              refused.push(event.effectiveDirective);
              if (refused.length === 5) done(refused.sort());
            });
            fetch(url).catch(() => {});
            navigator.sendBeacon(url, "x");
            const add = (tag, properties) =>
              document.body.append(Object.assign(document.createElement(tag), properties));
            add("img", { src: url });
            add("script", { src: url });
            add("script", { textContent: `fetch("${url}")` });
            """,
            server.url,
        )
    assert refused == [*["connect-src"] * 2, "img-src", *["script-src-elem"] * 2]
    assert server.requests == []


@pytest.mark.slow
def test_ten_thousand_images_are_few_nodes(chromium, tmp_path):
    file = picture(tmp_path / "a.png", prompts=[["a cat", 3.0]], seed=0)
    known = gallery.entry(Path(file), tmp_path)
    many = [
        {**known, "name": f"{i:05}.png", "seed": str(i), "prompt": "a cat" if i % 100 else "a fox"}
        for i in range(10_000)
    ]
    path = tmp_path / "index.html"
    path.write_text(gallery.page("many", many))
    page = Page(chromium, path)

    def nodes():
        return page.run("return document.querySelectorAll('*').length")

    def in_sight():
        return page.run(
            "return [...document.querySelectorAll('.open')].filter((tile) => {"
            "  const box = tile.getBoundingClientRect();"
            "  return box.bottom > 0 && box.top < innerHeight }).map((tile) => tile.title)"
        )

    def scroll(to):
        page.browser.execute_async_script(
            "scrollTo(0, arguments[0]);"
            "requestAnimationFrame(() => requestAnimationFrame(arguments[1]))",
            to,
        )

    assert page.text("#count") == ["10,000 images"]
    assert in_sight()[0] == "00000.png"
    counts = [nodes()]
    for part in (1 / 3, 1 / 2, 1):
        scroll(part * page.run("return document.body.scrollHeight"))
        counts.append(nodes())
    assert in_sight()[-1] == "09999.png"
    page.type("#words", "fox")
    assert page.text("#count") == ["100 of 10,000 images"]
    counts.append(nodes())
    page.type("#seeds", "5000-5010")
    assert page.names() == ["05000.png"]
    assert max(counts) < 500
    assert min(counts[:4]) > 100
    assert page.complaints() == []
