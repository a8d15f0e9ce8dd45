// The slider of the landing page, and what the theme says in two ways.
"use strict";

function sayLength(data, index) {
  const [length, softmax] = data.steps["transformer++"][index];
  const flash = data.steps.flash[index][1];
  const faster = data.faster[length];
  const ratio = faster < 1
    ? `softmax attention is ${(1 / faster).toFixed(1)} times as fast`
    : `FLASH is ${faster.toFixed(1)} times as fast`;
  const words = length.toLocaleString("en");
  document.getElementById("length").setAttribute("aria-valuetext", `${words} tokens`);
  document.getElementById("at-length").innerHTML =
    `At <b>${words}</b> tokens a step takes <b class="softmax">${softmax.toFixed(1)} s</b> with softmax attention and ` +
    `<b class="flash">${flash.toFixed(1)} s</b> with FLASH: ${ratio}.`;
  document.querySelectorAll(".surprise svg").forEach((svg) => {
    const mark = svg.querySelectorAll(".flash circle")[index];
    const here = svg.querySelector(".here");
    here.setAttribute("visibility", mark ? "visible" : "hidden");
    if (mark) ["x1", "x2"].forEach((name) => here.setAttribute(name, mark.getAttribute("cx")));
  });
}

// The picture that moves, and the button that stops it. Where no motion is wanted it stands still, and has no button.
function offerPause(button) {
  const clocks = () => document.querySelector(".moving svg").getAnimations({subtree: true});
  button.hidden = clocks().length === 0;
  button.addEventListener("click", () => {
    const paused = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", paused);
    for (const clock of clocks()) paused ? clock.pause() : clock.play();
  });
}

document.addEventListener("DOMContentLoaded", () => {
  // what is written on them names the search button and a fold; the theme gives them a second, other name
  const named = document.querySelectorAll(".search-button-field, details.hide summary");
  named.forEach((element) => element.removeAttribute("aria-label"));
  const moves = document.getElementById("moves");
  if (moves) offerPause(moves);
  const slider = document.getElementById("length");
  if (slider) {
    const data = JSON.parse(document.getElementById("surprise-data").textContent);
    slider.addEventListener("input", () => sayLength(data, Number(slider.value)));
    sayLength(data, Number(slider.value));
  }
});

// A term of the glossary is found by a mark without text, of which Sphinx's search makes no summary: it gets an empty one.
document.addEventListener("DOMContentLoaded", () => {
  if (typeof Search === "undefined") return;
  const summarized = Search.makeSearchSummary;
  Search.makeSearchSummary = (...page) => summarized(...page) ?? document.createElement("p");
});
