"use strict";

// Ten thousand images are ten thousand entries here, but only those in sight are in the document.

const $ = (id) => document.getElementById(id);
const images = JSON.parse($("data").textContent);
const WIDTH = 176, HEIGHT = 216, GAP = 12; // of a tile, in pixels; HEIGHT as in the style sheet
const SPARE = 2; // rows drawn above and below those in sight
const SMALL = 160; // pixels: an image below that is enlarged without being smoothed

let shown = []; // the entries that pass the filters, in order
let picked = []; // at most two of them, to compare
let current = 0; // the place in `shown` of the one that is open
const tiles = new Map(); // place in `shown` -> its element

/** The command that draws an image again from any folder: it names files as the page's sees them. */
function commandOf(image) {
  if (!image.command || location.protocol !== "file:") return image.command;
  const folder = decodeURIComponent(location.pathname.replace(/[^/]*$/, "")).replace(/(.)\/$/, "$1");
  if (/[\x00-\x1f\x7f]/.test(folder)) return image.command;
  return `cd '${folder.replaceAll("'", "'\\''")}' && ${image.command}`;
}

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children); // strings become text, never markup
  return element;
}

function picture(image, properties) {
  const small = image.width && Math.max(image.width, image.height) <= SMALL;
  const element = make("img", { alt: image.prompt || image.name, ...properties });
  element.classList.toggle("small", Boolean(small));
  element.addEventListener("error", () => {
    element.replaceWith(make("span", { className: "absent", textContent: "cannot be shown" }));
  });
  element.src = image.src;
  return element;
}

// Filters and order

for (const image of images) {
  image.haystack = `${image.prompt}\n${image.name}`.toLowerCase();
  image.number = /^\d+$/.test(image.seed ?? "") ? BigInt(image.seed) : null; // up to 2**63
}

/** Pairs [first, last] of a text like "1,5-9"; null: it is no such text. */
function ranges(text) {
  const found = [];
  for (const part of text.split(",").filter((part) => part.trim())) {
    const match = /^\s*(\d+)\s*(?:-\s*(\d+)\s*)?$/.exec(part);
    if (!match) return null;
    found.push([BigInt(match[1]), BigInt(match[2] ?? match[1])]);
  }
  return found;
}

const collator = new Intl.Collator(undefined, { numeric: true });
const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
const byName = (a, b) => collator.compare(a.name, b.name);
const orders = {
  name: byName,
  seed: (a, b) => order(a.number, b.number) || byName(a, b),
  time: (a, b) => order(a.time, b.time) || byName(a, b),
  prompt: (a, b) => collator.compare(a.prompt, b.prompt) || byName(a, b),
};
const lacks = { seed: (image) => image.number === null, prompt: (image) => !image.prompt };

