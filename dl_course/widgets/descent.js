// The face of descent.py's DescentPlayground, for anywidget. All arithmetic is here, so that it also runs in a
// page without a kernel: render({ model, el }) asks model for get, set, on, off and save_changes alone.

const SURFACES = { // height and gradient
  "bowl": [(x, y) => (x * x + 2 * y * y) / 2, (x, y) => [x, 2 * y]],
  "ravine": [(x, y) => (x * x / 2 + 12 * y * y) / 2, (x, y) => [x / 2, 12 * y]],
  "saddle": [(x, y) => (x * x - y * y) / 2 + y ** 4 / 8, (x, y) => [x, y ** 3 / 2 - y]],
  "two valleys": [(x, y) => (x * x - 2) ** 2 / 4 + 0.3 * x + y * y / 2, (x, y) => [x * (x * x - 2) + 0.3, y]],
};
const METHODS = { sgd: "SGD", momentum: "SGD with momentum 0.9", adam: "Adam" };
const DEFAULTS = { surface: "ravine", method: "sgd", rate: 0.1, noise: 0, start: [-2.5, 1], seed: 0, steps: 0 };
const [REACH, SIDE, MOST] = [3, 300, 500]; // the map is [-REACH, REACH]², SIDE pixels wide

const PAGE = `
<style>
.descent { padding: 6px; font: 13px/1.5 system-ui, sans-serif; color: var(--jp-content-font-color1, inherit) }
.descent .row { display: flex; flex-wrap: wrap; gap: 8px 20px; align-items: flex-start; margin: 6px 0 }
.descent button, .descent select { font: inherit; padding: 3px 8px }
.descent label { display: block; margin-bottom: 8px }
.descent input { vertical-align: middle; width: 150px }
.descent .map { position: relative; width: ${SIDE}px; height: ${SIDE}px; cursor: crosshair; touch-action: manipulation }
.descent .map * { position: absolute; left: 0; top: 0; border-radius: 4px }
.descent .curve { background: #8882; border-radius: 4px; display: block }
.descent :focus-visible { outline: 3px solid #de8f05; outline-offset: 1px }
.descent .status { min-height: 3em; margin: 4px 0; max-width: 60em }
</style>
<div class="row">
  <div class="map" tabindex="0" role="application"
    aria-label="map of the surface, dark is low; arrow keys move the start, Enter takes a step">
    <canvas width="${SIDE}" height="${SIDE}"></canvas>
    <svg width="${SIDE}" height="${SIDE}" aria-hidden="true"></svg>
  </div>
  <div>
    <label>surface <select class="surface"></select></label>
    <label>method <select class="method"></select></label>
    <label>learning rate <input class="rate" type="range" min="-3" max="0.5" step="0.05"> <output class="rate-is"></output></label>
    <label>noise <input class="noise" type="range" min="0" max="4" step="0.1"> <output class="noise-is"></output></label>
    <p><button class="one">Step</button> <button class="many">50 steps</button> <button class="again">Start over</button>
      <button class="other">Other noise</button></p>
    height over steps<svg class="curve" width="250" height="90" role="img" aria-label="height over steps"></svg>
  </div>
</div>
<p class="status" role="status"></p>`;

