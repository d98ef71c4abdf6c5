// The face of convolution.py's ConvolutionStepper, for anywidget. All arithmetic is here, so that it also runs
// in a page without a kernel: render({ model, el }) asks model for get, set, on, off and save_changes alone.

const KERNELS = {
  "vertical edges": [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]],
  "horizontal edges": [[-1, -1, -1], [0, 0, 0], [1, 1, 1]],
  "blur": Array(3).fill(Array(3).fill(1 / 9)),
  "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
  "wide blur": Array(5).fill(Array(5).fill(1 / 25)),
  "one pixel": [[1]],
};
const BAR = [0, 1, 2, 3, 4, 5].map(row => [0, 1, 2, 3, 4, 5].map(col =>
  Number(row > 0 && row < 5 && (col === 2 || col === 3))));
const DEFAULTS = { picture: BAR, kernel: KERNELS["vertical edges"], stride: 1, padding: 0, place: 0 };

const PAGE = `
<style>
.conv-stepper { padding: 6px; font: 13px/1.5 system-ui, sans-serif; color: var(--jp-content-font-color1, inherit) }
.conv-stepper .row { display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: flex-start; margin: 6px 0 }
.conv-stepper button, .conv-stepper select { font: inherit; padding: 3px 8px }
.conv-stepper table { border-collapse: collapse; margin: 2px 0; font-variant-numeric: tabular-nums }
.conv-stepper td { min-width: 30px; height: 30px; padding: 0 2px; text-align: center; border: 1px solid #8886;
  box-sizing: border-box; font-size: 12px }
.conv-stepper td.rim { color: #888; border-style: dashed }
.conv-stepper td.under { box-shadow: inset 0 0 0 2.5px #de8f05 }
.conv-stepper td.now { box-shadow: inset 0 0 0 3px #de8f05; font-weight: bold }
.conv-stepper td input { width: 44px; font: inherit; text-align: center; border: 0; background: none; color: inherit }
.conv-stepper :focus-visible { outline: 3px solid #de8f05; outline-offset: 1px }
.conv-stepper .status { min-height: 3em; margin: 4px 0; max-width: 60em }
</style>
<div class="row">
  <label>kernel <select class="preset"></select></label>
  <label>stride <select class="stride"></select></label>
  <label>padding <select class="padding"></select></label>
  <span><button class="back">Back</button> <button class="next">Step</button> <button class="all">To the end</button>
    <button class="first">Start over</button></span>
</div>
<div class="row">
  <div>picture<table class="picture" aria-label="picture, with the window marked"></table></div>
  <div>kernel<table class="kernel" aria-label="kernel; its numbers can be changed"></table></div>
  <div>pixel × weight<table class="products" aria-label="products under the window"></table></div>
  <div>output<table class="output" tabindex="0" aria-label="output; arrow keys move the window"></table></div>
</div>
<p class="status" role="status"></p>`;

const words = value => String(Math.round(value * 1000) / 1000).replace("-", "−");
const grid = (rows, columns, at) => Array.from({ length: Math.max(0, rows) }, (_, i) =>
  Array.from({ length: Math.max(0, columns) }, (_, j) => at(i, j)));

function convolved({ picture, kernel, stride, padding }) {
  const side = kernel.length;
  const padded = grid(picture.length + 2 * padding, picture[0].length + 2 * padding, (i, j) =>
    picture[i - padding]?.[j - padding] ?? 0);
  const places = size => (size >= side ? Math.floor((size - side) / stride) + 1 : 0);
  const products = (i, j) => grid(side, side, (r, c) => padded[i * stride + r][j * stride + c] * kernel[r][c]);
  const sum = table => table.flat().reduce((total, each) => total + each, 0);
  const output = grid(places(padded.length), places(padded[0].length), (i, j) => sum(products(i, j)));
  return { padded, products, output };
}

function fill(table, numbers, look = () => "") {
  const scale = Math.max(1, ...numbers.flat().filter(value => value !== null).map(Math.abs));
  table.replaceChildren(...numbers.map((row, i) => {
    const line = document.createElement("tr");
    line.append(...row.map((value, j) => {
      const cell = document.createElement("td");
      cell.className = look(i, j);
      if (value === null) return cell;
      const colour = value < 0 ? "222, 143, 5" : "1, 115, 178"; // told apart by the sign, too
      cell.style.background = `rgba(${colour}, ${0.45 * Math.abs(value) / scale})`;
      cell.dataset.value = value;
      cell.textContent = words(value);
      return cell;
    }));
    return line;
  }));
}

