// Every array that is shown: its part of the page, its caption, and what a row of it is. Places are counted from 0.
const TABLES = [
  ["z", 1, "base z", "token"], ["v", 1, "value v", "token"], ["gamma", 1, "γ", "head"], ["beta", 1, "β", "head"],
  ["bias", 1, "bias", "place"],
  ["quad_q", 2, "quad_q", "token"], ["quad_k", 2, "quad_k", "token"], ["lin_q", 2, "lin_q", "token"],
  ["lin_k", 2, "lin_k", "token"],
  ["score", 3, "score,", "chunk"], ["weight", 3, "weight,", "chunk"], ["near", 3, "near", "token"],
  ["kv", 4, "summary,", "sum"], ["mean", 4, "mean for", "sum"], ["far", 4, "far", "token"],
  ["out", 5, "near + far", "token"],
];

const show = (number) => number < 0 ? `(−${-number})` : `${number}`;
const plain = (number) => `${number}`.replace("-", "−");

// What a number is made of: its name, the places of its parts, the calculation, and what it means.
// A place is [array, row, column], or [array, chunk, row, column] for the arrays of a chunk.
function trace(place, data) {
  const {arrays, heads, C} = data, [name, ...at] = place;
  const value = ([array, ...where]) => where.reduce((inner, k) => inner[k], arrays[array]);
  const made = (label, parts, calculation, meaning) => ({label, parts, calculation, meaning});
  const products = (pairs) => pairs.map(([a, b]) => `${show(value(a))} × ${show(value(b))}`).join(" + ") || "0";
  const [i, e] = at, chunk = Math.floor(i / C), first = chunk * C;

  if (heads.includes(name)) {
    const h = heads.indexOf(name), parts = [["gamma", h, e], ["z", i, e], ["beta", h, e]];
    return made(`${name} of token ${i + 1}, number ${e + 1}`, parts,
      `${products([parts.slice(0, 2)])} + ${show(value(parts[2]))}`, "γ times z plus β");
  }
  if (name === "score" || name === "weight") {
    const [g, a, b] = at, q = g * C + a + 1, k = g * C + b + 1;
    if (b > a) {
      return {...made(`token ${q} may not read token ${k}`, [], "", `the mask: token ${k} is later`), masked: true};
    }
    if (name === "score") {
      const pairs = [0, 1].map((s) => [["quad_q", q - 1, s], ["quad_k", k - 1, s]]), bias = ["bias", a, b];
      return made(`score of token ${q} for token ${k}`, [...pairs.flat(), bias],
        `(${products(pairs)}) / ${C} + ${show(value(bias))}`, "quad_q · quad_k over C, plus the bias");
    }
    const score = value(["score", ...at]);
    return made(`weight of token ${q} for token ${k}`, [["score", ...at]], `max(${show(score)}, 0)²`,
      score > 0 ? "relu²: the square of a positive score" : "relu²: a score that is not positive has the weight 0");
  }
  if (name === "near") {
    const pairs = Array.from({length: i - first + 1}, (_, b) => [["weight", chunk, i - first, b], ["v", first + b, e]]);
    const read = i === first ? `only itself` : `tokens ${first + 1} and ${i + 1}`;
    return made(`near of token ${i + 1}, number ${e + 1}`, pairs.flat(), products(pairs),
      `token ${i + 1} reads ${read} one by one: weight times v`);
  }
  if (name === "kv") {
    const [g, s, column] = at;
    const pairs = Array.from({length: C}, (_, c) => [["lin_k", g * C + c, s], ["v", g * C + c, column]]);
    return made(`summary of chunk ${g + 1}, row ${s + 1}, column ${column + 1}`, pairs.flat(), products(pairs),
      `lin_k times v, added over tokens ${g * C + 1} and ${g * C + C}`);
  }
  if (name === "mean") {
    const [g, s, column] = at, parts = Array.from({length: g}, (_, h) => ["kv", h, s, column]);
    const meaning = g ? `the summaries of the chunks before chunk ${g + 1}, over their ${g * C} tokens`
      : "chunk 1 has no earlier chunk: it reads nothing through the sum";
    return made(`what chunk ${g + 1} reads, row ${s + 1}, column ${column + 1}`, parts,
      g ? `(${parts.map((part) => show(value(part))).join(" + ")}) / ${g * C}` : "0", meaning);
  }
  if (name === "far") {
    const pairs = [0, 1].map((s) => [["lin_q", i, s], ["mean", chunk, s, e]]);
    const meaning = chunk ? `token ${i + 1} reads tokens 1 to ${first} through the sum: lin_q times the mean`
      : `token ${i + 1} is in chunk 1, and reads nothing through the sum`;
    return made(`far of token ${i + 1}, number ${e + 1}`, pairs.flat(), products(pairs), meaning);
  }
  if (name === "out") {
    const parts = [["near", i, e], ["far", i, e]];
    return made(`output of token ${i + 1}, number ${e + 1}`, parts, parts.map((part) => show(value(part))).join(" + "),
      "near plus far, before the gate");
  }
  const given = {z: "base", v: "value", gamma: "γ", beta: "β", bias: "bias"}[name];
  const where = name === "bias" ? `place ${i + 1} reads place ${e + 1} of its chunk`
    : `${name === "z" || name === "v" ? `token ${i + 1}` : heads[i]}, number ${e + 1}`;
  return made(`${given}: ${where}`, [], "", name === "z" || name === "v" ? "given" : "learned, here given");
}

