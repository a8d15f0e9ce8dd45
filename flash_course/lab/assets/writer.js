const FRAME_MS = 12;  // of computing before the page is drawn again

// What a letter read near, as shares of its chunk: of one unit, or the mean over all of them.
function sharesNear(read, unit) {
  const units = unit === null ? read : [read[unit]];
  const shares = new Float64Array(units[0].weights.length);
  for (const {weights} of units) {
    const all = weights.reduce((sum, weight) => sum + weight, 0);
    if (all > 0) weights.forEach((weight, j) => { shares[j] += weight / all / units.length; });
  }
  return shares;
}

// How much of what it mixed in came through the sum, by length: from 0 to 1.
function shareFar(read, unit) {
  const units = unit === null ? read : [read[unit]];
  const share = ({near, far}) => far === 0 ? 0 : far / (near + far);
  return units.reduce((sum, each) => sum + share(each), 0) / units.length;
}

// A byte as it is shown.
function shown(id) {
  if (id === 10) return "\n";
  return id >= 32 && id < 127 ? String.fromCharCode(id) : "·";
}

const quoted = (id) => id === 10 ? "the end of a line" : id === 32 ? "a space" : `“${shown(id)}”`;

// What the chosen letter read, in words. ids are the letters, at the place of the one that reads, counted from 0.
function tellRead(ids, at, read, unit, C) {
  const first = Math.floor(at / C) * C;
  const shares = sharesNear(read, unit);
  const order = [...shares.keys()].filter((j) => shares[j] > 0).sort((a, b) => shares[b] - shares[a]).slice(0, 3);
  const most = order.map((j) => `${quoted(ids[first + j])} (letter ${first + j + 1}, ${Math.round(100 * shares[j])}%)`);
  const near = most.length ? `most of all ${most.join(", ")}` : "and gives none of them a weight";
  const percent = Math.round(100 * shareFar(read, unit));
  const far = first === 0 ? "Nothing is far yet: this is the first chunk."
    : `Far: letters 1 to ${first} through the sum, ${percent}% of what it takes in.`;
  return `Letter ${at + 1}, ${quoted(ids[at])}. Near: ${plural(at - first + 1, "letter")} of its chunk, one by one, ${near}. ${far}`;
}

