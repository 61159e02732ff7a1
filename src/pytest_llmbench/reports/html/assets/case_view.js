const SAME_WITHIN = 1e-9;

/** Lower case without accents or ligatures: "Œuvre été" is found by "oeuvre ete". */
function folded(text) {
  return text.normalize("NFKD").replace(/\p{M}+/gu, "").toLowerCase().replace(/œ/g, "oe").replace(/æ/g, "ae");
}

function haystack(row) {
  const answers = row.answers.filter(Boolean).flatMap((answer) => [answer.text, answer.error ?? "", ...(answer.calls ?? []), ...answer.faults]);
  return folded([row.case, row.prompt, row.tool ?? "", ...row.keywords, row.reference ?? "", ...(row.calls ?? []), ...answers].join("\n"));
}

/** What the table shows of a row for the chosen metric and adapter. Variants are places in the run's list. */
function tableView(data) {
  const base = data.base === null ? null : data.variants.indexOf(data.base);
  const adapters = base === null ? [] : data.variants.map((_, place) => place).filter((place) => place !== base);
  const view = {
    variants: data.variants,
    metrics: data.metrics,
    base,
    adapters,
    adapter: adapters[0] ?? 0,
    metric: Math.max(data.metrics.findIndex((metric) => metric.name === data.leading), 0),
    timed: data.timed,
    comparable: adapters.length > 0 && data.metrics.length > 0,
    reach: 1,
    look: (place) => (place === base ? BASE_LOOK : 1 + (base === null ? place : place - 1) % ADAPTER_LOOKS),
    scores: (row) => row.scores[view.metric] ?? [],
    latency: (row) => row.answers[view.adapter]?.latency_s ?? null,
    difference(row) {
      const scores = view.scores(row);
      const [before, after] = [scores[base] ?? null, scores[view.adapter] ?? null];
      return before === null || after === null ? null : after - before;
    },
    change(difference) {
      if (difference === null) return "unpaired";
      if (Math.abs(difference) <= SAME_WITHIN) return "same";
      return (difference > 0) === data.metrics[view.metric].higher ? "better" : "worse";
    },
    choose(metric, adapter) {
      view.metric = metric;
      view.adapter = adapter;
      view.reach = data.rows.reduce((most, row) => Math.max(most, Math.abs(view.difference(row) ?? 0)), 0) || 1;
    },
  };
  view.choose(view.metric, view.adapter);
  return view;
}

/** The columns of the table, each with the value that it sorts by. */
function tableColumns(view, say) {
  return [
    { key: "case", label: say.text("case"), value: (row) => row.id, then: (row) => row.epoch },
    { key: "category", label: say.text("category"), value: (row) => row.category },
    ...view.variants.map((variant, at) => ({ key: `score-${at}`, label: variant, number: true, value: (row) => view.scores(row)[at] ?? null })),
    ...(view.comparable ? [{ key: "difference", label: say.text("difference"), number: true, value: view.difference }] : []),
    ...(view.timed ? [{ key: "latency", label: say.text("latency"), number: true, value: view.latency }] : []),
    { key: "outcome", label: say.text("outcome"), value: (row) => row.outcome },
  ];
}

/** Unscored values come last, whichever way the others go; what is equal keeps the order of the run. */
function comparison(rows, column, direction, collator) {
  return (a, b) => {
    const [x, y] = [column.value(rows[a]), column.value(rows[b])];
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    if (column.number) return (x - y) * direction || a - b;
    const then = column.then ? column.then(rows[a]) - column.then(rows[b]) : 0;
    return (collator.compare(x, y) || then) * direction || a - b;
  };
}
