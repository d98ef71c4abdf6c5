// Puts life into a page's figures: each <div class="live" data-live="name"> gets its module when it is needed.
import { mount } from "./model.js";

const here = new URL(".", import.meta.url);

async function stored(name) {
  const response = await fetch(new URL(`live/${name}.json`, here));
  if (!response.ok) throw new Error(`${name}.json: ${response.status}`);
  return response.json();
}

async function pad(el) {
  const [state, widget, { reader }] = await Promise.all(
    [stored("pad"), import("./widgets/drawing.js"), import("./pad.js")]);
  const kernel = await reader(new URL("ort/", here).href);
  el.replaceChildren();
  el.model = await mount(el, widget, state, kernel);
}

async function widget(el, name) {
  const [state, module] = await Promise.all([stored(name), import(`./widgets/${name}.js`)]);
  el.replaceChildren();
  el.model = await mount(el, module, state);
}

async function explorer(el) {
  const [state, module] = await Promise.all([stored("explorer"), import("./explorer.js")]);
  module.render(el, state, new URL("live/", here).href);
}

const KINDS = { pad, explorer };

async function start(el) {
  const name = el.dataset.live;
  try {
    await (KINDS[name] ?? widget)(el, name);
    el.dataset.state = "ready";
  } catch (error) {
    el.dataset.state = "failed";
    el.textContent = `This figure could not be loaded (${error.message}). Reload the page to try again.`;
  }
}

for (const el of document.querySelectorAll(".live")) {
  const button = el.querySelector("button");
  if (!button) start(el);
  else {
    button.disabled = false;
    button.onclick = () => {
      button.disabled = true;
      button.textContent = "Loading …";
      start(el);
    };
  }
}