function start(root, data) {
  const at = (id) => root.getElementById(id);
  const model = new Flash(data.model);
  const {C, depth} = model;
  let state;
  let ids;  // letters that were read
  let spans;
  let reads;  // of each letter: what it read, for the page alone; the model keeps the state
  let logits;
  let waiting;  // letters of the beginning that are still to be read
  let toWrite = 0;
  let chosen = null;

  function clear() {
    state = model.newState();
    ids = [];
    spans = [];
    reads = [];
    logits = null;
    waiting = [...new TextEncoder().encode(at("prompt").value)];
    toWrite = 0;
    chosen = null;
    at("text").replaceChildren();
    at("say").textContent = `Nothing is read yet. ${plural(data.letters, "letter")} are written at a press of the button.`;
    update();
  }

  function readLetter(id, given) {
    const found = model.step(state, id);
    logits = found.logits;
    if (ids.length % C === 0) {
      const chunk = document.createElement("span");
      chunk.className = "chunk";
      at("text").append(chunk);
    }
    const span = document.createElement("span");
    span.textContent = shown(id);
    span.className = given ? "given" : "";
    at("text").lastChild.append(span);
    ids.push(id);
    spans.push(span);
    reads.push(found.read);
  }

  // One frame: letters of the beginning as long as there is time, then one that is written.
  function frame() {
    const began = performance.now();
    while (waiting.length && performance.now() - began < FRAME_MS) readLetter(waiting.shift(), true);
    if (!waiting.length && toWrite > 0) {
      readLetter(drawToken(logits, Number(at("heat").value)), false);
      toWrite -= 1;
    }
    if (ids.length >= data.most) stop();
    update();
    if (waiting.length || toWrite) requestAnimationFrame(frame);
    else choose(ids.length - 1);
  }

  function stop() {
    waiting = [];
    toWrite = 0;
  }

  function write() {
    if (toWrite) return stop();
    if (!ids.length && !waiting.length) return at("prompt").focus();
    light(null);
    toWrite = data.letters;
    at("say").textContent = "It writes.";
    requestAnimationFrame(frame);
  }

  function update() {
    const cache = ids.length * data.kept.each;
    const largest = Math.max(data.kept.state, cache) * 1.05;
    at("write").textContent = toWrite ? "Stop" : ids.length ? "Write on" : "Write";
    at("write").disabled = ids.length >= data.most;
    at("letter").max = Math.max(1, ids.length);
    at("letter").disabled = at("unit").disabled = !ids.length || toWrite > 0;
    at("flash-bar").style.width = `${100 * data.kept.state / largest}%`;
    at("cache-bar").style.width = `${100 * cache / largest}%`;
    at("flash-is").value = data.kept.state.toLocaleString("en-US");
    at("cache-is").value = cache.toLocaleString("en-US");
  }

  // The marks of the chosen letter, and none of any other.
  function light(letter) {
    for (const span of at("text").querySelectorAll(".near, .now, .far")) {
      span.classList.remove("near", "now", "far");
      span.style.removeProperty("--share");
    }
    chosen = letter;
    if (letter === null) return;
    const unit = at("unit").value === "" ? null : Number(at("unit").value);
    const first = Math.floor(letter / C) * C;
    const shares = sharesNear(reads[letter], unit);
    const most = Math.max(...shares) || 1;
    shares.forEach((share, j) => {
      if (share === 0) return;
      spans[first + j].classList.add("near");
      spans[first + j].style.setProperty("--share", `${(45 * share / most).toFixed(1)}%`);
    });
    const far = shareFar(reads[letter], unit);
    [...at("text").children].slice(0, first / C).forEach((chunk) => {
      chunk.classList.add("far");
      chunk.style.setProperty("--share", `${(30 + 70 * far).toFixed(0)}%`);
    });
    spans[letter].classList.add("now");
    at("letter").value = letter + 1;
    at("letter-is").value = `${letter + 1} of ${ids.length}`;
    at("say").textContent = tellRead(ids, letter, reads[letter], unit, C);
  }

  function choose(letter) {
    if (!toWrite && letter >= 0 && letter < ids.length) light(letter);
  }

  at("prompt").value = data.prompt;
  at("prompt").addEventListener("input", clear);
  at("write").addEventListener("click", write);
  at("clear").addEventListener("click", clear);
  at("text").addEventListener("click", (event) => choose(spans.indexOf(event.target)));
  at("letter").addEventListener("input", () => choose(at("letter").value - 1));
  at("unit").replaceChildren(new Option(`all ${depth} units`, ""),
    ...Array.from({length: depth}, (_, k) => new Option(`unit ${k + 1}`, k)));
  at("unit").addEventListener("input", () => choose(chosen));
  const {state: kept, each, overtakes} = data.kept;
  at("kept").textContent = `FLASH keeps the same ${count(kept)} numbers after every letter: in each of ${depth} units a sum, and `
    + `room for one chunk of ${C} letters. The cache of a Transformer++ of the same size grows by ${plural(each, "number")} a letter, `
    + `and is the larger one from letter ${overtakes.toLocaleString("en-US")} on. What each letter read is kept for this page alone, `
    + `which is why it ends at letter ${data.most.toLocaleString("en-US")}.`;
  at("about").textContent = `${data.parameters} weights, trained on four novels by Jane Austen in windows of 1,024 letters, and here `
    + `rounded to int8, which moves its score on a novel that it never read by ${data.bits.moved} bits a letter: ${data.bits.int8} `
    + `against ${data.bits.float}. Nothing is fetched, and what you type stays here.`;
  clear();
}
