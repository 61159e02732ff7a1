// What every page has: events that go on where they were, the progress of an upload, and a server that is gone.
(() => {
  "use strict";
  const messages = () => document.getElementById("messages");

  function tell(look, words, language) {
    const line = document.createElement("div");
    line.className = look;
    line.textContent = words;
    if (language) line.lang = language;
    messages().replaceChildren(line);
    messages().scrollIntoView({ block: "nearest" });
  }

  // htmx's extension makes a new EventSource when one is closed, and that one has forgotten how far it was: the
  // browser sends Last-Event-ID only when it reconnects by itself. So the address says it.
  const KINDS = ["step", "evaluation", "log", "state"];
  const seen = new Map();
  htmx.createEventSource = (url) => {
    const address = new URL(url, location.href);
    if (seen.has(url)) address.searchParams.set("after", seen.get(url));
    const source = new EventSource(address);
    for (const kind of KINDS)
      source.addEventListener(kind, (event) => {
        seen.set(url, event.lastEventId);
        document.dispatchEvent(new CustomEvent("studio:event", { detail: { kind, data: event.data } }));
      });
    return source;
  };

  document.addEventListener("htmx:xhr:progress", (event) => {
    const bar = event.target.querySelector("progress");
    if (bar && event.detail.lengthComputable) {
      bar.max = event.detail.total;
      bar.value = event.detail.loaded;
    }
  });
  // The API answers in JSON: what it refuses is told in its own words, what it made is opened.
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr, requestConfig } = event.detail;
    if (!/json/.test(xhr.getResponseHeader("content-type") ?? "")) return;
    event.detail.shouldSwap = false;
    const told = JSON.parse(xhr.responseText);
    const next = requestConfig.elt.dataset.next;
    if (xhr.status < 300 && next) location.assign(next + told.id);
    else if (xhr.status >= 400) tell("error", told.detail ?? xhr.statusText, "en");
  });
  const lost = () => {
    if (!messages().querySelector(".lost")) tell("warn lost", messages().dataset.lost);
  };
  const back = () => messages().querySelector(".lost")?.remove();
  document.addEventListener("htmx:sendError", lost);
  document.addEventListener("htmx:sseError", lost);
  document.addEventListener("htmx:sseOpen", back);
  document.addEventListener("htmx:afterOnLoad", back);
  // A refusal of the last request is over when the next one begins.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.requestConfig.verb !== "get") messages().replaceChildren();
  });
})();
