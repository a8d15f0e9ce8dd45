// What every page shares: drawing, numbers, and mount(), which is called once at the end of the assembled script.

// An SVG element: draw("rect", {x: 1, class: "one"}, child, ...).
function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// The mark of one pair in a picture of who reads whom; x is the token that is read, y the one that reads (from 0).
function mark(kind, x, y) {
  const square = (name, r) => draw("rect", {class: name, x: x + .5 - r, y: y + .5 - r, width: 2 * r, height: 2 * r});
  const circle = (r) => draw("circle", {class: "sum", cx: x + .5, cy: y + .5, r});
  if (kind === "one") return [square("one", .36)];
  if (kind === "sum") return [circle(.3)];
  if (kind === "twice") return [square("one", .42), circle(.25)];
  if (kind === "missing") return [square("missing", .34)];
  return [draw("path", {class: "leak", d: `M${x + .2} ${y + .2}l.6 .6m0 -.6l-.6 .6`})];
}

const KINDS = {one: "read one by one", sum: "read through a sum", twice: "read twice", missing: "missing: never read",
  leak: "leak: a later token is read"};

const COUNTED = {...KINDS, missing: "never read", leak: "leaking"};  // "19 leaking"

// A legend of some of these marks.
function legend(list, kinds, words = KINDS) {
  list.replaceChildren(...kinds.map((kind) => {
    const item = document.createElement("li");
    item.append(draw("svg", {viewBox: "0 0 1 1", "aria-hidden": "true"}, ...mark(kind, 0, 0)), words[kind]);
    return item;
  }));
}

// Thin lines at the borders of chunks, and the numbers of their first tokens at two edges of the picture.
function borders(T, C, numbered = C, size = T / 26) {
  const parts = [draw("rect", {class: "border", x: 0, y: 0, width: T, height: T})];
  const every = Math.max(1, Math.ceil(T / numbered / 8)) * numbered;  // at most 8 numbers
  for (let at = C; at < T && T / C <= 64; at += C) {
    parts.push(draw("path", {class: "border", d: `M0 ${at}H${T}M${at} 0V${T}`}));
  }
  for (let at = 0; at < T; at += every) {
    const style = `font-size:${size}px`;
    parts.push(draw("text", {x: -size * .4, y: at + .5 + size * .35, style, "text-anchor": "end"}, `${at + 1}`));
    parts.push(draw("text", {x: at + .5, y: -size * .5, style, "text-anchor": at ? "middle" : "start"}, `${at + 1}`));
  }
  return parts;
}

// 12345 as "12,345", and from a million on as "1.23 million".
function count(number) {
  for (const [size, name] of [[1e12, "trillion"], [1e9, "billion"], [1e6, "million"]]) {
    if (number >= size) return `${(number / size).toPrecision(3)} ${name}`;
  }
  return number.toLocaleString("en-US");
}

const plural = (number, noun) => `${number.toLocaleString("en-US")} ${noun}${number === 1 ? "" : "s"}`;

// Fill each empty place of this name with its page. A shadow root keeps the styles of both sides apart.
function mount(name, page, start) {
  for (const host of document.querySelectorAll(`[data-flash-lab="${name}"]:not([data-started])`)) {
    host.dataset.started = "";
    host.setAttribute("data-lm-suppress-shortcuts", "true");  // in JupyterLab arrow keys and Enter are the page's own
    const root = host.attachShadow({mode: "open"});
    root.innerHTML = `<style>${page.css}</style><section aria-labelledby="title">`
      + `<h3 id="title">${page.title}</h3>${page.html}</section>`;
    followTheme(host);
    start(root, page.data);
    hideStill(host, page);
  }
}

// Light text means a dark place, whoever made it so: the system, JupyterLab, Colab or a site.
function followTheme(host) {
  const look = () => {
    const [red, green, blue] = getComputedStyle(host).color.match(/[\d.]+/g).map(Number);
    host.dataset.theme = .3 * red + .59 * green + .11 * blue > 140 ? "dark" : "light";
    host.style.colorScheme = host.dataset.theme;
  };
  const soon = () => [0, 300, 1500].forEach((wait) => setTimeout(look, wait));  // a theme's style sheet may come late
  look();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);
  for (const place of [document.documentElement, document.body]) new MutationObserver(soon).observe(place,
    {attributes: true});
}

// The still picture stands in the output before this one, its words (and in a file the picture) beside the host.
function hideStill(host, page, tries = 8) {
  for (const still of host.parentNode.querySelectorAll("[data-flash-lab-still]")) still.style.display = "none";
  let place = host;
  for (let level = 0; level < 6 && place && place !== document.body; level += 1, place = place.parentElement) {
    const before = place.previousElementSibling;
    const picture = before && (before.matches("img") ? before : before.querySelector("img"));
    const same = picture && (picture.alt === page.alt
      || (picture.naturalWidth === page.still[0] && picture.naturalHeight === page.still[1]));
    if (same) {
      before.style.display = "none";
      return;
    }
  }
  if (tries) setTimeout(() => hideStill(host, page, tries - 1), 400);
}
