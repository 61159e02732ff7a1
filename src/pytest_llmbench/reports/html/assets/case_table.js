const PAGE = 100;
const MOST_PRINTED = 1000;
const FOLDED_AT_ONCE = 500;
const ENDINGS = ["error", "timeout", "length", "stop"];

/** Whether the reader has marked text of the line, to copy it. */
function hasSelection(line) {
  const selection = getSelection();
  return selection.toString() !== "" && selection.containsNode(line, true);
}

function startCases(data, language) {
  const say = speaker(data);
  const view = tableView(data);
  const collator = new Intl.Collator(language, { numeric: true });
  const place = document.getElementById("case-table");
  const open = new Set();
  const haystacks = [];
  const chosen = { terms: [], category: "", outcome: "", change: "", finish: "" };
  const order = { column: null, direction: 1 };
  let matching = data.rows.map((_, index) => index);
  let page = 0;
  let printing = false;

  const search = element("input", { type: "search", id: "search", autocomplete: "off", spellcheck: "false", placeholder: say.text("search_hint") });
  const count = element("p", { role: "status", class: "count" });
  const head = element("tr");
  const body = element("tbody");
  const table = element("table", { class: "cases" }, element("thead", {}, head), body);
  const pager = element("nav", { class: "pager", "aria-label": say.text("pager") });
  const columns = () => tableColumns(view, say);

  function matches(row, index) {
    if (chosen.category && row.category !== chosen.category) return false;
    if (chosen.outcome && row.outcome !== chosen.outcome) return false;
    if (chosen.change && view.change(view.difference(row)) !== chosen.change) return false;
    if (chosen.finish && !row.answers.some((answer) => answer?.finish === chosen.finish)) return false;
    if (!chosen.terms.length) return true;
    haystacks[index] ??= haystack(row);
    return chosen.terms.every((term) => haystacks[index].includes(term));
  }

  /** Folds the texts while nobody waits, so that the first search is as quick as the next. */
  function foldAhead(from) {
    const idle = globalThis.requestIdleCallback ?? setTimeout;
    idle(() => {
      const to = Math.min(from + FOLDED_AT_ONCE, data.rows.length);
      for (let index = from; index < to; index++) haystacks[index] ??= haystack(data.rows[index]);
      if (to < data.rows.length) foldAhead(to);
    });
  }

  function refresh() {
    matching = data.rows.flatMap((row, index) => (matches(row, index) ? [index] : []));
    const column = columns().find((one) => one.key === order.column);
    if (column) matching.sort(comparison(data.rows, column, order.direction, collator));
    page = 0;
    draw();
  }

  function draw() {
    drawHead();
    drawRows();
    drawPager();
    count.textContent = say.text("count", { shown: say.count(matching.length), total: say.count(data.rows.length) });
    if (data.total > data.rows.length) count.textContent += " · " + say.text("of_all", { count: say.count(data.total) });
  }

  function drawHead() {
    const focused = document.activeElement?.dataset?.sort;
    head.replaceChildren(...columns().map((column) => {
      const active = column.key === order.column;
      const sign = active ? (order.direction > 0 ? "▲" : "▼") : "↕";
      const button = element("button", { type: "button", "data-sort": column.key }, element("bdi", {}, column.label),
        element("span", { class: "sign", "aria-hidden": "true" }, sign));
      return element("th", {
        scope: "col", class: column.number ? "number" : null,
        "aria-sort": active ? (order.direction > 0 ? "ascending" : "descending") : "none",
      }, button);
    }));
    if (focused) head.querySelector(`[data-sort="${focused}"]`)?.focus();
  }

  function shown() {
    return printing ? matching.slice(0, MOST_PRINTED) : matching.slice(page * PAGE, (page + 1) * PAGE);
  }

  function drawRows() {
    const opened = (index) => open.has(index) || (printing && view.change(view.difference(data.rows[index])) === "worse");
    const lines = shown().flatMap((index) => {
      const line = resultLine(data.rows[index], index, view, say);
      return opened(index) ? [line, opening(line, index)] : [line];
    });
    body.replaceChildren(...lines);
    if (!lines.length) body.append(element("tr", {}, element("td", { class: "nothing", colspan: columns().length }, say.text("nothing"))));
  }

  function opening(line, index) {
    line.querySelector(".opener").setAttribute("aria-expanded", "true");
    return detailLine(data.rows[index], index, view, say, columns().length);
  }

  function toggle(line) {
    const index = Number(line.dataset.index);
    if (open.delete(index)) {
      line.nextElementSibling.remove();
      line.querySelector(".opener").setAttribute("aria-expanded", "false");
    } else {
      open.add(index);
      line.after(opening(line, index));
    }
  }

  function drawPager() {
    const pages = Math.max(Math.ceil(matching.length / PAGE), 1);
    const step = (key, to, possible) => {
      const button = element("button", { type: "button", disabled: !possible, "data-page": key }, say.text(key));
      button.addEventListener("click", () => turnTo(to, key));
      return button;
    };
    pager.hidden = pages === 1;
    pager.replaceChildren(
      step("first", 0, page > 0), step("previous", page - 1, page > 0),
      element("span", { "aria-current": "page" }, say.text("pages", { page: say.count(page + 1), pages: say.count(pages) })),
      step("next", page + 1, page + 1 < pages), step("last", pages - 1, page + 1 < pages),
    );
  }

  function turnTo(to, key) {
    page = to;
    draw();
    const again = pager.querySelector(`[data-page="${key}"]`);
    (again.disabled ? pager.querySelector("button:not(:disabled)") : again)?.focus({ preventScroll: true });
    place.scrollIntoView({ block: "start" });
  }

  function select(key, label, options, choose) {
    const list = element("select", { id: `filter-${key}` }, ...options.map(([value, text]) => element("option", { value }, text)));
    list.addEventListener("change", () => { choose(list.value); refresh(); });
    return element("label", {}, element("span", {}, label), list);
  }

  /** A filter over the values that rows have; none where there is nothing to choose. */
  function filter(key, values, label = (value) => value) {
    if (values.length < 2) return null;
    const options = [["", say.text("all")], ...values.map((value) => [value, label(value)])];
    return select(key, say.text(key), options, (value) => { chosen[key] = value; });
  }

  function controls() {
    const distinct = (of) => [...new Set(data.rows.flatMap(of))];
    const finishes = new Set(distinct((row) => row.answers.map((answer) => answer?.finish)));
    const numbered = (labels, places) => places.map((at) => [String(at), labels[at]]);
    const metric = data.metrics.length < 2 ? null : select("metric", say.text("metric"),
      numbered(data.metrics.map((one) => one.label), data.metrics.map((_, at) => at)), (value) => view.choose(Number(value), view.adapter));
    if (metric) metric.querySelector("select").value = String(view.metric);
    const adapter = view.adapters.length < 2 ? null : select("adapter", say.text("adapter"),
      numbered(data.variants, view.adapters), (value) => view.choose(view.metric, Number(value)));
    return [
      element("label", { class: "search" }, element("span", {}, say.text("search")), search),
      adapter, metric,
      filter("category", distinct((row) => [row.category])),
      view.comparable ? filter("change", ["better", "same", "worse", "unpaired"], say.text) : null,
      filter("outcome", distinct((row) => [row.outcome]).sort(), say.outcome),
      filter("finish", ENDINGS.filter((finish) => finishes.has(finish)), (finish) => say.text("finish_" + finish)),
    ].filter(Boolean);
  }

  function clearFilters() {
    search.value = "";
    Object.assign(chosen, { terms: [], category: "", outcome: "", change: "", finish: "" });
    for (const key of ["category", "outcome", "change", "finish"]) {
      const list = document.getElementById(`filter-${key}`);
      if (list) list.value = "";
    }
    refresh();
  }

  function showCase(name) {
    if (!data.rows.some((row) => row.case === name)) return;
    clearFilters();
    const at = matching.findIndex((index) => data.rows[index].case === name);
    page = Math.floor(at / PAGE);
    open.add(matching[at]);
    draw();
    const opener = body.querySelector(`.opener[data-index="${matching[at]}"]`);
    opener.focus({ preventScroll: true });
    opener.scrollIntoView({ block: "center" });
  }

  function command(label, act) {
    const button = element("button", { type: "button" }, label);
    button.addEventListener("click", act);
    return button;
  }

  function moveFocus(event) {
    const openers = [...body.querySelectorAll(".opener")];
    const at = openers.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: openers.length - 1 }[event.key];
    if (at < 0 || to === undefined || !openers[to]) return;
    event.preventDefault();
    openers[to].focus();
  }

  search.addEventListener("input", () => {
    chosen.terms = folded(search.value).split(/\s+/).filter(Boolean);
    refresh();
  });
  head.addEventListener("click", (event) => {
    const key = event.target.closest("button")?.dataset.sort;
    if (!key) return;
    if (order.column !== key) Object.assign(order, { column: key, direction: 1 });
    else if (order.direction === 1) order.direction = -1;
    else order.column = null;
    refresh();
  });
  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr.result");
    if (line && (event.target.closest(".opener") || !hasSelection(line))) toggle(line);
  });
  body.addEventListener("keydown", moveFocus);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    search.focus();
    search.select();
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-case]");
    if (!link) return;
    event.preventDefault();
    showCase(link.dataset.case);
  });
  addEventListener("beforeprint", () => {
    printing = true;
    for (const folded of document.querySelectorAll("details:not([open])")) folded.dataset.opened = folded.open = true;
    draw();
    count.textContent += " · " + say.text("printed", { count: say.count(MOST_PRINTED) });
  });
  addEventListener("afterprint", () => {
    printing = false;
    for (const folded of document.querySelectorAll("details[data-opened]")) {
      folded.open = false;
      delete folded.dataset.opened;
    }
    draw();
  });

  place.append(
    element("div", { class: "controls", role: "search" }, ...controls()),
    element("div", { class: "commands" }, count,
      command(say.text("reset"), clearFilters),
      command(say.text("open_all"), () => { shown().forEach((index) => open.add(index)); drawRows(); }),
      command(say.text("close_all"), () => { open.clear(); drawRows(); })),
    element("div", { class: "scrolled cases-frame" }, table), pager);
  draw();
  foldAhead(0);
}
