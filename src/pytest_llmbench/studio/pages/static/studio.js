// What every page has: events that go on where they were, the progress of an upload, and a server that is gone.
(() => {
  "use strict";
  const messages = () => document.getElementById("messages");

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
  const lost = () => {
    const words = messages().dataset.lost;
    if (messages().textContent !== words) {
      const line = document.createElement("div");
      line.className = "warn lost";
      line.textContent = words;
      messages().replaceChildren(line);
    }
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
  // What was deleted or moved takes the focus with it: it goes to what stands in its place.
  document.addEventListener("htmx:afterSettle", (event) => {
    const next = event.detail.elt.querySelector("[data-focus]") ?? (event.detail.elt.matches("[data-focus]") ? event.detail.elt : null);
    next?.focus();
  });
})();
