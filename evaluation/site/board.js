// The board: one group at a time, its table, heat map and plot, all from the JSON in this page. Rows beyond a page are not built.
const GROUPS = JSON.parse(document.getElementById("data").textContent);
const PAGE_ROWS = 60, TRANSPOSED = 8;

class Board {
  constructor(section, group) {
    this.section = section;
    this.group = group;
    this.metric = group.primary;
    this.sort = { key: "rank", descending: false };
    this.page = 0;
    this.compared = [];
    this.axes = group.metrics.map((metric) =>
      axis(metric.arms.flatMap((arm) => [arm.low, arm.high, ...arm.values.flatMap((run) => [run.value, run.low, run.high])])));
    section.querySelector(".tools").append(this.tools());
    this.part = (name) => section.querySelector(name);
    this.draw();
  }

  tools() {
    const { group } = this;
    const again = (change) => (event) => { change(event.target); this.page = 0; this.draw(); };
    const choice = (label, name, options, change) =>
      el("label", { class: "tool" }, label, el("select", { "data-tool": name, onchange: again(change) }, options));
    const option = (value, text, selected) => el("option", { value, selected }, text);
    const made = [
      el("label", { class: "tool grow" }, "Filter",
        el("input", { type: "search", "data-tool": "filter", placeholder: "strategy, recipe, flag", oninput: again((input) => { this.text = input.value.toLowerCase(); }) })),
    ];
    if (group.metrics.length > 1) {
      made.push(choice("Rank by", "metric", group.metrics.map((m, i) => option(i, m.label + (i === group.primary ? "" : " (exploratory)"), i === group.primary)),
        (select) => { this.metric = Number(select.value); this.sort = { key: "rank", descending: false }; this.exploratory(); }));
    }
    made.push(choice("Sort by", "sort", [
      ...this.columns().filter((c) => c.key).map((c) => option(c.key, c.title)), option("flops", "Compute"),
      el("optgroup", { label: "Tasks" }, group.tasks.map((task, i) => option(`task:${i}`, task.label))),
    ], (select) => this.order(select.value)));
    const recipes = [...new Set(group.rows.map((row) => row.recipe).filter(Boolean))].sort();
    if (recipes.length > 1) {
      made.push(choice("Recipe", "recipe", [option("", "all"), ...recipes.map((recipe) => option(recipe, recipe))], (select) => { this.recipe = select.value; }));
    }
    if (group.rows.some((row) => row.flags.length)) {
      made.push(el("label", { class: "tool check" }, el("input", { type: "checkbox", "data-tool": "unflagged", onchange: again((box) => { this.unflagged = box.checked; }) }), "without flagged"));
    }
    return el("div", { class: "toolbar", role: "group", "aria-label": `Controls of ${group.title}` }, made);
  }

  exploratory() {
    for (const part of this.section.querySelectorAll("[data-metric]")) part.hidden = part.dataset.metric !== this.group.metrics[this.metric].name;
  }

  // Best first: a click on the sorted column turns it round.
  order(key) {
    const best = key.startsWith("task:") || !["rank", "name"].includes(key) && !this.lower(key);
    this.sort = { key, descending: this.sort.key === key ? !this.sort.descending : best };
  }

  lower(key) {
    return key.startsWith("text:") || (key === "mean" && this.group.metrics[this.metric].lower_is_better);
  }

  value(row, key) {
    const arm = this.group.metrics[this.metric].arms[row.index];
    if (key === "rank") return arm.order;
    if (key === "mean") return arm.mean;
    if (key === "name") return row.name;
    if (key.startsWith("task:")) return this.group.cells[row.index][Number(key.slice(5))]?.[0] ?? null;
    return row.values[key] ?? null;
  }

  rows() {
    const sign = this.sort.descending ? -1 : 1;
    const kept = this.group.rows.filter((row) =>
      (!this.text || row.search.includes(this.text)) && (!this.recipe || row.recipe === this.recipe) && !(this.unflagged && row.flags.length));
    const keyed = kept.map((row) => [row, this.value(row, this.sort.key)]);
    keyed.sort(([a, x], [b, y]) => {
      if (x === null || y === null) return (x === null) - (y === null) || a.index - b.index;
      return sign * (typeof x === "string" ? x.localeCompare(y) : x - y) || a.index - b.index;
    });
    return keyed.map(([row]) => row);
  }

