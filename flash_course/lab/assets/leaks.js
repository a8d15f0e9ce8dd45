// Whether chunk g reads chunk h through the sum, for each choice; chunks are counted from 0.
const CHUNK_READS = {
  shift: (g, h) => h < g,
  inclusive: (g, h) => h <= g,
  subtract: (g, h) => h <= g && g > 0,  // in chunk 1 the difference is exactly 0, later it is rounded
  roll: (g, h) => h < g || g === 0,
  late: (g, h) => h < g - 1,
  previous: (g, h) => h === g - 1,
  all: () => true,
  none: () => false,
};

// Whether token i reads token j of its own chunk one by one.
const LOCAL_READS = {after: (i, j) => j <= i, before: () => true, none: () => true, off: () => false};

// What the picture shows: T rows of T kinds. The mean and the positions change numbers, and no pair.
function kindsOf(choices, T, C) {
  const chunk = (t) => Math.floor(t / C);
  const kind = (i, j) => {
    const one = chunk(i) === chunk(j) && LOCAL_READS[choices.mask](i, j);
    const sum = CHUNK_READS[choices.sum](chunk(i), chunk(j));
    if (j > i) return one || sum ? "leak" : "";
    return one && sum ? "twice" : one ? "one" : sum ? "sum" : "missing";
  };
  return Array.from({length: T}, (_, i) => Array.from({length: T}, (_, j) => kind(i, j)));
}

// Which tokens of a row are of a kind, in words: "5 to 8, 10"; null if there is none.
function tokens(row, kind) {
  const runs = [];
  row.forEach((each, j) => {
    if (each !== kind) return;
    if (runs.length && runs.at(-1)[1] === j) runs.at(-1)[1] = j + 1;
    else runs.push([j + 1, j + 1]);
  });
  return runs.map(([a, b]) => a === b ? a : `${a} to ${b}`).join(", ") || null;
}

// What moves when one token is changed: for each output "moved", "leak" (it comes before the token), "missing" (it does
// not move, and should) or "" (it does not move, as it should).
function outputsThatMove(kinds, changed) {
  return kinds.map((row, i) => {
    const moves = row[changed] !== "" && row[changed] !== "missing";
    if (i < changed) return moves ? "leak" : "";
    return moves ? "moved" : "missing";
  });
}

// What one change showed, in words; tokens and outputs are counted from 1.
function tellChange(outputs, changed) {
  const before = tokens(outputs, "leak"), after = tokens(outputs, "missing");
  const said = `You changed token ${changed + 1}.`;
  const named = (places) => `${/\D/.test(places) ? "outputs" : "output"} ${places}`;
  if (before) return `${said} Exposed: ${named(before)} moved too, before it in the text. This layer reads the future.`;
  if (after) return `${said} Exposed: ${named(after)} did not move. There token ${changed + 1} is never read.`;
  return `${said} Outputs from ${changed + 1} on moved, and none before: here it looks sound.`;
}

// The puzzle above the bench: a fault that is hidden, and tokens to change. reveal(fault) shows it on the bench.
function startPuzzle(root, data, reveal) {
  const at = (id) => root.getElementById(id), {T, C} = data;
  const sound = Object.fromEntries(Object.entries(data.choices).map(([question, choices]) => [question, Object.keys(choices)[0]]));
  let hidden = 0;  // which of the puzzles
  let tried = [];  // tokens, in the order in which they were changed
  let exposed = false;

  const fault = () => ({...sound, ...data.puzzles[hidden]});

  const buttons = Array.from({length: T}, (_, j) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = j + 1;
    button.setAttribute("aria-label", `Change token ${j + 1}`);
    button.addEventListener("click", () => change(j));
    return button;
  });
  at("tokens").append(...buttons);

  function change(j) {
    if (!tried.includes(j)) tried.push(j);
    const outputs = outputsThatMove(kindsOf(fault(), T, C), j);
    exposed = exposed || outputs.includes("leak") || outputs.includes("missing");
    at("found").textContent = tellChange(outputs, j);
    show(j);
  }

  function show(last) {
    const kinds = kindsOf(fault(), T, C);
    const marks = tried.flatMap((j) => outputsThatMove(kinds, j).flatMap((how, i) =>
      how ? mark(how === "moved" ? "one" : how, j, i) : []));
    const frame = last === null ? [] : [draw("rect", {class: "changed", x: last, y: 0, width: 1, height: T})];
    at("probed").setAttribute("viewBox", `0 0 ${T} ${T}`);
    at("probed").replaceChildren(...borders(T, C).filter((part) => part.tagName !== "text"), ...rowNumbers(T, C), ...marks, ...frame);
    at("probed").setAttribute("aria-label", `A column for each token that is changed, a row for each output; changed so far: `
      + `${tried.map((j) => j + 1).join(", ") || "none"}. ${at("found").textContent}`);
    buttons.forEach((button, j) => button.classList.toggle("tried", tried.includes(j)));
    at("reveal").disabled = !exposed && tried.length < 3;
  }

  function another() {
    hidden = (hidden + 1) % data.puzzles.length;
    begin();
  }

  function begin() {
    tried = [];
    exposed = false;
    at("found").textContent = `Fault ${hidden + 1} of ${data.puzzles.length}: no token is changed yet.`;
    show(null);
  }

  legend(at("probed-key"), ["one", "leak", "missing"], PROBED);
  at("another").addEventListener("click", another);
  at("reveal").addEventListener("click", () => {
    const [[question, key]] = Object.entries(data.puzzles[hidden]);
    const [, edits, name] = data.choices[question][key];
    at("found").textContent = `${name} You changed ${plural(tried.length, "token")}; the bench below has all pairs. `;
    at("found").append(editedLines(edits));
    reveal(fault());
  });
  begin();
}

