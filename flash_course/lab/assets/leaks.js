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

function start(root, data) {
  const at = (id) => root.getElementById(id), {T, C} = data;
  at("reader").max = T;
  at("reader").value = Math.min(T, 2 * C + 1);

  at("choices").append(...Object.entries(data.choices).map(([question, choices]) => {
    const group = document.createElement("fieldset");
    group.innerHTML = `<legend>${data.questions[question]}</legend>` + Object.entries(choices).map(([key, [label]], k) =>
      `<label><input type="radio" name="${question}" value="${key}"${k ? "" : " checked"}> <span>${label}</span></label>`
    ).join("");
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
    showCode(choices);
    showRow();
  }

  update();
}
