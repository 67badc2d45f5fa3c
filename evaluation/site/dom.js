"use strict";
// What both pages share: elements without markup (text is always text), numbers as the server writes them, axes.
const DASH = "\u2013", MINUS = "\u2212";

function el(tag, attributes = {}, ...children) {
  const made = /^(svg|g|line|circle|rect|path|text|title|a:svg)$/.test(tag)
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.replace(":svg", ""))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "onclick" || name === "onchange" || name === "oninput" || name === "onkeydown") made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

// long_names may break after an underscore
const soft = (text) => text.split("_").flatMap((part, i) => (i ? ["_", el("wbr"), part] : [part]));

function number(value, decimals, factor = 1, signed = false) {
  if (value === null || value === undefined) return DASH;
  const text = (value * factor).toFixed(decimals);
  if (Number(text) === 0) return text.replace("-", "");
  return signed && value > 0 ? "+" + text : text.replace("-", MINUS);
}

const grouped = (value) => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");

function short(value) {
  if (value === null || value === undefined) return DASH;
  if (value >= 1e15) return value.toExponential(2).replace("+", "");
  for (const [limit, suffix] of [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"]]) {
    if (value >= 0.9995 * limit) {
      const scaled = value / limit;
      return scaled.toFixed(scaled >= 99.95 ? 0 : scaled >= 9.995 ? 1 : 2) + suffix;
    }
  }
  return String(Math.round(value));
}

const probability = (p) => (p < 0.0005 ? "< 0.001" : p.toFixed(3));

// Round numbers that cover the values: low, high and at most six ticks.
function axis(values) {
  const found = values.filter((value) => value !== null && value !== undefined);
  let low = Math.min(...found), high = Math.max(...found);
  if (!found.length) [low, high] = [0, 1];
  if (high - low < 1e-9) [low, high] = [low - 0.01, high + 0.01];
  let step = 10 ** Math.floor(Math.log10((high - low) / 3));
  step *= [1, 2, 5].find((m) => (high - low) / (m * step) <= 5) || 10;
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i <= Math.floor(high / step + 1e-9); i += 1) ticks.push(i * step);
  return { low, high, ticks, step, at: (value) => `${(4 + (92 * (value - low)) / (high - low)).toFixed(2)}%` };
}

const tickDecimals = (step, factor) => Math.max(0, -Math.floor(Math.log10(step * factor) + 1e-9));

const parameters = () => new URLSearchParams(location.hash.length > 1 ? location.hash.slice(1) : location.search);

// A cell of the heat map by names; null where the strategy did not run the task.
function cellOf(group, row, t) {
  const cell = group.cells[row.index][t];
  if (!cell) return null;
  const [centered, accuracy, gold_bpb, standard_error, p_adjusted, at_chance, num_items, ...right] = cell;
  return { centered, accuracy, gold_bpb, standard_error, p_adjusted, at_chance: at_chance === 1, num_items,
    correct: row.seeds.map((seed, i) => [seed, right[i]]).filter(([, count]) => count !== null) };
}