function start(root, data) {
  const buttons = new Map(), {arrays, C} = data;  // by place, as "near,5,0"
  let kept = ["out", 5, 0];

  function table(part, caption, rows, rowNames, places) {
    const element = document.createElement("table");
    element.innerHTML = `<caption>${caption}</caption><tbody></tbody>`;
    const grid = rows.map((row, r) => row.map((number, c) => {
      const button = document.createElement("button"), place = places(r, c);
      button.type = "button";
      button.tabIndex = r || c ? -1 : 0;
      const {label, masked} = trace(place, data);
      button.textContent = masked ? "·" : plain(number);
      button.className = number ? "" : "zero";
      button.setAttribute("aria-label", `${label}: ${plain(number)}`);
      button.addEventListener("focus", () => { kept = place; light(place); });
      button.addEventListener("click", () => button.focus());  // Safari does not focus a button that is clicked
      button.addEventListener("pointerenter", () => light(place));
      button.addEventListener("pointerleave", () => light(kept));
      buttons.set(`${place}`, button);
      return button;
    }));
    grid.forEach((row, r) => {
      const line = document.createElement("tr");
      line.className = rowNames.length === 6 && r % C === 0 ? "first" : "";
      line.innerHTML = `<th scope="row">${rowNames[r]}</th>`;
      line.append(...row.map((button) => {
        const cell = document.createElement("td");
        cell.append(button);
        return cell;
      }));
      element.tBodies[0].append(line);
    });
    element.addEventListener("keydown", (event) => move(event, grid));
    root.getElementById(`part-${part}`).append(element);
  }

  // Arrow keys, Home and End inside a table; one number of each table is reached by Tab.
  function move(event, grid) {
    const at = grid.flat().indexOf(event.target), columns = grid[0].length, last = grid.length * columns - 1;
    const to = {ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: last};
    if (!(event.key in to)) return;
    event.preventDefault();
    const next = grid.flat()[to[event.key]];
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  function light(place) {
    for (const button of buttons.values()) button.classList.remove("part", "chosen");
    const {label, parts, calculation, meaning} = trace(place, data);
    buttons.get(`${place}`).classList.add("chosen");
    for (const part of parts) buttons.get(`${part}`).classList.add("part");
    const [name, ...at] = place, value = plain(at.reduce((inner, k) => inner[k], arrays[name]));
    root.getElementById("say").innerHTML = `<p><strong>${label}</strong></p>`
      + `<p><code>${calculation ? `${calculation.replaceAll("-", "−")} = ` : ""}${value}</code></p><p>${meaning}</p>`;
    putBelow(buttons.get(`${place}`));
  }

  // What is said of a number stands right below the number, inside the page.
  function putBelow(button) {
    const page = root.querySelector("section").getBoundingClientRect(), box = button.getBoundingClientRect();
    const say = root.getElementById("say"), most = page.width - say.offsetWidth;
    say.style.top = `${box.bottom - page.top + 4}px`;
    say.style.left = `${Math.max(0, Math.min(box.left - page.left, most))}px`;
  }

  for (const [name, part, caption, row] of TABLES) {
    const array = arrays[name];
    if (row === "chunk" || row === "sum") {
      array.forEach((rows, g) => {
        const names = rows.map((_, r) => row === "chunk" ? g * C + r + 1 : "");
        table(part, `${caption} chunk ${g + 1}`, rows, names, (r, c) => [name, g, r, c]);
      });
    } else {
      const names = array.map((_, r) => row === "head" ? data.heads[r] : r + 1);
      table(part, caption, array, names, (r, c) => [name, r, c]);
    }
  }
  light(kept);
  new ResizeObserver(() => light(kept)).observe(root.querySelector("section"));
}