function random(seed) { // mulberry32, and Box and Muller's normal numbers
  const uniform = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

const RULES = { // how far a coordinate moves, given its gradient, what it remembers, and the number of the step
  sgd: (g, memory, step, rate) => rate * g,
  momentum: (g, memory, step, rate) => {
    memory.mean = step === 1 ? g : 0.9 * memory.mean + g;
    return rate * memory.mean;
  },
  adam: (g, memory, step, rate) => {
    memory.mean = 0.9 * (memory.mean ?? 0) + 0.1 * g;
    memory.square = 0.999 * (memory.square ?? 0) + 0.001 * g * g;
    const [mean, square] = [memory.mean / (1 - 0.9 ** step), memory.square / (1 - 0.999 ** step)];
    return rate * mean / (Math.sqrt(square) + 1e-8);
  },
};

function walked({ surface, method, rate, noise, start, seed, steps }) {
  const [height, slope] = SURFACES[surface], normal = random(seed), memories = [{}, {}];
  const path = [{ at: [...start], height: height(...start), gradient: null }];
  for (let step = 1; step <= steps && Number.isFinite(path[step - 1].height); step++) {
    const gradient = slope(...path[step - 1].at).map(each => each + noise * normal());
    const at = path[step - 1].at.map((x, i) => x - RULES[method](gradient[i], memories[i], step, rate));
    path.push({ at, height: height(...at), gradient });
  }
  return path;
}

function paint(canvas, surface) {
  const pen = canvas.getContext("2d"), pixels = pen.createImageData(SIDE, SIDE), height = SURFACES[surface][0];
  const heights = Array.from({ length: SIDE * SIDE }, (_, k) => height(
    ((k % SIDE) / SIDE * 2 - 1) * REACH, (1 - Math.floor(k / SIDE) / SIDE * 2) * REACH));
  const low = heights.reduce((a, b) => Math.min(a, b)), high = heights.reduce((a, b) => Math.max(a, b));
  heights.forEach((each, k) => { // twelve bands, closer together where it is low
    const share = Math.floor(12 * Math.sqrt((each - low) / (high - low))) / 12;
    pixels.data.set([35 + 210 * share, 65 + 180 * share, 110 + 130 * share, 255], 4 * k);
  });
  pen.putImageData(pixels, 0, 0);
}

function shape(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function render({ model, el }) {
  el.classList.add("descent");
  el.dataset.lmSuppressShortcuts = ""; // or JupyterLab takes the arrow keys
  const [page, say] = inReadersLanguage(model, PAGE);
  el.innerHTML = page;
  const find = name => el.querySelector(`.${name}`), map = find("map"), svg = map.querySelector("svg");
  const get = name => model.get(name) ?? DEFAULTS[name];
  const state = () => Object.fromEntries(Object.keys(DEFAULTS).map(name => [name, get(name)]));
  const pixel = ([x, y]) => [(x / REACH + 1) * SIDE / 2, (1 - y / REACH) * SIDE / 2];
  let painted = null, timer = null;

  for (const name of Object.keys(SURFACES)) find("surface").add(new Option(say(name), name));
  for (const [name, label] of Object.entries(METHODS)) find("method").add(new Option(say(label), name));

  function put(changes) {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    model.save_changes();
    draw();
  }

  function draw() {
    const now = state(), path = walked(now), last = path[path.length - 1];
    if (painted !== now.surface) paint(map.querySelector("canvas"), painted = now.surface);
    const clipped = path.map(each => pixel(each.at).map(p => Math.min(Math.max(p, -9e3), 9e3) || 0));
    const dots = clipped.map(([cx, cy], i) => shape("circle", { cx, cy, fill: "#de8f05", stroke: "#000",
      r: i === clipped.length - 1 ? 5 : 2, "stroke-width": i === clipped.length - 1 ? 1.5 : 0.4 }));
    svg.replaceChildren(shape("polyline", { points: clipped.join(" "), fill: "none", stroke: "#de8f05",
      "stroke-width": 1.5 }), ...dots);
    map.dataset.path = JSON.stringify(path); // to read along
    curve(path.map(each => each.height));
    Object.assign(find("surface"), { value: now.surface });
    Object.assign(find("method"), { value: now.method });
    Object.assign(find("rate"), { value: Math.log10(now.rate) });
    Object.assign(find("noise"), { value: now.noise });
    find("rate-is").textContent = Number(now.rate.toPrecision(2));
    find("noise-is").textContent = now.noise.toFixed(1);
    const [x, y] = last.at.map(each => each.toFixed(3).replace("-", "−"));
    find("status").textContent = Number.isFinite(last.height) && Math.abs(last.height) < 1e6
      ? say("After {0} steps: x = {1}, y = {2}, height {3}.", path.length - 1, x, y,
        last.height.toFixed(4).replace("-", "−"))
      : say("After {0} steps it has left the map for good: the rate is too high. Start over with a lower one.",
        path.length - 1);
  }

  function curve(heights) {
    const seen = heights.filter(Number.isFinite), low = Math.min(...seen), high = Math.min(Math.max(...seen), low + 1e6);
    const points = seen.map((each, i) => [5 + 240 * i / Math.max(1, seen.length - 1),
      85 - 80 * (Math.min(each, high) - low) / (high - low || 1)]);
    find("curve").replaceChildren(shape("polyline", { points: points.join(" "), fill: "none", stroke: "#0173b2",
      "stroke-width": 1.5 }));
  }

  function stop() {
    clearInterval(timer);
    timer = null;
  }

  const walk = count => put({ steps: Math.min(get("steps") + count, MOST) });
  const restart = changes => { stop(); put({ ...changes, steps: 0 }); };

  function many() {
    stop();
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return walk(50);
    const end = Math.min(get("steps") + 50, MOST);
    timer = setInterval(() => (get("steps") < end ? walk(1) : stop()), 30);
  }

  find("one").onclick = () => { stop(); walk(1); };
  find("many").onclick = many;
  find("again").onclick = () => restart({});
  find("other").onclick = () => restart({ seed: get("seed") + 1 });
  find("surface").onchange = () => restart({ surface: find("surface").value });
  find("method").onchange = () => restart({ method: find("method").value });
  find("rate").oninput = () => restart({ rate: 10 ** Number(find("rate").value) });
  find("noise").oninput = () => restart({ noise: Number(find("noise").value) });
  map.onclick = event => {
    const box = map.getBoundingClientRect();
    const [right, down] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    restart({ start: [(2 * right - 1) * REACH, (1 - 2 * down) * REACH] });
  };
  map.onkeydown = event => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.key === "Enter" || event.key === " ") walk(1);
    else if (moves[event.key]) restart({ start: get("start").map((x, i) => x + moves[event.key][i] / 10) });
    else return;
    event.preventDefault();
  };

  const events = Object.keys(DEFAULTS).map(name => `change:${name}`);
  events.forEach(event => model.on(event, draw));
  draw();
  return () => { stop(); events.forEach(event => model.off(event, draw)); };
}

export default { render };