function choose() {
  const words = $("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const seeds = ranges($("seeds").value);
  $("seeds").setCustomValidity(seeds ? "" : "numbers and ranges like 1,5-9");
  shown = images.filter(
    (image) =>
      words.every((word) => image.haystack.includes(word)) &&
      (!seeds?.length ||
        (image.number !== null && seeds.some(([a, b]) => a <= image.number && image.number <= b))),
  );
  const key = $("sort").value;
  const sign = $("direction").getAttribute("aria-pressed") === "true" ? -1 : 1;
  const last = lacks[key] ?? (() => false); // those without a seed or a prompt, in either direction
  shown.sort((a, b) => last(a) - last(b) || sign * orders[key](a, b));
  const all = images.length.toLocaleString("en");
  $("count").textContent =
    shown.length === images.length
      ? `${all} image${images.length === 1 ? "" : "s"}`
      : `${shown.length.toLocaleString("en")} of ${all} images`;
  for (const tile of tiles.values()) tile.remove();
  tiles.clear();
  draw();
}

// The tiles in sight

function layout() {
  const width = $("grid").clientWidth;
  const columns = Math.max(1, Math.floor((width + GAP) / (WIDTH + GAP)));
  return { columns, step: (width + GAP) / columns, height: HEIGHT + GAP };
}

function draw() {
  const { columns, step, height } = layout();
  const top = window.scrollY - $("grid").offsetTop;
  const firstRow = Math.max(0, Math.floor(top / height) - SPARE);
  const first = firstRow * columns;
  const endRow = Math.ceil((top + window.innerHeight) / height) + SPARE;
  const end = Math.min(shown.length, endRow * columns);
  $("grid").style.height = `${Math.ceil(shown.length / columns) * height}px`;
  for (const [place, tile] of tiles) {
    const away = place < first || place >= end;
    if (away && !tile.contains(document.activeElement)) {
      tile.remove();
      tiles.delete(place);
    }
  }
  let next = null; // Tab goes along the document, so that is in order
  for (let place = end - 1; place >= first; place--) {
    if (!tiles.has(place)) {
      tiles.set(place, tileOf(place));
      $("grid").insertBefore(tiles.get(place), next);
    }
    const { style } = (next = tiles.get(place));
    style.width = `${step - GAP}px`;
    style.left = `${(place % columns) * step}px`;
    style.top = `${Math.floor(place / columns) * height}px`;
  }
}

function tileOf(place) {
  const image = shown[place];
  const open = make(
    "button",
    { className: "open", type: "button", title: image.name },
    picture(image, { loading: "lazy", decoding: "async" }),
    make("span", { className: "caption", textContent: image.name }),
    make("span", { className: "caption said", textContent: image.prompt || image.problem || " " }),
  );
  open.dataset.place = place;
  const pick = make("button", { className: "pick", type: "button", textContent: "Compare" });
  open.addEventListener("click", () => show(place));
  pick.addEventListener("click", () => toggle(image));
  pick.ariaPressed = String(picked.includes(image));
  return make("figure", { className: "tile" }, open, pick);
}

function focusTile(place) {
  const { columns, height } = layout();
  const top = $("grid").offsetTop + Math.floor(place / columns) * height;
  const room = document.querySelector("header").offsetHeight + GAP;
  if (top - room < window.scrollY) window.scrollTo(0, top - room);
  else if (top + height > window.scrollY + window.innerHeight) {
    window.scrollTo(0, top + height - window.innerHeight);
  }
  draw();
  tiles.get(place)?.querySelector(".open").focus({ preventScroll: true });
}

$("grid").addEventListener("keydown", (event) => {
  const place = Number(event.target.dataset.place ?? NaN);
  const { columns } = layout();
  const to = {
    ArrowLeft: place - 1,
    ArrowRight: place + 1,
    ArrowUp: place - columns,
    ArrowDown: place + columns,
    Home: 0,
    End: shown.length - 1,
  }[event.key];
  if (to === undefined || Number.isNaN(to)) return;
  event.preventDefault();
  if (to >= 0 && to < shown.length) focusTile(to);
});

// One image

function rowsInto(table, rows) {
  table.replaceChildren(
    make(
      "tbody",
      {},
      ...rows.map(([name, ...texts]) => {
        const heading = make("th", { scope: "row", textContent: name });
        return make("tr", {}, heading, ...texts.map((text) => make("td", { textContent: text })));
      }),
    ),
  );
}

function rowsOf(image) {
  const time = new Date(image.time).toLocaleString();
  const size = image.width ? [["size", `${image.width} x ${image.height}`]] : [];
  return [...(image.rows.some(([name]) => name === "size") ? [] : size), ...image.rows, ["file time", time]];
}

function show(place) {
  current = place;
  const image = shown[place];
  $("one-name").textContent = image.name;
  $("one-link").href = image.src;
  $("one-link").replaceChildren(picture(image, { id: "one-image" }));
  $("one-pick").ariaPressed = String(picked.includes(image));
  $("command").textContent = commandOf(image);
  $("again").hidden = !image.command;
  $("copy").textContent = "Copy";
  $("notes").replaceChildren(...image.notes.map((note) => make("li", { textContent: note })));
  $("problem").textContent = image.problem;
  $("problem").hidden = !image.problem;
  rowsInto($("recipe"), rowsOf(image));
  $("previous").disabled = place === 0;
  $("next").disabled = place === shown.length - 1;
  $("one").scrollTop = 0;
  if (!$("one").open) $("one").showModal();
}

function go(by) {
  if (current + by >= 0 && current + by < shown.length) show(current + by);
}

$("previous").addEventListener("click", () => go(-1));
$("next").addEventListener("click", () => go(1));
$("one").addEventListener("keydown", (event) => {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (by) go(by);
});
$("one").addEventListener("close", () => focusTile(current));

$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("command").textContent);
    $("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($("command")); // to be copied by hand
  }
});

// Two images

function toggle(image) {
  picked = picked.includes(image)
    ? picked.filter((other) => other !== image)
    : [...picked.slice(-1), image];
  for (const [place, tile] of tiles) {
    tile.querySelector(".pick").ariaPressed = String(picked.includes(shown[place]));
  }
  $("one-pick").ariaPressed = String(picked.includes(shown[current]));
  $("compare").disabled = picked.length < 2;
  $("compare").textContent = picked.length === 1 ? "Compare two (1 picked)" : "Compare two";
}

$("one-pick").addEventListener("click", () => toggle(shown[current]));
$("compare").addEventListener("click", () => {
  const recipes = picked.map((image) => new Map([...rowsOf(image), ["command", commandOf(image)]]));
  const names = new Set(recipes.flatMap((recipe) => [...recipe.keys()]));
  rowsInto(
    $("both"),
    [...names].map((name) => [name, ...recipes.map((recipe) => recipe.get(name) ?? "")]),
  );
  for (const row of $("both").rows) {
    const [name, left, right] = [...row.cells].map((cell) => cell.textContent);
    row.classList.toggle("differs", left !== right);
    if (left !== right) row.cells[0].textContent = `${name} ≠`;
  }
  const heads = picked.map((image) => make("th", { scope: "col" }, picture(image), image.name));
  $("both").prepend(make("thead", {}, make("tr", {}, make("th"), ...heads)));
  $("two").showModal();
});

for (const button of document.querySelectorAll(".close")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // the backdrop
  });
}

for (const id of ["words", "seeds", "sort"]) $(id).addEventListener("input", choose);
$("direction").addEventListener("click", () => {
  $("direction").ariaPressed = String($("direction").ariaPressed !== "true");
  choose();
});

let waiting = false;
function later() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    draw();
  });
}
window.addEventListener("scroll", later, { passive: true });
window.addEventListener("resize", later);
choose();