  columns() {
    const { group } = this, metric = group.metrics[this.metric];
    const score = (key) => (row) => this.aggregate(row, key);
    return [
      { title: "Rank", key: "rank", class: "c-rank", cell: (row) => this.rank(row) },
      { title: "Strategy", key: "name", class: "c-name", cell: (row) => this.name(row) },
      { title: metric.unit[0].toUpperCase() + metric.unit.slice(1), note: metric.lower_is_better ? "\u2190 lower is better" : "higher is better \u2192", class: "c-plot", cell: (row) => this.plot(row) },
      { title: "Mean", key: "mean", note: "intervals", class: "c-mean", cell: (row) => this.mean(row) },
      ...group.texts.map((text) => ({ title: text, key: `text:${text}`, note: "bits per byte", class: "right text num", cell: (row) => number(row.values[`text:${text}`], 3) })),
      ...group.scores.map((s) => ({ title: s.title, key: s.key, note: "of 100", class: "right", cell: score(s.key) })),
      { title: "Tokens", key: "tokens", note: "and compute", class: "right", cell: (row) => this.tokens(row) },
    ];
  }

  rank(row) {
    const arm = this.arm(row);
    const verdict = { winner: "best", tied: "tie", behind: "", untested: "no test" }[arm.status];
    return el("span", { class: `rank ${arm.status}` }, el("b", {}, arm.mark), el("span", { class: "verdict" }, verdict));
  }

  arm(row) {
    return this.group.metrics[this.metric].arms[row.index];
  }

  name(row) {
    const picked = this.compared.includes(row.index);
    const facts = [...row.facts, ...(row.origin && row.description ? [["model", row.description]] : [])].map(([term, text]) => el("div", {}, el("dt", {}, term), el("dd", {}, soft(text))));
    return [
      el("span", { class: "name" }, row.href ? el("a", { href: row.href }, soft(row.name)) : soft(row.name)),
      el("span", { class: "badges" },
        row.origin && el("span", { class: "pill explore" }, row.origin),
        row.limited && el("span", { class: "pill explore" }, "limited: no CORE"),
        row.contamination && el("span", { class: row.contaminated ? "pill explore" : "pill" }, row.contamination),
        row.flags.length > 0 && el("span", { class: "pill flag" }, `${row.flags.length} flagged: ${[...new Set(row.flags.map(([task]) => task))].join(", ")}`)),
      row.description && !row.origin && el("span", { class: "description" }, row.description),
      el("span", { class: "row-tools" }, (facts.length > 0 || row.flags.length > 0) && el("details", { class: "more" }, el("summary", {}, "details"),
        el("dl", {}, facts, row.flags.map(([task, reason]) => el("div", { class: "warn" }, el("dt", {}, task), el("dd", {}, reason))))),
            el("label", { class: "pick" }, el("input", { type: "checkbox", checked: picked, "data-row": row.index, onchange: (event) => this.pick(row.index, event.target) }),
        "compare", el("span", { class: "sr" }, ` ${row.name}`))),
    ];
  }

  pick(index, box) {
    this.compared = this.compared.filter((other) => other !== index);
    if (box.checked) this.compared.push(index);
    if (this.compared.length > 2) {
      const gone = this.compared.shift();
      const other = this.section.querySelector(`.pick input[data-row="${gone}"]`);
      if (other) other.checked = false;
    }
    this.bar();
  }

  bar() {
    const bar = this.part(".compare-bar"), names = this.compared.map((index) => this.group.rows[index].name);
    bar.hidden = !names.length;
    if (names.length < 2) bar.replaceChildren(names.length ? "Choose a second strategy to compare." : "");
    else {
      const query = new URLSearchParams({ group: this.group.key, a: names[0], b: names[1] });
      bar.replaceChildren(el("a", { href: `pair.html#${query}` }, "Compare ", el("b", {}, names[0]), " with ", el("b", {}, names[1])));
    }
  }

