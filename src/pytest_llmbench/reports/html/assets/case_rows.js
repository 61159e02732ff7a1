/** An element with attributes and children; strings become text nodes, so no content is ever read as HTML. */
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** As Python rounds: a tie, which only a fraction of a power of two can be, goes to the even digit. */
function rounded(value, digits) {
  const size = Math.abs(value), power = 10 ** digits;
  if ((size * 2 ** (digits + 1)) % 2 !== 1) return value.toFixed(digits);
  const below = Math.floor(size * power);
  return (Math.sign(value) * (below + below % 2) / power).toFixed(digits);
}

/** Sentences and numbers in the page's language. */
function speaker(data) {
  const plural = new Intl.PluralRules(document.documentElement.lang);
  const grouped = (digits) => digits.replace(/\B(?=(\d{3})+$)/g, data.words.thousands);
  const fill = (key, values = {}) => data.words[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
  return {
    text: fill,
    outcome: (name) => data.outcomes[name] ?? name,
    count: (number) => grouped(String(number)),
    tokens: (count) => fill(plural.select(count) === "one" ? "token" : "tokens", { count: grouped(String(count)) }),
    number(value, signed = false) {
      if (value === null) return data.words.unscored;
      const [whole, fraction] = rounded(value, Math.abs(value) >= 100 ? 1 : 3).split(".");
      return (signed && value >= 0 ? "+" : "") + grouped(whole) + data.decimal + fraction;
    },
  };
}

const EXCERPT = 160;
const BASE_LOOK = 0;
const ADAPTER_LOOKS = 5;
const CHANGE_SIGNS = { better: "▲", worse: "▼", same: "=" };

function excerpt(text) {
  const line = text.replace(/\s+/g, " ").trim();
  return line.length > EXCERPT ? Array.from(line.slice(0, EXCERPT)).slice(0, -1).join("") + "…" : line;
}

function caseName(row) {
  return row.epoch ? `${row.id} #${row.epoch}` : row.id;
}

/** The line of a result in the table. `view` says which metric, which adapter and how wide the difference's axis is. */
function resultLine(row, index, view, say) {
  const button = element("button", {
    type: "button", class: "opener", "aria-expanded": "false", "aria-controls": `detail-${index}`, "data-index": index,
  }, element("bdi", {}, caseName(row)));
  const line = element("tr", { class: "result", "data-index": index },
    element("th", { scope: "row" }, button, element("span", { class: "excerpt", dir: "auto" }, excerpt(row.prompt))),
    element("td", {}, element("bdi", {}, row.category)));
  for (const score of view.scores(row)) line.append(element("td", { class: "number" }, say.number(score)));
  if (view.comparable) line.append(differenceCell(view.difference(row), view, say));
  if (view.timed) line.append(element("td", { class: "number" }, say.number(view.latency(row))));
  line.append(element("td", {}, outcomeBadge(row.outcome, say), ...troubles(row, say)));
  return line;
}

function outcomeBadge(outcome, say) {
  return element("span", { class: `badge ${outcome === "passed" ? "good" : outcome === "failed" ? "bad" : ""}` }, say.outcome(outcome));
}

function troubles(row, say) {
  const finishes = new Set(row.answers.filter(Boolean).map((answer) => answer.finish));
  return ["timeout", "error"].filter((finish) => finishes.has(finish))
    .map((finish) => element("span", { class: "badge bad" }, say.text("finish_" + finish)));
}

function differenceCell(difference, view, say) {
  if (difference === null) return element("td", { class: "number" }, say.number(null));
  const change = view.change(difference);
  const reach = Math.min(Math.abs(difference) / view.reach, 1) * 50;
  const bar = element("span", { class: `bar ${change}`, "aria-hidden": "true" }, element("i"));
  bar.firstChild.style.cssText = `width:${reach}%;${difference < 0 ? "right" : "left"}:50%`;
  return element("td", { class: "number difference" },
    bar, element("span", { class: change, title: say.text(change) }, `${say.number(difference, true)} ${CHANGE_SIGNS[change]}`));
}

/** The row under an open result: prompt, what was expected, the answers side by side with their words compared, scores. */
function detailLine(row, index, view, say, columns) {
  const panel = element("div", { class: "detail-panel", role: "region", "aria-label": say.text("details", { case: row.case }) },
    element("div", { class: "asked" },
      labelled(say.text("prompt"), element("p", { class: "text", dir: "auto" }, row.prompt)), expected(row, say)),
    ...answerCards(row, view, say), scoreTable(row, view, say));
  return element("tr", { class: "detail", id: `detail-${index}` }, element("td", { colspan: columns }, panel));
}

function labelled(label, ...content) {
  return element("div", { class: "labelled" }, element("h4", {}, label), ...content);
}

function expected(row, say) {
  const facts = [["tool", row.tool], ["keywords", row.keywords.join(", ")], ["reference", row.reference], ["calls", row.calls?.join("\n")]].filter(([, value]) => value);
  if (!facts.length) return null;
  const list = element("dl", { class: "facts" });
  for (const [key, value] of facts)
    list.append(element("div", {}, element("dt", {}, say.text(key)), element("dd", { dir: "auto", class: key === "calls" ? "text code" : null }, value)));
  return labelled(say.text("expected"), list);
}

function answerCards(row, view, say) {
  const base = view.base === null ? null : row.answers[view.base];
  const comparable = (place) => base?.answered && place !== view.base && row.answers[place]?.answered;
  const compared = comparable(view.adapter);
  const against = (place) => (comparable(place) ? wordDiff(base.text, row.answers[place].text) : null);
  const chosen = compared ? against(view.adapter) : null;
  const cards = view.variants.map((variant, place) => {
    const difference = place === view.adapter ? chosen : against(place);
    const pieces = place === view.base ? chosen?.before : difference?.after;
    return answerCard(variant, view.look(place), row.answers[place], pieces, say);
  });
  return compared ? [element("div", { class: "answers" }, ...cards), legend(base, row.answers[view.adapter], chosen, say)]
    : [element("div", { class: "answers" }, ...cards)];
}

function legend(before, after, difference, say) {
  const whole = String(before.calls) === String(after.calls) ? "identical" : "other_calls";
  const same = whole === "identical" && (before.cut || after.cut) ? "same_beginning" : whole;
  const key = before.text === after.text ? same : difference === null ? "too_long" : "legend";
  return element("p", { class: "remark" }, say.text(key));
}

function answerCard(variant, look, answer, pieces, say) {
  const card = element("section", { class: "answer" },
    element("h4", {}, element("i", { class: `swatch v${look}`, "aria-hidden": "true" }), element("bdi", {}, variant)));
  if (!answer) {
    card.append(element("p", { class: "remark" }, say.text("absent")));
    return card;
  }
  if (answer.error) card.append(element("p", { class: "error", dir: "auto" }, answer.error));
  if (answer.reasoning) {
    card.append(element("details", { class: "thought" }, element("summary", {}, say.text("reasoning")),
      element("p", { class: "text", dir: "auto" }, answer.reasoning)));
  }
  const text = element("p", { class: "text answer-text", dir: "auto", tabindex: "0", "aria-label": variant });
  if (answer.text) text.append(...(pieces ?? [[answer.text, false]]).map((piece) => markedPiece(piece, look)));
  else text.append(element("span", { class: "remark" }, say.text(answer.answered ? "empty" : "lost")));
  card.append(text, ...answerCalls(answer, say), element("p", { class: "remark" }, answerFacts(answer, say).join(" · ")));
  return card;
}

/** The calls that the answer makes, and what is wrong with it. */
function answerCalls(answer, say) {
  const list = (key, lines, look) => labelled(say.text(key), element("ul", { class: look }, ...lines.map((line) => element("li", { dir: "auto" }, line))));
  return [answer.calls ? list("calls", answer.calls, "calls code") : null, answer.faults.length ? list("faults", answer.faults, "calls") : null].filter(Boolean);
}

function markedPiece([text, changed], look) {
  return changed ? element(look === BASE_LOOK ? "del" : "ins", {}, text) : document.createTextNode(text);
}

function answerFacts(answer, say) {
  return [
    say.text("finish_" + answer.finish),
    answer.completion_tokens === null ? null : say.tokens(answer.completion_tokens),
    answer.latency_s === null ? null : say.text("seconds", { value: say.number(answer.latency_s) }),
    answer.cached ? say.text("cached") : null,
    answer.cut ? say.text("cut") : null,
    answer.prompt_cut ? say.text("prompt_cut") : null,
  ].filter(Boolean);
}

function scoreTable(row, view, say) {
  const used = view.metrics.map((metric, place) => [metric, row.scores[place]])
    .filter(([, scores]) => scores.some((score) => score !== null));
  if (!used.length) return null;
  const head = element("tr", {}, element("th", { scope: "col" }, say.text("scores")),
    ...used.map(([metric]) => element("th", { scope: "col", class: "number" }, metric.label)));
  const body = element("tbody", {}, ...view.variants.map((variant, place) => element("tr", {},
    element("th", { scope: "row" }, element("bdi", {}, variant)),
    ...used.map(([, scores]) => element("td", { class: "number" }, say.number(scores[place]))))));
  return element("div", { class: "scrolled" }, element("table", { class: "plain" }, element("thead", {}, head), body));
}
