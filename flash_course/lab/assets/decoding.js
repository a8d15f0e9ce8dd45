// Numbers kept after t tokens: FLASH's sum and the rows of its unfinished chunk, the room for both, and a GAU's cache.
function kept(t, C, S, E) {
  return {flash: S * E + (t % C) * (2 * S + E), room: S * E + C * (2 * S + E), cache: t * (S + E)};
}

// "token 5", "tokens 5 and 6", "tokens 5 to 8".
const span = (a, b) => a === b ? `token ${a}` : `tokens ${a} ${b === a + 1 ? "and" : "to"} ${b}`;

// What the step of token t does, in words.
function tell(t, C, words) {
  if (t === 0) return `Nothing is read yet: the sum is zero, and the cache is empty.`;
  const first = Math.floor((t - 1) / C) * C + 1, self = first === t ? "only itself" : span(first, t);
  const far = first > 1 ? `${span(1, first - 1)} through the sum` : "nothing through the sum, which is still zero";
  const fold = t % C ? "" : ` It is the last of its chunk: behind the reading, the rows of ${span(first, t)} are folded into `
    + "the sum and dropped.";
  return `Token ${t} (“${words[t - 1]}”) writes its row. It reads ${self} one by one, and ${far}.${fold}`;
}

function start(root, data) {
  const at = (id) => root.getElementById(id), {words, C, S, E, sums} = data, T = words.length;
  let t = data.t, timer = null;

  const cells = (keys) => `<span class="cells" aria-hidden="true">${'<i class="k"></i>'.repeat(keys)}`
    + `<i class="v first"></i>${'<i class="v"></i>'.repeat(E - 1)}</span>`;

  function row(place, keys) {
    const item = document.createElement("li");
    item.innerHTML = `<span class="word"></span>${cells(keys)}`;
    item.className = place ? "" : "empty";
    item.firstChild.textContent = place ? `${place} ${words[place - 1]}` : "free";
    return item;
  }

  function update() {
    const n = kept(t, C, S, E), waiting = t % C, folded = t - waiting, largest = Math.max(n.room, T * (S + E));
    at("t").value = t;
    at("t-is").value = `${t} of ${T}`;
    at("back").disabled = t === 0;
    at("next").disabled = t === T;
    at("prompt").replaceChildren(...words.map((word, k) => {
      const part = document.createElement("span");
      part.textContent = word;
      part.className = (k < folded ? "folded" : k < t ? "open" : "to-come") + (k === t - 1 ? " now" : "");
      return part;
    }).flatMap((part) => [part, " "]));
    at("say").textContent = tell(t, C, words);
    at("chunks").textContent = `${plural(folded / C, "finished chunk")} in it`;
    at("sum").innerHTML = sums[t].map((line, s) => "<tr>" + line.map((number, e) =>
      `<td${t && number !== sums[t - 1][s][e] ? ' class="changed"' : ""}>${number}</td>`).join("") + "</tr>").join("");
    at("open").replaceChildren(...Array.from({length: C}, (_, k) => row(k < waiting ? folded + k + 1 : 0, 2 * S)));
    at("cache").replaceChildren(...Array.from({length: t}, (_, k) => row(k + 1, S)));
    at("flash-bar").style.width = `${100 * n.flash / largest}%`;
    at("cache-bar").style.width = `${100 * n.cache / largest}%`;
    at("room").style.left = `${100 * n.room / largest}%`;
    at("flash-is").value = `${n.flash} (room for ${n.room})`;
    at("cache-is").value = `${n.cache}`;
  }

  function go(to) {
    t = Math.max(0, Math.min(T, to));
    if (t === T) stop();
    update();
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    at("play").textContent = "Play";
  }

  function play() {
    if (timer) return stop();
    if (t === T) go(0);
    timer = setInterval(() => go(t + 1), data.pause);
    at("play").textContent = "Pause";
  }

  at("t").max = T;
  at("cache").style.minHeight = `${1.45 * T}em`;  // so that nothing below moves as it grows
  at("back").addEventListener("click", () => go(t - 1));
  at("next").addEventListener("click", () => go(t + 1));
  at("play").addEventListener("click", play);
  at("t").addEventListener("input", () => go(Number(at("t").value)));
  const p = data.paper;
  at("paper").textContent = `Here C = ${C}, S = ${S}, E = ${E}; the dashed line is FLASH's room, S E + C (2S + E), whatever T. `
    + `One unit of the paper's base model (C = ${p.C}, S = ${p.S}, E = ${p.E}) has room for ${count(p.room)} numbers; a GAU's `
    + `cache holds more from token ${p.from} on, and ${count(p.cache)} at T = ${p.T.toLocaleString("en-US")}.`;
  update();
}
