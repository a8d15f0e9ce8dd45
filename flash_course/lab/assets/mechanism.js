// The picture moves by its own style sheet. Here its clock is set to the moment of a step, or let run.
function start(root, data) {
  const at = (id) => root.getElementById(id);
  at("picture").innerHTML = data.svg;
  const svg = at("picture").firstElementChild;
  svg.classList.add("driven");  // it stands still unless a button is pressed, so it need not ask who wants no motion
  const last = data.steps.length - 1;
  let step = data.first;
  let playing = false;

  const clocks = () => svg.getAnimations({subtree: true});

  function show(to) {
    step = Math.max(0, Math.min(last, to));
    for (const clock of clocks()) {
      clock.pause();
      clock.currentTime = 1000 * data.steps[step].at;
    }
    tell();
  }

  function tell() {
    const {said} = data.steps[step];
    at("say").textContent = said;
    svg.setAttribute("aria-label", `Twelve tokens in three chunks, and the sum below them. ${said}`);
    at("step").value = step;
    at("step").setAttribute("aria-valuetext", said);
    at("step-is").value = `${step + 1} of ${last + 1}`;
    at("back").disabled = step === 0;
    at("next").disabled = step === last;
  }

  function stop() {
    playing = false;
    at("play").textContent = "Play";
  }

  // Lets the picture run, and says each step when it begins.
  function play() {
    if (playing) {
      stop();
      return show(step);
    }
    playing = true;
    at("play").textContent = "Pause";
    const from = step === last ? 0 : step;
    for (const clock of clocks()) {
      clock.currentTime = 1000 * data.steps[from].at;
      clock.play();
    }
    requestAnimationFrame(follow);
  }

  function follow() {
    if (!playing) return;
    const [clock] = clocks();
    const {duration} = clock.effect.getTiming();
    const now = (clock.currentTime % duration) / 1000;
    const reached = data.steps.findLastIndex(({begins}) => begins <= now);
    if (reached !== step) {
      step = Math.max(0, reached);
      tell();
    }
    requestAnimationFrame(follow);
  }

  const go = (to) => {
    stop();
    show(to);
  };
  at("step").max = last;
  at("back").addEventListener("click", () => go(step - 1));
  at("next").addEventListener("click", () => go(step + 1));
  at("play").addEventListener("click", play);
  at("step").addEventListener("input", () => go(Number(at("step").value)));
  show(step);
}
