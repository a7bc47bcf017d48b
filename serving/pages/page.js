"use strict";
const $ = (id) => document.getElementById(id);

async function look() {
  try {
    const answer = await fetch("/v1/model");
    const said = await answer.json();
    $("problem").hidden = answer.ok && !said.problem;
    $("problem").textContent = answer.ok ? said.problem || "" : said.detail;
    if (!answer.ok) return;
    $("version").textContent = said.model_version;
    $("events").textContent = said.events.toLocaleString("en");
    $("age").textContent = said.weights_age_s === null ? "–" : ago(said.weights_age_s);
    $("spec").textContent = said.spec;
  } catch (error) {
    $("problem").hidden = false;
    $("problem").textContent = "the server does not answer";
  }
}

function ago(seconds) {
  if (seconds < 120) return `${seconds.toFixed(1)} s ago`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds / 3600)} h ago`;
}

$("send").addEventListener("click", async () => {
  const answer = await fetch("/v1/predict", { method: "POST", body: $("body").value });
  $("reply").hidden = false;
  $("reply").textContent = JSON.stringify(await answer.json(), null, 2);
});

look();
setInterval(look, 2000);