  plot(row) {
    const metric = this.group.metrics[this.metric], { at, ticks, step } = this.axes[this.metric], arm = this.arm(row), height = 44;
    const decimals = tickDecimals(step, metric.factor), seeds = this.group.seeds;
    const lane = (seed) => (height * (seeds.indexOf(seed) + 1)) / (seeds.length + 1);
    const runs = arm.values.filter((run) => run.value !== null);
    const told = [`${row.name}, ${metric.label}: mean ${number(arm.mean, metric.decimals, metric.factor)}`, arm.low === null ? arm.training || "no training interval" : `training interval ${this.range(arm)}`,
      ...runs.map((run) => `seed ${run.seed} ${number(run.value, metric.decimals, metric.factor)}${run.low === null ? "" : `, item interval ${this.range(run)}`}`)];
    return el("svg", { class: `plot ${arm.status}`, width: "100%", height: height + 16, role: "img", "aria-label": told.join("; ") },
      ticks.map((tick) => [el("line", { class: "grid", x1: at(tick), x2: at(tick), y1: 0, y2: height }), el("text", { class: "tick", x: at(tick), y: height + 13 }, number(tick, decimals, metric.factor))]),
      arm.low !== null && el("line", { class: "band", x1: at(arm.low), x2: at(arm.high), y1: height / 2, y2: height / 2 }),
      arm.mean !== null && el("line", { class: "mean", x1: at(arm.mean), x2: at(arm.mean), y1: 6, y2: height - 6 }),
      runs.filter((run) => run.low !== null).map((run) => {
        const y = lane(run.seed);
        return [el("line", { class: "item", x1: at(run.low), x2: at(run.high), y1: y, y2: y }), [run.low, run.high].map((end) => el("line", { class: "item", x1: at(end), x2: at(end), y1: y - 4, y2: y + 4 }))];
      }),
      runs.map((run) => el("circle", { class: "run", cx: at(run.value), cy: lane(run.seed), r: 4 }, el("title", {}, `seed ${run.seed}: ${number(run.value, metric.decimals + 1, metric.factor)}`))));
  }

  range({ low, high }) {
    const metric = this.group.metrics[this.metric];
    return `[${number(low, metric.decimals, metric.factor)}, ${number(high, metric.decimals, metric.factor)}]`;
  }

  mean(row) {
    const metric = this.group.metrics[this.metric], arm = this.arm(row);
    const items = arm.values.filter((run) => run.low !== null);
    return [
      el("b", { class: "num" }, number(arm.mean, metric.decimals, metric.factor)),
      el("span", { class: "small" }, arm.low === null ? arm.reason || "training variance unknown" : ["training ", el("span", { class: "range" }, this.range(arm))]),
      items.length === 1 && el("span", { class: "small" }, "item ", el("span", { class: "range" }, this.range(items[0]))),
    ];
  }

  aggregate(row, key) {
    const score = row.scores[key];
    if (!score) return el("span", { class: "none" }, DASH);
    return [
      el("b", { class: "num" }, number(score.mean, 1, 100)),
      score.at_chance && el("span", { class: "small" }, el("span", { class: "pill" }, "at chance")),
      score.num_tasks && el("span", { class: "small" }, `${score.above} of ${score.num_tasks} above`),
      key === "extended" && row.missing.length > 0 && el("span", { class: "small warn", title: row.missing.join(", ") }, `${row.missing.length} missing`),
    ];
  }

  tokens(row) {
    const seeds = row.seeds.length;
    return [
      el("span", { class: "num" }, short(row.values.tokens)),
      row.epochs !== null && el("span", { class: "small" }, `${number(row.epochs, row.epochs < 10 ? 2 : 1)} ${row.epochs === 1 ? "epoch" : "epochs"}`),
      row.values.flops !== null && el("span", { class: "small" }, `${row.values.flops.toExponential(2).replace("+", "")} FLOPs`),
      el("span", { class: "small" }, seeds === 1 ? "1 seed" : `${seeds} seeds`),
    ];
  }

