// One job as it runs: curves that grow with its events, and its log.
(() => {
  "use strict";
  const LINES = 500;
  const curves = document.getElementById("curves");
  const log = document.getElementById("log");
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Colours are written with light-dark(), which a canvas cannot read: an element resolves them.
  const probe = document.body.appendChild(document.createElement("span"));
  probe.hidden = true;
  const colour = (name) => {
    probe.style.color = style(name);
    return getComputedStyle(probe).color;
  };

  class Curve {
    constructor(figure) {
      this.figure = figure;
      this.name = figure.dataset.curve;
      this.training = new Map();
      this.validation = new Map();
      this.plot = null;
    }
    add(kind, point) {
      this[kind === "step" ? "training" : "validation"].set(point.step, point[this.name]);
    }
    data() {
      const steps = [...new Set([...this.training.keys(), ...this.validation.keys()])].sort((a, b) => a - b);
      return [steps, steps.map((one) => this.training.get(one) ?? null), steps.map((one) => this.validation.get(one) ?? null)];
    }
    draw() {
      const data = this.data();
      if (!data[0].length) return;
      if (this.plot) this.plot.setData(data);
      else this.plot = new uPlot(this.options(), data, this.figure.querySelector(".plot"));
      this.describe(data);
    }
    options() {
      const axis = { stroke: colour("--muted"), grid: { stroke: colour("--grid"), width: 1 }, ticks: { stroke: colour("--grid"), width: 1 } };
      const line = { spanGaps: true, width: 2 };
      const { training, validation } = this.figure.dataset;
      return {
        width: this.width(),
        height: 220,
        scales: { x: { time: false } },
        axes: [axis, { ...axis, size: 56 }],
        series: [
          { label: curves.dataset.step },
          { ...line, label: training, stroke: colour("--v1"), points: { show: false } },
          { ...line, label: validation, stroke: colour("--v4"), dash: [6, 4], points: { show: true, size: 7 } },
        ],
      };
    }
    width() {
      return Math.max(200, this.figure.querySelector(".plot").clientWidth);
    }
    describe([steps, training, validation]) {
      const number = (value) => value.toLocaleString(curves.dataset.language, { maximumFractionDigits: 3 });
      const told = (name, values) => {
        const known = values.filter((value) => value !== null);
        if (!known.length) return null;
        return known.length > 1 ? `${name} ${number(known[0])} → ${number(known.at(-1))}` : `${name} ${number(known[0])}`;
      };
      const words = this.figure.dataset;
      const parts = [told(words.training, training), told(words.validation, validation)].filter(Boolean);
      this.figure.querySelector(".latest").textContent = `${curves.dataset.step} ${steps.at(-1)}: ${parts.join(" · ")}`;
    }
    again() {
      this.plot?.destroy();
      this.plot = null;
      this.draw();
    }
  }

  const all = curves ? [...curves.querySelectorAll("[data-curve]")].map((figure) => new Curve(figure)) : [];
  let due = false;
  const drawSoon = () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      for (const curve of all) curve.draw();
    });
  };
  const add = (kind, point) => {
    for (const curve of all) curve.add(kind, point);
    drawSoon();
  };

  const write = (line) => {
    const atEnd = log.scrollTop + log.clientHeight >= log.scrollHeight - 4;
    const lines = log.textContent === log.dataset.empty ? [] : log.textContent.split("\n");
    log.textContent = [...lines, line].slice(-LINES).join("\n");
    if (atEnd) log.scrollTop = log.scrollHeight;
  };

  document.addEventListener("studio:event", ({ detail: { kind, data } }) => {
    const told = JSON.parse(data).data;
    if (kind === "log") write(told.line);
    else if (kind !== "state") add(kind, told);
  });
  if (all.length) {
    fetch(curves.dataset.course)
      .then((answer) => answer.json())
      .then(({ steps, evaluations }) => {
        for (const point of steps) add("step", point);
        for (const point of evaluations) add("evaluation", point);
      });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => all.forEach((curve) => curve.again()));
    new ResizeObserver(() => {
      for (const curve of all) curve.plot?.setSize({ width: curve.width(), height: 220 });
    }).observe(curves);
  }
  log.scrollTop = log.scrollHeight;
})();