function render({ model, el }) {
  el.classList.add("conv-stepper");
  el.dataset.lmSuppressShortcuts = ""; // or JupyterLab takes the arrow keys
  const [page, say] = inReadersLanguage(model, PAGE);
  el.innerHTML = page;
  const find = name => el.querySelector(`.${name}`);
  const get = name => model.get(name) ?? DEFAULTS[name];
  const state = () => Object.fromEntries(Object.keys(DEFAULTS).map(name => [name, get(name)]));

  for (const name of [...Object.keys(KERNELS), "your own"]) find("preset").add(new Option(say(name), name));
  for (const stride of [1, 2, 3]) find("stride").add(new Option(stride));
  for (const padding of [0, 1, 2]) find("padding").add(new Option(padding));

  function put(changes) {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
    draw();
  }

  function editable(kernel) {
    find("kernel").querySelectorAll("td").forEach((cell, index) => {
      const [i, j] = [Math.floor(index / kernel.length), index % kernel.length];
      const input = document.createElement("input");
      input.value = words(kernel[i][j]);
      input.ariaLabel = say("weight in row {0}, column {1}", i + 1, j + 1);
      input.onchange = () => {
        const value = Number(input.value.trim().replace("−", "-"));
        const changed = kernel.map(row => [...row]);
        changed[i][j] = Number.isFinite(value) ? value : 0;
        put({ kernel: changed });
      };
      cell.replaceChildren(input);
    });
  }

  function draw() {
    const { picture, kernel, stride, padding, place } = state();
    const { padded, products, output } = convolved({ picture, kernel, stride, padding });
    const width = output[0]?.length ?? 0;
    const now = Math.min(Math.max(0, place), output.length * width - 1);
    const [row, column] = [Math.floor(now / width), now % width];
    const [top, left] = [row * stride, column * stride];
    const inside = (i, j) => i >= top && i < top + kernel.length && j >= left && j < left + kernel.length;
    const rim = (i, j) => picture[i - padding]?.[j - padding] === undefined;
    fill(find("picture"), padded, (i, j) => `${rim(i, j) ? "rim" : ""} ${inside(i, j) ? "under" : ""}`);
    const typing = find("kernel").contains(document.activeElement);
    const focus = [...find("kernel").querySelectorAll("input")].indexOf(document.activeElement);
    fill(find("kernel"), kernel);
    editable(kernel);
    if (typing) find("kernel").querySelectorAll("input")[focus]?.focus();
    fill(find("products"), now < 0 ? [] : products(row, column));
    fill(find("output"), output.map((line, i) => line.map((value, j) => (i * width + j <= now ? value : null))),
      (i, j) => (i * width + j === now ? "now" : ""));
    const same = Object.keys(KERNELS).find(name => JSON.stringify(KERNELS[name]) === JSON.stringify(kernel));
    find("preset").value = same ?? "your own";
    find("stride").value = stride;
    find("padding").value = padding;
    const size = `${picture[0].length} + 2·${padding} − ${kernel.length}`;
    find("status").textContent = now < 0
      ? say("The kernel is larger than the padded picture: there is no place for it.")
      : say("Place {0} of {1}, row {2}, column {3}: ", now + 1, output.length * width, row + 1, column + 1) +
        say("the {0} products add up to {1}. ", kernel.length ** 2, words(output[row][column])) +
        say("Columns of the output: ({0}) // {1} + 1 = {2}.", size, stride, width);
    return { now, width, last: output.length * width - 1 };
  }

  function go(move) {
    const { now, width, last } = draw();
    put({ place: Math.min(Math.max(0, move({ now, width, last })), Math.max(0, last)) });
  }

  const MOVES = {
    ArrowLeft: ({ now }) => now - 1, ArrowRight: ({ now }) => now + 1,
    ArrowUp: ({ now, width }) => (now >= width ? now - width : now),
    ArrowDown: ({ now, width, last }) => (now + width <= last ? now + width : now),
    Home: () => 0, End: ({ last }) => last,
  };
  find("output").onkeydown = event => {
    if (!MOVES[event.key]) return;
    event.preventDefault();
    go(MOVES[event.key]);
  };
  find("back").onclick = () => go(MOVES.ArrowLeft);
  find("next").onclick = () => go(MOVES.ArrowRight);
  find("first").onclick = () => go(MOVES.Home);
  find("all").onclick = () => go(MOVES.End);
  find("preset").onchange = () => put({ kernel: KERNELS[find("preset").value] ?? get("kernel"), place: 0 });
  find("stride").onchange = () => put({ stride: Number(find("stride").value), place: 0 });
  find("padding").onchange = () => put({ padding: Number(find("padding").value), place: 0 });

  const events = Object.keys(DEFAULTS).map(name => `change:${name}`);
  events.forEach(event => model.on(event, draw));
  draw();
  return () => events.forEach(event => model.off(event, draw));
}

export default { render };
