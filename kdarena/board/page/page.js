"use strict";

// ---- tables: sorted by the buttons in their heads, filtered by text

function values(body, column) {
  const text = body.rows[0].cells[column].dataset.value;
  if (text === undefined || text === "") return null;
  const number = Number(text);
  return Number.isNaN(number) ? text : number;
}

function compare(first, second) {
  if (typeof first === "number" && typeof second === "number") return first - second;
  return String(first).localeCompare(String(second));
}

function sort(table, column, descending) {
  const bodies = [...table.tBodies].map((body) => [values(body, column), body]);
  const known = bodies.filter(([value]) => value !== null).sort(([first], [second]) => (descending ? compare(second, first) : compare(first, second)));
  const unknown = bodies.filter(([value]) => value === null); // last, in either order
  table.append(...[...known, ...unknown].map(([, body]) => body));
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    head.setAttribute("aria-sort", place !== column ? "none" : descending ? "descending" : "ascending");
  });
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(head.querySelector(".head"));
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const largestFirst = head.classList.contains("number") && !/^(rank interval|p)$/.test(button.textContent);
      sort(table, column, before === "none" ? largestFirst : before === "ascending");
    });
  });
}

function makeFiltered(filter, table) {
  const input = filter.querySelector("input");
  const output = filter.querySelector("output");
  filter.hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const body of table.tBodies) {
      body.hidden = !words.every((word) => body.dataset.searched.includes(word));
      shown += body.hidden ? 0 : 1;
    }
    output.textContent = words.length ? `${shown} of ${table.tBodies.length} rows` : "";
  });
}

// ---- plotly.js, unpacked when the first figure comes into view

let unpacked = null;

function plotly() {
  unpacked ??= (async () => {
    if (!("DecompressionStream" in window)) throw new Error("this browser can't unpack the drawing library (it has no DecompressionStream)");
    const packed = Uint8Array.from(atob(document.getElementById("plotly").textContent), (character) => character.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    return window.Plotly;
  })();
  return unpacked;
}

// ---- figures

const printed = window.matchMedia("print");
const dark = window.matchMedia("(prefers-color-scheme: dark)");
const PRINTED_WIDTH = 660; // pixels that fit a page
const drawn = new Map(); // figure -> its values, of the figures that are drawn

function colour(name) {
  const [variable, opacity] = name.slice(1).split("/");
  const value = getComputedStyle(document.documentElement).getPropertyValue(`--${variable}`).trim();
  if (!opacity) return value;
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(value.slice(start, start + 2), 16));
  return `rgba(${red}, ${green}, ${blue}, ${opacity})`;
}

function coloured(value, key = "") {
  if (Array.isArray(value)) return value.map((part) => coloured(part, key));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, coloured(part, name)]));
  }
  return /color$/i.test(key) && typeof value === "string" && value.startsWith("@") ? colour(value) : value;
}

function layoutOf(values) {
  const own = coloured(values.layout);
  const lines = { gridcolor: colour("@line"), zerolinecolor: colour("@line"), linecolor: colour("@line"), automargin: true };
  const axes = Object.fromEntries(Object.entries(own).filter(([name]) => /^[xy]axis/.test(name)).map(([name, axis]) => [name, { ...lines, ...axis }]));
  return {
    ...own,
    ...axes,
    paper_bgcolor: "rgba(0, 0, 0, 0)",
    plot_bgcolor: "rgba(0, 0, 0, 0)",
    font: { color: colour("@ink"), size: 12, family: getComputedStyle(document.body).fontFamily },
    hoverlabel: { bgcolor: colour("@raised"), bordercolor: colour("@line"), font: { color: colour("@ink") } },
    modebar: { bgcolor: "rgba(0, 0, 0, 0)", color: colour("@muted"), activecolor: colour("@accent") },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1, yanchor: "bottom", ...own.legend },
    margin: { l: 10, r: 16, t: 16, b: 40 },
    hovermode: "closest",
  };
}

async function draw(figure) {
  if (figure.closest("[hidden]")) return;
  const place = figure.querySelector(".plot");
  try {
    const library = await plotly();
    const again = drawn.has(figure);
    const values = again ? drawn.get(figure) : JSON.parse(figure.querySelector("script").textContent);
    if (!again) place.replaceChildren();
    drawn.set(figure, values);
    const layout = layoutOf(values);
    if (printed.matches) layout.width = PRINTED_WIDTH;
    const buttons = window.matchMedia("(hover: hover)").matches ? "hover" : false; // on a touch screen they would cover the legend
    const options = { responsive: true, displayModeBar: buttons, displaylogo: false, showTips: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
    await library.react(place, coloured(values.data), layout, options);
    if (again && !printed.matches) await library.Plots.resize(place); // it keeps the width of paper else
  } catch (error) {
    const said = document.createElement("p");
    said.className = "not-drawn";
    said.textContent = `Not drawn: ${error.message}. The numbers are in the table.`;
    place.replaceChildren(said);
  }
}

function drawAgain() {
  for (const figure of drawn.keys()) draw(figure);
}

const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      draw(target);
    }
  },
  { rootMargin: "300px" },
);

// ---- one method at a time

function makeChoice(board) {
  const choice = board.querySelector(".choice");
  if (!choice) return;
  const select = choice.querySelector("select");
  const show = () => {
    for (const method of board.querySelectorAll(".method")) method.hidden = method.dataset.method !== select.value;
  };
  choice.hidden = false;
  select.addEventListener("change", show);
  show();
}

// ---- the page

for (const board of document.querySelectorAll(".board")) {
  const table = board.querySelector("table");
  if (table) {
    makeSortable(table);
    makeFiltered(board.querySelector(".filter"), table);
  }
  makeChoice(board);
  for (const figure of board.querySelectorAll("figure")) near.observe(figure);
}
dark.addEventListener("change", drawAgain);
printed.addEventListener("change", drawAgain);
