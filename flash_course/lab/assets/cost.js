// Pairs, multiply-adds and sequential steps of causal attention over T tokens in chunks of C; S and E are the widths.
function costs(T, C, S, E) {
  const triangle = (n) => n * (n + 1) / 2;
  const near = Math.floor(T / C) * triangle(C) + triangle(T % C);  // full chunks, and the tail
  const local = near * (S + E), global = 2 * T * S * E;
  return {pairs: {local: near, global: triangle(T) - near, full: triangle(T)},
    local, global, flash: local + global, full: triangle(T) * (S + E), chunks: Math.ceil(T / C)};
}

// The first T at which FLASH needs fewer multiply-adds. From there on it always does: the difference is convex in T.
function cheaperFrom(C, S, E) {
  let T = 1;
  for (let now; now = costs(T, C, S, E), now.flash >= now.full;) T += 1;
  return T;
}

// Who reads whom: single marks for few tokens, areas of the same colours for many.
function drawPairs(svg, T, C, numbered, name) {
  svg.setAttribute("viewBox", `0 0 ${T} ${T}`);
  const parts = [];
  if (T <= 32) {
    for (let i = 0; i < T; i += 1) for (let j = 0; j <= i; j += 1) {
      parts.push(...mark(Math.floor(i / C) === Math.floor(j / C) ? "one" : "sum", j, i));
    }
  } else {
    let near = "", far = "";
    for (let a = 0; a < T; a += C) {
      const b = Math.min(a + C, T);
      near += `M${a} ${a}V${b}H${b}z`;
      if (a) far += `M0 ${a}H${a}V${b}H0z`;
    }
    const dot = T / 48;  // as for few tokens: circles are read through a sum
    const dots = draw("pattern", {id: "dots", width: dot, height: dot, patternUnits: "userSpaceOnUse"},
      draw("circle", {class: "sum", cx: dot / 2, cy: dot / 2, r: dot * .36}));
    parts.push(dots, draw("path", {d: far, fill: "url(#dots)"}), draw("path", {class: "one", d: near}));
  }
  svg.replaceChildren(...parts, ...borders(T, C, numbered));
  const pairs = costs(T, C, 1, 1).pairs;
  svg.setAttribute("aria-label", `${name}, ${T} tokens, a row reads a column: ${plural(pairs.local, "pair")} one by one, `
    + `${pairs.global.toLocaleString("en-US")} through a sum`);
}

// Both counts against T on logarithmic axes.
function drawChart(svg, Ts, T, C, S, E) {
  const [first, last] = [Ts[0], Ts.at(-1)], all = Ts.map((n) => costs(n, C, S, E));
  const values = all.flatMap((c) => [c.flash, c.full]), low = Math.min(...values), high = Math.max(...values);
  const x = (n) => 92 + 400 * Math.log(n / first) / Math.log(last / first);
  const y = (v) => 228 - 205 * Math.log(v / low) / Math.log(high / low);
  const text = (words, at, up, anchor = "middle") => draw("text", {x: at, y: up, "text-anchor": anchor}, words);
  const line = (name, d) => draw("path", {class: name, d});
  const parts = [];
  for (let n = 16; n <= last; n *= 4) {
    parts.push(line("grid", `M${x(n)} 23V228`), text(n.toLocaleString("en-US"), x(n), 246));
  }
  for (let v = 10 ** Math.ceil(Math.log10(low)); v <= high; v *= 10) {
    parts.push(line("grid", `M92 ${y(v)}H492`));
    if (Math.round(Math.log10(v)) % 3 === 0) parts.push(text(count(v).replace(".00", ""), 86, y(v) + 4, "end"));
  }
  for (const name of ["flash", "full"]) {
    parts.push(line(name, "M" + all.map((c, k) => `${x(Ts[k])} ${y(c[name])}`).join("L")));
    parts.push(text(name === "flash" ? "FLASH" : "softmax", 498, y(all.at(-1)[name]) + 4, "start"));
  }
  const cheaper = cheaperFrom(C, S, E), now = costs(T, C, S, E);
  if (cheaper < last) parts.push(line("cheaper", `M${x(cheaper)} 23V228`),
    text(`cheaper from T = ${cheaper}`, x(cheaper) + (x(cheaper) > 280 ? -6 : 6), 18, x(cheaper) > 280 ? "end" : "start"));
  parts.push(line("here", `M${x(T)} ${y(now.flash)}V${y(now.full)}`),
    draw("circle", {cx: x(T), cy: y(now.flash), r: 5}),
    draw("rect", {class: "square", x: x(T) - 5, y: y(now.full) - 5, width: 10, height: 10}), text("T, tokens", 292, 266));
  svg.replaceChildren(...parts);
  svg.setAttribute("aria-label", `Multiply-adds against T on logarithmic axes: FLASH a straight line, softmax attention a `
    + `steeper one; they cross at T = ${cheaper}.`);
}

