// One question to base and fine-tune: what they answer is shown as it comes, then the difference.
(() => {
  "use strict";
  const form = document.getElementById("question");
  if (!form) return;
  const progress = document.getElementById("progress");
  const answers = document.getElementById("answers");
  const difference = document.getElementById("difference");
  const [ask, stop] = ["ask", "stop"].map((id) => document.getElementById(id));
  const place = (variant) => document.getElementById(`answer-${variant === "base" ? "base" : "finetuned"}`);
  const about = (variant) => document.getElementById(`about-${variant === "base" ? "base" : "finetuned"}`);
  let asking = null;

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
    else if (event.kind === "piece") place(event.variant).textContent += event.text ?? "";
    else if (event.kind === "answer") {
      place(event.variant).textContent = event.error ?? event.text;
      const told = [event.completion_tokens && `${event.completion_tokens} ${progress.dataset.unit}`, event.latency_s && `${event.latency_s.toFixed(1)} s`, event.finish];
      about(event.variant).textContent = told.filter(Boolean).join(" · ");
    } else if (event.kind === "problem") refuse(event.message);
    return event.kind;
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
    for (const variant of ["base", "finetuned"]) place(variant).textContent = about(variant).textContent = "";
    difference.replaceChildren();
    document.getElementById("messages").replaceChildren();
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
    progress.textContent = progress.dataset.done;
    const values = { base: place("base").textContent, finetuned: place("finetuned").textContent };
    await htmx.ajax("POST", "/try/difference", { target: difference, swap: "innerHTML", values });
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
