// Two strategies of one group: what the seeds say (tested by the board) and what the questions say (tested by the board, or here from
// the standard errors that the board gives: the same unpaired z test, Benjamini-Hochberg over the tasks).
const GROUPS = JSON.parse(document.getElementById("data").textContent);
const UNPAIRED = "unpaired two-sample z test over items", ALPHA = 0.05, Z = 1.959963984540054;

// Complementary error function: a series below 2, a continued fraction above; 1e-13 relative.
function erfc(x) {
  if (x < 2) {
    let term = x, sum = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum) && n < 200; n += 1) { term *= (-x * x) / n; sum += term / (2 * n + 1); }
    return 1 - (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = 0;
  for (let n = 120; n > 0; n -= 1) fraction = (n / 2) / (x + fraction);
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * (x + fraction));
}

const twoSided = (effect, error) => (error > 0 ? erfc(Math.abs(effect) / error / Math.SQRT2) : effect === 0 ? 1 : 0);

function benjaminiHochberg(p) {
  const order = p.map((_, i) => i).sort((i, j) => p[j] - p[i]), adjusted = [];
  let least = 1;
  order.forEach((i, place) => { least = Math.min(least, (p[i] * p.length) / (p.length - place)); adjusted[i] = least; });
  return adjusted;
}

function zTest(score, effect, error) {
  return { score, effect, low: effect - Z * error, high: effect + Z * error, p: twoSided(effect, error), test: UNPAIRED };
}

// Differences a minus b over the questions: aggregates and tasks, as the board has them or computed here.
function questions(group, a, b) {
  const recorded = group.item_pairs.find((pair) => (pair.first === a.name && pair.second === b.name) || (pair.first === b.name && pair.second === a.name));
  if (recorded) {
    const sign = recorded.first === a.name ? 1 : -1;
    return recorded.scores.map((score, i) => ({
      score, effect: sign * recorded.effect[i], low: sign > 0 ? recorded.low[i] : -recorded.high[i], high: sign > 0 ? recorded.high[i] : -recorded.low[i],
      p: recorded.p_value[i], adjusted: recorded.p_adjusted[i], marked: recorded.marked[i], test: recorded.tests[recorded.test[i]],
    }));
  }
  const tasks = group.tasks.map((task, t) => [task.label, cellOf(group, a, t), cellOf(group, b, t)])
    .filter(([, x, y]) => x && y && x.standard_error !== null && y.standard_error !== null)
    .map(([label, x, y]) => zTest(label, x.accuracy - y.accuracy, Math.hypot(x.standard_error, y.standard_error)));
  const adjusted = benjaminiHochberg(tasks.map((found) => found.p));
  tasks.forEach((found, i) => { found.adjusted = adjusted[i]; found.marked = adjusted[i] < ALPHA; });
  const scores = group.scores.map(({ key }) => [key, a.scores[key], b.scores[key], a.errors[key], b.errors[key]])
    .filter(([, x, y, e, f]) => x && y && e && f)
    .map(([key, x, y, e, f]) => { const found = zTest(key, x.mean - y.mean, Math.hypot(e, f)); return { ...found, adjusted: found.p, marked: found.p < ALPHA }; });
  return [...tasks, ...scores];
}

const interval = (row, decimals, factor) => `[${number(row.low, decimals, factor, true)}, ${number(row.high, decimals, factor, true)}]`;
const pill = (sure, words) => el("span", { class: `pill ${sure ? "yes" : ""}` }, words);

function whisker(row, { at }) {
  return el("svg", { class: "plot", width: "100%", height: 22, "aria-hidden": "true" },
    el("line", { class: "zero", x1: at(0), x2: at(0), y1: 0, y2: 22 }),
    el("line", { class: "whisker", x1: at(row.low), x2: at(row.high), y1: 11, y2: 11 }),
    el("circle", { class: "run", cx: at(row.effect), cy: 11, r: 4 }));
}

function table(caption, heads, rows) {
  return el("div", { class: "scroll" }, el("table", { class: "pair-table" }, el("caption", { class: "sr" }, caption),
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))), el("tbody", {}, rows)));
}

function training(group, a, b) {
  const rows = group.metrics.filter((metric) => metric.arms[a.index].mean !== null && metric.arms[b.index].mean !== null).map((metric) => {
    const pair = metric.pairs.find((p) => (p.better === a.name && p.worse === b.name) || (p.better === b.name && p.worse === a.name));
    const [x, y] = [metric.arms[a.index], metric.arms[b.index]], gain = metric.lower_is_better ? y.mean - x.mean : x.mean - y.mean;
    const show = (value, signed) => number(value, metric.decimals, metric.factor, signed);
    const head = el("th", { scope: "row" }, metric.label, el("span", { class: "small" }, `${show(x.mean)} and ${show(y.mean)} ${metric.unit}`));
    if (!pair) {
      const why = x.rank !== null && y.rank !== null ? `both were tested, but only pairs with ${metric.best} are written out for so many strategies` : [[a, x], [b, y]].filter(([, arm]) => arm.rank === null).map(([row, arm]) => `${row.name}: ${arm.reason || "not compared"}`).join("; ");
      return el("tr", { class: "undecided" }, head, el("td", { class: "num" }, show(gain, true)), el("td", { colspan: 3 }, pill(false, "no test"), " ", why));
    }
    const sign = pair.better === a.name ? 1 : -1;
    const row = { effect: sign * pair.advantage, low: sign > 0 ? pair.low : -pair.high, high: sign > 0 ? pair.high : -pair.low };
    return el("tr", { class: pair.decisive ? "decided" : "undecided" }, head, el("td", { class: "num nowrap" }, show(row.effect, true), " ", el("span", { class: "small inline" }, interval(row, metric.decimals, metric.factor))),
      el("td", { class: "num" }, pair.p_value === undefined ? DASH : probability(pair.p_value)), el("td", { class: "num" }, probability(pair.p_adjusted)), el("td", {}, pill(pair.decisive, pair.decisive ? `${pair.better} is better` : "tie")));
  });
  const test = group.metrics.map((metric) => metric.pair_test).find(Boolean);
  return [el("h2", {}, "Another training seed"), el("p", { class: "lede" }, `How much better ${a.name} is than ${b.name}: positive favours the first, also where lower numbers are better.`, test && ` Test: ${test}.`),
    table("Differences over training seeds", ["Metric", "Effect and interval", "Raw p", "Adjusted p", "Verdict"], rows)];
}