  draw() {
    const all = this.rows(), pages = Math.max(1, Math.ceil(all.length / PAGE_ROWS));
    this.page = Math.min(this.page, pages - 1);
    const rows = all.slice(this.page * PAGE_ROWS, (this.page + 1) * PAGE_ROWS);
    const focused = document.activeElement?.dataset?.focus, columns = this.columns();
    const direction = this.sort.descending ? "descending" : "ascending";
    const head = columns.map((c) => {
      const sorted = c.key && this.sort.key === c.key;
      const name = c.key ? el("button", { class: "sort", type: "button", "data-focus": `${this.group.key} ${c.key}`, onclick: () => { this.order(c.key); this.page = 0; this.draw(); } }, c.title) : c.title;
      return el("th", { role: "columnheader", scope: "col", class: c.class, "aria-sort": c.key ? (sorted ? direction : "none") : null }, name, c.note && el("i", {}, c.note), c.class === "c-plot" && this.scaleLine());
    });
    const body = rows.map((row) => el("tr", { role: "row", class: `strategy ${this.arm(row).status}`, "data-strategy": row.index },
      columns.map((c) => el(c.class === "c-name" ? "th" : "td", { role: c.class === "c-name" ? "rowheader" : "cell", scope: c.class === "c-name" ? "row" : null, class: c.class, "data-label": c.title }, c.cell(row)))));
    const { group } = this, what = this.sort.key.startsWith("task:") ? group.tasks[Number(this.sort.key.slice(5))].label : [...columns, { key: "flops", title: "Compute" }].find((c) => c.key === this.sort.key).title;
    const table = el("table", { class: "board", role: "table" },
      el("caption", { class: "sr" }, `${group.title}: strategies sorted by ${what}, ${direction}`),
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, head)), el("tbody", { role: "rowgroup" }, body));
    const frame = this.part(".table");
    frame.classList.remove("wide");
    frame.replaceChildren(table);
    frame.classList.toggle("wide", frame.scrollWidth > frame.clientWidth);
    this.pager(all.length, rows.length, pages);
    this.section.querySelector("[data-tool=sort]").value = this.sort.key;
    this.heat(rows);
    this.bar();
    if (focused) [...this.section.querySelectorAll("[data-focus]")].find((button) => button.dataset.focus === focused)?.focus();
  }

  scaleLine() {
    const { at, ticks, step } = this.axes[this.metric], { factor } = this.group.metrics[this.metric];
    return el("svg", { class: "plot scale", width: "100%", height: 16, "aria-hidden": "true" }, ticks.map((tick) => el("text", { class: "tick", x: at(tick), y: 12 }, number(tick, tickDecimals(step, factor), factor))));
  }

  pager(total, shown, pages) {
    const first = this.page * PAGE_ROWS;
    const told = total ? `${first + 1} to ${first + shown} of ${total}` : "none";
    const move = (by, label, off) => el("button", { type: "button", disabled: off, "data-focus": `${this.group.key} ${label}`, onclick: () => { this.page += by; this.draw(); } }, label);
    const status = this.part(".pager [role=status]"); // the same element every time: a new one would not be read out
    status.textContent = `Strategies shown: ${told}${total === this.group.rows.length ? "" : ` (of ${this.group.rows.length} before the filter)`}.`;
    this.part(".pager .moves").replaceChildren(...(pages > 1 ? [move(-1, "Previous", this.page === 0), move(1, "Next", this.page === pages - 1)] : []));
  }

  // Few strategies: tasks are rows, with numbers. Many: strategies are rows and a task is a narrow column; the readout has the numbers.
  heat(rows) {
    const frame = this.part(".heat-frame");
    if (!frame) return;
    const { group } = this, flipped = rows.length <= TRANSPOSED;
    const categories = [...new Set(group.tasks.map((task) => task.category))];
    const cell = (row, t) => this.cell(row, t, flipped ? 1 : 0);
    const sorter = (t) => el("button", { class: "sort", type: "button", "data-focus": `${group.key} heat ${t}`, title: `Sort the strategies by ${group.tasks[t].label}`, onclick: () => { this.order(`task:${t}`); this.page = 0; this.draw(); } },
      flipped ? soft(group.tasks[t].label) : group.tasks[t].label);
    const sorted = (t) => (this.sort.key === `task:${t}` ? (this.sort.descending ? "descending" : "ascending") : null);
    const core = (task) => task.in_core && el("abbr", { title: "one of the CORE tasks" }, "C");
    let table;
    if (flipped) {
      table = el("table", { class: "heat tasks-down" },
        el("caption", { class: "sr" }, "Centered accuracy times 100 per task and strategy; arrow keys move between cells"),
        el("thead", {}, el("tr", {}, el("th", { scope: "col", class: "task" }, "Task"), el("th", { scope: "col", class: "base" }, "Chance"), rows.map((row) => el("th", { scope: "col", class: "arm" }, soft(row.name))))),
        categories.map((category) => el("tbody", {},
          el("tr", { class: "category" }, el("th", { scope: "rowgroup", class: "task" }, category), el("td", { class: "base" }), rows.map((row) => el("td", {}, number(group.category_means[row.index][category], 1, 100)))),
          group.tasks.map((task, t) => task.category === category && el("tr", { "data-task": task.label },
            el("th", { scope: "row", class: "task" }, sorter(t), " ", core(task)), el("td", { class: "base" }, number(task.random_baseline, 1, 100)), rows.map((row) => cell(row, t)))))));
    } else {
      const order = categories.flatMap((category) => group.tasks.map((task, t) => (task.category === category ? t : -1)).filter((t) => t >= 0));
      table = el("table", { class: "heat tasks-across" },
        el("caption", { class: "sr" }, "Centered accuracy times 100 per strategy and task; arrow keys move between cells"),
        el("thead", {},
          el("tr", {}, el("td", { class: "task" }), categories.map((category) => el("th", { scope: "colgroup", class: "category", colspan: group.tasks.filter((task) => task.category === category).length }, category))),
          el("tr", {}, el("th", { scope: "col", class: "task" }, "Strategy"), order.map((t) => el("th", { scope: "col", class: "turned", "aria-sort": sorted(t), "data-task": group.tasks[t].label }, sorter(t), core(group.tasks[t]))))),
        el("tbody", {}, rows.map((row) => el("tr", {}, el("th", { scope: "row", class: "task", title: row.name }, row.name), order.map((t) => cell(row, t))))));
    }
    table.addEventListener("keydown", (event) => this.walk(event));
    for (const kind of ["click", "focusin", "mouseover"]) table.addEventListener(kind, (event) => this.read(event.target.closest("td[data-cell]")));
    const first = table.querySelector("td[data-cell]");
    if (first) first.tabIndex = 0;
    frame.replaceChildren(table);
  }

  cell(row, t, decimals) {
    const cell = cellOf(this.group, row, t);
    if (!cell) return el("td", { class: "void", tabindex: -1, "data-cell": `${row.index} ${t}` }, DASH);
    const strength = Math.min(1, Math.sqrt(Math.abs(cell.centered) / this.group.full_tint_at)).toFixed(2);
    return el("td", { class: (cell.at_chance ? "zero" : "up") + (row.flags.some(([task]) => task === this.group.tasks[t].label) ? " flagged" : ""), style: cell.at_chance ? null : `--v:${strength}`, tabindex: -1, "data-cell": `${row.index} ${t}` },
      number(cell.centered, decimals, 100));
  }

  walk(event) {
    const td = event.target.closest("td[data-cell]"), steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!td || !steps) return;
    event.preventDefault();
    let next = td;
    if (steps[0]) next = steps[0] > 0 ? td.nextElementSibling : td.previousElementSibling;
    else {
      const rows = [...td.closest("table").rows].filter((row) => row.querySelector("td[data-cell]"));
      next = rows[rows.indexOf(td.parentElement) + steps[1]]?.cells[td.cellIndex];
    }
    if (!next?.dataset?.cell) return;
    td.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  read(td) {
    if (!td) return;
    const [index, t] = td.dataset.cell.split(" ").map(Number), row = this.group.rows[index], task = this.group.tasks[t], cell = cellOf(this.group, row, t);
    const flag = row.flags.find(([label]) => label === task.label);
    const told = !cell ? "not run" : [
      `right of ${grouped(cell.num_items)}: ${cell.correct.map(([seed, right]) => `${grouped(Math.round(right))} (seed ${seed})`).join(", ")}`,
      `accuracy ${number(cell.accuracy, 1, 100)}%, chance ${number(task.random_baseline, 1, 100)}%, adjusted p ${probability(cell.p_adjusted)}: ${cell.at_chance ? "at chance" : "above chance"}`,
      ...(cell.gold_bpb === null ? [] : [`${number(cell.gold_bpb, 3)} bits per byte of the right answer`]),
      ...(flag ? [flag[1]] : []),
    ].join("; ");
    this.part(".readout").textContent = `${task.label}, ${row.name}: ${told}`;
  }
}