const PROBED = {one: "moved, as it should", leak: "moved too early: a leak", missing: "did not move, and should"};

// The numbers of the outputs at the left edge; those of the tokens stand on their buttons.
function rowNumbers(T, C) {
  return borders(T, C).filter((part) => part.getAttribute("text-anchor") === "end");
}

// The lines that an edit puts in place of the right ones.
function editedLines(edits) {
  const code = document.createElement("code");
  code.className = "edited";
  code.textContent = Object.entries(edits).map(([name, line]) => `${name} = ${line}`).join("\n");
  return code;
}

function start(root, data) {
  const at = (id) => root.getElementById(id), {T, C} = data;
  at("reader").max = T;
  at("reader").value = Math.min(T, 2 * C + 1);

  at("choices").append(...Object.entries(data.choices).map(([question, choices]) => {
    const label = document.createElement("label"), select = document.createElement("select");
    select.name = question;
    select.append(...Object.entries(choices).map(([key, [words]]) => new Option(words, key)));
    label.append(data.questions[question], select);
    const group = document.createElement("div");
    group.append(label);
    return group;
  }));
  at("choices").addEventListener("input", update);
  at("reader").addEventListener("input", showRow);

  const chosen = () => Object.fromEntries(new FormData(at("choices")));

  function paragraph(kind, text) {
    const element = document.createElement("p");
    element.className = kind;
    element.textContent = text;
    return element;
  }

  // One line of code for each line of the mixing; what an edit replaced is shown below it.
  function showCode(choices) {
    const edits = Object.assign({}, ...Object.entries(choices).map(([question, key]) => data.choices[question][key][1]));
    at("code").replaceChildren(...Object.entries(data.lines).flatMap(([name, line]) => {
      const now = document.createElement("span");
      now.textContent = `${name} = ${edits[name] ?? line}\n`;
      if (!(name in edits)) return [now];
      now.className = "edited";
      const was = document.createElement("span");
      was.className = "was";
      was.textContent = `# in place of: ${line}\n`;
      return [now, was];
    }), "return near + far");
  }

  function showRow() {
    const i = at("reader").value - 1, row = kindsOf(chosen(), T, C)[i];
    at("reader-is").value = i + 1;
    const words = {one: "one by one", sum: "through the sum", twice: "twice, in both ways", leak: "though later (leak)"};
    const read = Object.entries(words).filter(([kind]) => row.includes(kind)).map(([kind, how]) => `${tokens(row, kind)} ${how}`);
    const missing = row.includes("missing") ? ` It never reads ${tokens(row, "missing")}.` : "";
    at("row").textContent = `Token ${i + 1} reads ${read.join("; ") || "nobody"}.${missing}`;
    root.querySelector(".reader").setAttribute("y", i);
  }

  function update() {
    const choices = chosen(), kinds = kindsOf(choices, T, C), seen = Object.keys(KINDS);
    const number = (kind) => kinds.flat().filter((each) => each === kind).length;
    const marks = kinds.flatMap((row, i) => row.flatMap((kind, j) => kind ? mark(kind, j, i) : []));
    const frame = draw("rect", {class: "reader", x: 0, y: 0, width: T, height: 1});
    at("picture").setAttribute("viewBox", `0 0 ${T} ${T}`);
    at("picture").replaceChildren(...borders(T, C), ...marks, frame);
    legend(at("key"), seen.filter(number));
    const counts = seen.filter(number).map((kind) => `${number(kind)} ${COUNTED[kind]}`).join(", ");
    at("picture").setAttribute("aria-label", `${T} tokens in chunks of ${C}, a row reads a column, in pairs: ${counts}`);

    const said = Object.entries(choices).map(([question, key]) => [question, data.choices[question][key][2]])
      .filter(([, fault]) => fault)
      .map(([question, fault]) => paragraph(question === "sum" || question === "mask" ? "fault" : "unseen", fault));
    const fine = "No fault: every token reads itself and all earlier ones, each in one way.";
    at("say").replaceChildren(...said.length ? said : [paragraph("fine", fine)], paragraph("note", `In pairs: ${counts}.`));
    for (const [question, key] of Object.entries(choices)) {
      const group = at("choices").elements[question].closest("div");
      group.querySelector("code")?.remove();
      group.append(...Object.keys(data.choices[question][key][1]).length ? [editedLines(data.choices[question][key][1])] : []);
    }
    showCode(choices);
    showRow();
  }

  function reveal(choices) {
    for (const [question, key] of Object.entries(choices)) at("choices").elements[question].value = key;
    update();
    at("bench").scrollIntoView({block: "nearest"});
  }

  update();
  startPuzzle(root, data, reveal);
}