function items(group, a, b) {
  const found = questions(group, a, b), labels = new Map(group.tasks.map((task, t) => [task.label, t]));
  if (!found.length) return [el("h2", {}, "Other questions"), el("p", {}, "These two have no task in common whose noise is known.")];
  const shared = axis([0, ...found.flatMap((row) => [row.low, row.high])]);
  const names = { core: "CORE", core_no_squad: "CORE-21 (no squad)", extended: "EXTENDED" };
  const line = (row) => {
    const t = labels.get(row.score), accuracy = (strategy) => number(cellOf(group, strategy, t)?.accuracy, 1, 100);
    return el("tr", { class: row.marked ? "decided" : "undecided", "data-score": row.score },
      el("th", { scope: "row" }, soft(names[row.score] || row.score.replace("category:", "")), t !== undefined && el("span", { class: "small inline" }, ` ${accuracy(a)} and ${accuracy(b)} %`)),
      el("td", { class: "num nowrap" }, number(row.effect, 1, 100, true), " ", el("span", { class: "small inline" }, interval(row, 1, 100))), el("td", { class: "pair-plot" }, whisker(row, shared)),
      el("td", { class: "num nowrap" }, probability(row.p)), el("td", { class: "num nowrap" }, probability(row.adjusted)), el("td", { class: "nowrap" }, pill(row.marked, row.marked ? (row.effect > 0 ? "first" : "second") : "no difference")),
      tests.length > 1 && el("td", { class: "small" }, row.test));
  };
  const tests = [...new Set(found.map((row) => row.test))];
  const heads = ["Score", "Effect, points", "Interval", "Raw p", "Adjusted p", "Better", ...(tests.length > 1 ? ["Test"] : [])];
  const tasks = found.filter((row) => labels.has(row.score)).sort((x, y) => y.effect - x.effect), scores = found.filter((row) => !labels.has(row.score));
  const marked = tasks.filter((row) => row.marked).length;
  return [el("h2", {}, "Other questions"), el("p", { class: "lede" }, `About ${group.scope}. Positive favours ${a.name}.`, tests.length === 1 && ` Test: ${tests[0]}.`),
    scores.length > 0 && table("Differences of scores over questions", heads, scores.map(line)),
    el("h3", {}, `${tasks.length} tasks, ${marked} marked`), el("p", { class: "lede" }, `Differences of accuracy; marked where the adjusted p is below 5 %: ${group.correction}.`),
    table("Differences per task over questions", heads, tasks.map(line))];
}

const form = document.querySelector("form"), result = document.getElementById("result");
const [chooser, first, second] = ["group", "a", "b"].map((name) => form.elements[name]);

function fill(asked) {
  const group = GROUPS[chooser.selectedIndex];
  const names = group.rows.map((row) => row.name);
  [first, second].forEach((select, i) => {
    select.replaceChildren(...group.rows.map((row) => el("option", { value: row.name }, row.name)));
    const wanted = asked?.get(select.name);
    select.selectedIndex = Math.max(0, names.includes(wanted) ? names.indexOf(wanted) : Math.min(i, names.length - 1));
  });
}

function draw() {
  const group = GROUPS[chooser.selectedIndex], [a, b] = [first, second].map((select) => group.rows[select.selectedIndex]);
  if (a === b) { result.replaceChildren(el("p", { class: "lede" }, group.rows.length < 2 ? "This comparison has one strategy only." : "Choose two different strategies.")); return; }
  const flags = [a, b].flatMap((row) => row.flags.map(([task, reason]) => el("li", {}, `${row.name}, ${task}: ${reason}`)));
  result.replaceChildren(...[el("p", { class: "versus" }, el("b", {}, soft(a.name)), el("span", {}, " and "), el("b", {}, soft(b.name))), flags.length > 0 && el("ul", { class: "notes" }, flags), ...training(group, a, b), ...items(group, a, b)].filter(Boolean));
}

function read() {
  const asked = parameters(), both = (group) => ["a", "b"].every((name) => group.rows.some((row) => row.name === asked.get(name)));
  const named = GROUPS.findIndex((group) => group.key === asked.get("group"));
  chooser.selectedIndex = named >= 0 ? named : Math.max(0, GROUPS.findIndex(both));
  fill(asked);
  draw();
}

if (GROUPS.length) {
  chooser.replaceChildren(...GROUPS.map((group) => el("option", { value: group.key }, group.title)));
  const changed = () => { history.replaceState(null, "", `#${new URLSearchParams({ group: chooser.value, a: first.value, b: second.value })}`); draw(); };
  chooser.addEventListener("change", () => { fill(null); changed(); });
  for (const select of [first, second]) select.addEventListener("change", changed);
  addEventListener("hashchange", read);
  read();
} else result.textContent = "No runs yet.";