// Which of the two needs more multiply-adds, in words. In one chunk nobody reads the sum, and it is made all the same.
function compared(c) {
  const more = c.full > c.flash;
  const ratio = Number((more ? c.full / c.flash : c.flash / c.full).toPrecision(2));
  const times = `${more ? "Softmax attention" : "FLASH"} needs ${ratio} times as many multiply-adds as `
    + `${more ? "FLASH" : "softmax attention"}`;
  if (c.chunks > 1) return `${times}.`;
  return `${times}: there is one chunk, so nobody reads the sum, and FLASH makes it all the same.`;
}

function start(root, data) {
  const at = (id) => root.getElementById(id);
  const choose = (name, values) => {
    at(name).max = values.length - 1;
    at(name).value = values.indexOf(data[name]);
    at(name).addEventListener("input", update);
  };
  at("widths").replaceChildren(...data.widths.map(([S, E, name]) => new Option(`S = ${S}, E = ${E}: ${name}`)));
  at("widths").selectedIndex = data.selected;
  at("widths").addEventListener("input", update);
  legend(at("key"), ["one", "sum"]);

  function update() {
    const T = data.Ts[at("T").value], C = data.Cs[at("C").value];
    const [S, E] = data.widths[at("widths").selectedIndex];
    for (const [name, value] of [["T", T], ["C", C]]) {
      at(`${name}-is`).value = value;
      at(name).setAttribute("aria-valuetext", plural(value, "token"));
    }
    drawPairs(at("full"), T, T, C, "softmax attention");
    drawPairs(at("mixed"), T, C, C, "mixed chunk attention");
    drawChart(at("chart"), data.Ts, T, C, S, E);
    const c = costs(T, C, S, E), cheaper = cheaperFrom(C, S, E);
    const rows = [["FLASH, local part", c.pairs.local, c.local, 1], ["FLASH, global part", c.pairs.global, c.global, c.chunks],
      ["FLASH", c.pairs.full, c.flash, c.chunks], ["softmax attention", c.pairs.full, c.full, 1],
      ["linear attention, token by token", c.pairs.full, c.global, T]];
    at("table").replaceChildren(...rows.map(([name, pairs, adds, steps]) => {
      const row = document.createElement("tr");
      row.className = name === "FLASH" ? "total" : "";
      row.innerHTML = `<th scope="row">${name}</th><td>${count(pairs)}</td><td title="${adds}">${count(adds)}</td>`
        + `<td>${count(steps)}</td>`;
      return row;
    }));
    at("say").textContent = `T = ${T}, C = ${C}: ${plural(c.pairs.local, "pair")} read one by one, `
      + `${count(c.pairs.global)} through the sum, in ${plural(c.chunks, "sequential step")}. ${compared(c)} `
      + `With these widths and this C, FLASH is cheaper from T = ${cheaper.toLocaleString("en-US")} on.`;
  }

  choose("T", data.Ts);
  choose("C", data.Cs);
  update();
}
