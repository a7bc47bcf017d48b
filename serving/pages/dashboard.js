"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const NS = "http://www.w3.org/2000/svg";
  const KEPT = 180;
  const history = {};
  const svg = (tag, attributes, said) => {
    const made = document.createElementNS(NS, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (said !== undefined) made.textContent = said;
    return made;
  };
  const count = (x) => Math.round(x).toLocaleString("en");
  const ratio = (x) => x === null || x === undefined ? "–" : x < 10 ? x.toFixed(2) : x.toPrecision(3);
  const percent = (x) => (100 * x).toFixed(Math.abs(x) >= 0.1 ? 0 : 1) + " %";
  const span = (s) => s < 1 ? Math.round(1000 * s) + " ms" : s < 90 ? s.toFixed(s < 10 ? 1 : 0) + " s"
    : s < 5400 ? Math.round(s / 60) + " min" : s < 129600 ? (s / 3600).toFixed(1) + " h" : (s / 86400).toFixed(1) + " d";
  const time = (ms) => new Date(ms).toISOString().slice(0, 16).replace("T", " ") + " UTC";
  const rows = (id, pairs) => {
    $(id).replaceChildren(...pairs.map((cells) => {
      const row = document.createElement("tr");
      cells.forEach((cell, i) => {
        const made = document.createElement("td");
        if (i === 1) made.className = "n";
        made.append(cell);
        row.append(made);
      });
      return row;
    }));
  };
  const spark = (values) => {
    const made = svg("svg", { viewBox: "0 0 120 22", "aria-hidden": "true" });
    const most = Math.max(...values, 1e-9);
    const step = 120 / (KEPT - 1);
    const from = 120 - (values.length - 1) * step;
    made.append(svg("polyline", { class: "spark",
      points: values.map((v, i) => (from + i * step).toFixed(1) + "," + (20 - 18 * v / most).toFixed(1)).join(" ") }));
    return made;
  };

  const tiles = (now) => {
    const recent = now.recent;
    const tile = $("calibration-tile");
    tile.className = "";
    $("ratio").textContent = recent ? ratio(recent.ratio) : "–";
    $("ratio-note").textContent = recent
      ? ratio(recent.low) + " to " + ratio(recent.high) + ", " + count(recent.clicks) + " clicks"
      : now.monitor_problem;
    if (recent && recent.low > 1.05) { tile.className = "over"; $("ratio").textContent = "▲ " + ratio(recent.ratio); }
    if (recent && recent.high !== null && recent.high < 0.95) { tile.className = "under"; $("ratio").textContent = "▼ " + ratio(recent.ratio); }
    if (now.stale.length) { tile.className = "stale"; $("ratio-note").textContent = "stale: " + $("ratio-note").textContent; }
    const loss = recent ? recent.log_loss : now.trainer["log loss"];
    $("loss").textContent = loss === undefined || loss === null ? "–" : loss.toFixed(4);
    $("loss-note").textContent = recent && recent.ne ? "NE " + recent.ne.toFixed(4) : "since the beginning";
    $("learned").textContent = now.trainer.learned === undefined ? "–" : count(now.trainer.learned);
    $("learned-note").textContent = count(now.rates.learned || 0) + " per second"
      + (now.pending === null ? "" : "; " + count(now.pending) + " wait for a label");
    const behind = now.freshness["trainer behind the newest example"];
    $("behind").textContent = behind === undefined ? "–" : span(behind);
    $("behind-note").textContent = now.stalled ? "clicks seem to have stopped: labels are held back"
      : "event time beyond the join window";
  };

  const alarms = (now) => {
    const made = now.alarms.map((alarm) => {
      const item = document.createElement("li");
      item.className = alarm.ended === null && alarm.status === "new" ? alarm.side : "ended";
      const link = document.createElement("a");
      link.href = "/reports/latest#alarm-" + alarm.number;
      link.textContent = "#" + alarm.number;
      const tags = document.createElement("i");
      tags.textContent = alarm.ended === null ? alarm.severity + ", " + alarm.status : alarm.severity;
      tags.className = alarm.severity;
      const said = document.createElement("b");
      said.textContent = ({ over: "▲ ", under: "▼ " }[alarm.side] || "◆ ") + alarm.said;
      item.append(link, " ", said, " ", tags, " since " + time(alarm.since) + (alarm.ended === null ? "" : ", ended " + time(alarm.ended)));
      for (const more of [alarm.cause, alarm.action]) {
        if (!more) continue;
        const line = document.createElement("p");
        line.textContent = more;
        item.append(line);
      }
      return item;
    });
    if (!made.length) {
      const none = document.createElement("li");
      none.className = "none";
      none.textContent = now.stale.length ? "None in what was watched." : now.recent ? "✔ None." : now.monitor_problem || "–";
      made.push(none);
    }
    $("alarms").replaceChildren(...made);
  };

  const chart = (now) => {
    const box = $("chart");
    const windows = now.windows.filter((w) => w.ratio !== null);
    const width = box.clientWidth || 600, height = 230, left = 40, bottom = height - 22, top = 8;
    box.setAttribute("viewBox", "0 0 " + width + " " + height);
    if (windows.length < 2) {
      box.replaceChildren(svg("text", { x: 10, y: 40 }, now.monitor_problem || "waiting for two windows with clicks"));
      return;
    }
    const sure = windows.filter((w) => w.clicks >= 5);
    const seen = (sure.length ? sure : windows).map((w) => w.ratio);
    const low = Math.max(0.1, Math.min(0.8, ...seen) / 1.1), high = Math.min(10, Math.max(1.25, ...seen) * 1.1);
    const first = windows[0].start, last = windows[windows.length - 1].start;
    const x = (w) => left + (width - left - 10) * (w.start - first) / (last - first);
    const y = (r) => bottom - (bottom - top) * (Math.log(Math.min(Math.max(r, low), high)) - Math.log(low)) / (Math.log(high) - Math.log(low));
    const parts = [];
    for (const tick of [0.25, 0.5, 0.8, 1, 1.25, 2, 4]) {
      if (tick < low || tick > high) continue;
      parts.push(svg("line", { x1: left, x2: width - 10, y1: y(tick), y2: y(tick), class: tick === 1 ? "one" : "grid" }));
      parts.push(svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, String(tick)));
    }
    const edge = (of) => windows.map((w) => x(w).toFixed(1) + " " + y(of(w)).toFixed(1));
    parts.push(svg("path", { class: "band", d: "M" + [...edge((w) => w.high === null ? high : w.high), ...edge((w) => w.low === null ? low : w.low).reverse()].join("L") + "Z" }));
    parts.push(svg("path", { class: "curve", d: "M" + edge((w) => w.ratio).join("L") }));
    for (const w of windows) {
      const at = x(w), up = y(w.ratio);
      const off = w.low !== null && w.low > 1 ? "o" : w.high !== null && w.high < 1 ? "u" : "";
      const mark = off === "o" ? svg("path", { class: "o", d: "M" + at + " " + (up - 5) + "l5 10h-10Z" })
        : off === "u" ? svg("path", { class: "u", d: "M" + at + " " + (up + 5) + "l5 -10h-10Z" })
          : svg("circle", { class: "dot", cx: at, cy: up, r: 2.2 });
      mark.append(svg("title", {}, time(w.start) + ": " + ratio(w.ratio) + " (" + ratio(w.low) + " to " + ratio(w.high) + "), " + count(w.count) + " impressions"));
      parts.push(mark);
    }
    parts.push(svg("text", { x: left, y: height - 5 }, time(first)));
    parts.push(svg("text", { x: width - 10, y: height - 5, "text-anchor": "end" }, time(last)));
    box.replaceChildren(...parts);
  };

  const tables = (now) => {
    for (const [name, rate] of Object.entries(now.rates)) {
      const values = history[name] = history[name] || [];
      values.push(rate);
      if (values.length > KEPT) values.shift();
    }
    rows("rates", Object.entries(now.rates).map(([name, rate]) => [name.replace("_", " "), count(rate), spark(history[name])]));
    rows("lags", Object.entries(now.lags).map(([name, lag]) => [name, count(lag)]));
    rows("ages", Object.entries(now.freshness).map(([name, s]) => [name, span(s)]));
    const rejected = Object.entries(now.rejected);
    rows("rejected", rejected.length ? rejected.map(([what, n]) => [what.replaceAll("_", " "), count(n)]) : [["none", ""]]);
    rows("labels", Object.entries(now.labels).map(([name, share]) => [name, percent(share)]));
    rows("version", now.served_version ? [["served version", now.served_version]] : []);
  };

  const show = (now) => {
    $("problem").hidden = !now.problem;
    $("problem").textContent = now.problem || "";
    if (now.problem) return;
    const said = [...now.stale, ...now.warnings];
    $("warnings").hidden = !said.length;
    $("warnings").replaceChildren(...said.map((line) => { const item = document.createElement("li"); item.textContent = line; return item; }));
    tiles(now); alarms(now); chart(now); tables(now);
    $("said").textContent = (now.stale.length ? "stale, " : "live, ") + time(now.at_ms).slice(11);
  };
  const state = (name, said) => { $("state").className = name; if (said) $("said").textContent = said; };

  let newest = null, lost = 0;
  const source = new EventSource("/dashboard/events");
  source.onmessage = (event) => {
    clearTimeout(lost);
    lost = 0;
    newest = JSON.parse(event.data);
    show(newest);
    state((newest.stale || []).length ? "lost" : "live");
  };
  source.onerror = () => {
    // The server ends each stream after some seconds: only a longer silence is a loss.
    if (!lost) lost = setTimeout(() => state("lost", "no connection; trying again"), 4000);
  };
  addEventListener("resize", () => { if (newest && !newest.problem) chart(newest); });
})();