// Scores of all scales against tokens or compute. Points of different scales share a picture, never a ranking.
function scatter(section) {
  const choose = (name) => section.querySelector(`[data-tool=${name}]`);
  const figure = section.querySelector("figure"), width = 900, height = 380, left = 52, bottom = 34;
  const draw = () => {
    const [x, y, kind] = ["x", "y", "kind"].map((name) => choose(name).value);
    const factor = y.endsWith("bpb") ? 1 : 100;
    const groups = GROUPS.filter((group) => group.kind === kind);
    const points = groups.flatMap((group, g) => group.rows.filter((row) => row.values[x] && row.plotted[y] !== null && row.plotted[y] !== undefined)
      .map((row) => ({ g, row, group, x: Math.log10(row.values[x]), y: row.plotted[y], item: row.items[y] })));
    if (!points.length) { figure.replaceChildren(el("p", { class: "aside" }, "No strategy here has both numbers.")); return; }
    const xs = axis(points.map((p) => p.x)), ys = axis(points.flatMap((p) => [p.y, ...(p.item || [])]));
    const px = (value) => left + 14 + ((width - left - 40) * (value - xs.low)) / (xs.high - xs.low), py = (value) => height - bottom - 12 - ((height - bottom - 28) * (value - ys.low)) / (ys.high - ys.low);
    const decades = [];
    for (let d = Math.floor(xs.low); d <= xs.high + 1; d += 1) for (const m of [1, 2, 5]) if (d + Math.log10(m) >= xs.low - 0.02 && d + Math.log10(m) <= xs.high + 0.02) decades.push(d + Math.log10(m));
    const shapes = [(a, b) => `M${a - 5} ${b}a5 5 0 1 0 10 0a5 5 0 1 0-10 0`, (a, b) => `M${a - 4.5} ${b - 4.5}h9v9h-9z`, (a, b) => `M${a} ${b - 6}l6 10.5h-12z`, (a, b) => `M${a} ${b - 6.5}l6.5 6.5l-6.5 6.5l-6.5-6.5z`, (a, b) => `M${a} ${b + 6}l6-10.5h-12z`];
    const mark = (g, a, b) => ({ class: `point hue-${g % 6}`, d: shapes[g % shapes.length](a, b) });
    const title = `${choose("y").selectedOptions[0].text} against ${choose("x").selectedOptions[0].text}, ${points.length} strategies`;
    figure.replaceChildren(
      el("svg", { viewBox: `0 0 ${width} ${height}`, class: "plot scatter", role: "img", "aria-label": title },
        ys.ticks.map((tick) => [el("line", { class: "grid", x1: left, x2: width - 8, y1: py(tick), y2: py(tick) }), el("text", { class: "tick end", x: left - 8, y: py(tick) + 4 }, number(tick, tickDecimals(ys.step, factor), factor))]),
        decades.map((tick) => [el("line", { class: "grid", x1: px(tick), x2: px(tick), y1: 6, y2: height - bottom }), el("text", { class: "tick", x: px(tick), y: height - bottom + 18 }, x === "flops" ? (10 ** tick).toExponential(0).replace("+", "") : short(10 ** tick))]),
        points.filter((p) => p.item).map((p) => el("line", { class: "item", x1: px(p.x), x2: px(p.x), y1: py(p.item[0]), y2: py(p.item[1]) })),
        points.map((p) => el("path", mark(p.g, px(p.x), py(p.y)), el("title", {}, `${p.row.name}, ${p.group.title}: ${number(p.y, factor === 100 ? 1 : 3, factor)}`)))),
      el("figcaption", {}, groups.map((group, g) => points.some((p) => p.g === g) && el("span", {}, el("svg", { width: 14, height: 14, "aria-hidden": "true" }, el("path", mark(g, 7, 7))), " ", group.scale))));
  };
  for (const select of section.querySelectorAll("select")) select.addEventListener("change", draw);
  draw();
}

const sections = [...document.querySelectorAll("[data-group]")], boards = new Map();
let current = sections[0];
function show() {
  const asked = document.getElementById(location.hash.slice(1)), section = sections.includes(asked) ? asked : current;
  current = section;
  for (const other of sections) other.hidden = other !== section;
  for (const link of document.querySelectorAll(".groups a")) link.setAttribute("aria-current", link.hash === `#${section?.id}` ? "true" : "false");
  if (section && !boards.has(section)) boards.set(section, new Board(section, GROUPS[sections.indexOf(section)]));
}
show();
addEventListener("hashchange", show);
const plot = document.querySelector("[data-scatter]");
if (plot) scatter(plot);
