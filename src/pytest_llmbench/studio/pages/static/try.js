// One question to base and fine-tune: what they answer is shown as it comes, then the difference.
(() => {
  "use strict";
  const form = document.getElementById("question");
  if (!form) return;
  const progress = document.getElementById("progress");
  const answers = document.getElementById("answers");
  const difference = document.getElementById("difference");
  const [ask, stop] = ["ask", "stop"].map((id) => document.getElementById(id));
  const language = document.documentElement.lang;
  const plural = new Intl.PluralRules(language);
  const side = (variant) => (variant === "base" ? "base" : "finetuned");
  const part = (name, variant) => document.getElementById(`${name}-${side(variant)}`);
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  let asking = null;
  let compared = {};

  const busy = (on) => {
    answers.setAttribute("aria-busy", on);
    ask.disabled = on;
    stop.hidden = !on;
  };
  const refuse = (words) => {
    const line = document.createElement("div");
    line.className = "error";
    line.lang = "en";
    line.textContent = words;
    document.getElementById("messages").replaceChildren(line);
    progress.textContent = "";
  };

  function hear(event) {
    if (event.kind === "begin") progress.textContent = event.variant === "base" ? progress.dataset.base : progress.dataset.finetuned;
    else if (event.kind === "piece") part("answer", event.variant).textContent += event.text ?? "";
    else if (event.kind === "answer") show(event);
    else if (event.kind === "problem") refuse(event.message);
    return event.kind;
  }

  function show(event) {
    const text = part("answer", event.variant);
    text.textContent = event.error ?? event.text;
    text.classList.toggle("error", Boolean(event.error));
    if (event.error) text.lang = "en";
    else if (!event.text) text.append(remark(event.answered ? answers.dataset.empty : answers.dataset.lost));
    if (event.answered) compared[side(event.variant)] = event.text;
    part("thought", event.variant).hidden = !event.reasoning;
    part("thinking", event.variant).textContent = event.reasoning ?? "";
    part("about", event.variant).textContent = facts(event).join(" · ");
  }

  function remark(words) {
    const made = document.createElement("span");
    made.className = "remark";
    made.textContent = words;
    return made;
  }

  function facts({ completion_tokens: tokens, latency_s: seconds, finish }) {
    const { token, tokens: several, seconds: span } = answers.dataset;
    const shown = (value, digits) => value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });
    return [
      tokens && fill(plural.select(tokens) === "one" ? token : several, { count: shown(tokens, 0) }),
      seconds && fill(span, { value: shown(seconds, 1) }),
      answers.dataset[finish],
    ].filter(Boolean);
  }

  function empty() {
    compared = {};
    for (const variant of ["base", "finetuned"]) {
      for (const name of ["answer", "thinking", "about"]) part(name, variant).textContent = "";
      part("thought", variant).hidden = true;
      part("answer", variant).classList.remove("error");
      part("answer", variant).removeAttribute("lang");
    }
    difference.replaceChildren();
    document.getElementById("messages").replaceChildren();
  }

  // Server-sent events over POST, which EventSource cannot do: blocks of lines, an empty one between them.
  async function* events(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const blocks = (rest + value).replaceAll("\r\n", "\n").split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
        if (data) yield JSON.parse(data);
      }
    }
  }

  async function start() {
    const given = new FormData(form);
    const body = { question: given.get("question") };
    if (given.get("system").trim()) body.system = given.get("system");
    empty();
    progress.textContent = progress.dataset.loading;
    busy(true);
    asking = new AbortController();
    try {
      const answer = await fetch(`/api/jobs/${given.get("job")}/query`, {
        method: "POST",
        headers: { "content-type": "application/json", accept: "text/event-stream" },
        body: JSON.stringify(body),
        signal: asking.signal,
      });
      if (!answer.ok) return refuse((await answer.json()).detail);
      let last = "";
      for await (const event of events(answer.body)) last = hear(event);
      if (last === "done") await finish();
    } catch (error) {
      if (error.name === "AbortError") progress.textContent = progress.dataset.stopped;
      else refuse(document.getElementById("messages").dataset.lost);
    } finally {
      busy(false);
    }
  }

  async function finish() {
    const silent = ["base", "finetuned"].filter((name) => compared[name] === undefined);
    progress.textContent = silent.length ? silent.map((name) => progress.dataset[`${name}Silent`]).join(" ") : progress.dataset.done;
    if (silent.length) return;
    await htmx.ajax("POST", "/try/difference", { target: difference, swap: "innerHTML", values: compared });
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    start();
  });
  stop.addEventListener("click", () => {
    asking?.abort();
    ask.focus();
  });
})();
