// anywidget's model without a kernel: the widgets' own modules run on a page as they do in a notebook.
// What a kernel would compute, `kernel(model, names)` does, told which traits the page has changed.

export class Model {
  #state;
  #kernel;
  #changed = new Set();
  #listeners = new Map();

  constructor(state, kernel = () => {}) {
    this.#state = { ...state };
    this.#kernel = kernel;
  }

  get(name) {
    return this.#state[name];
  }

  set(name, value) {
    if (typeof name === "object") return Object.entries(name).forEach(pair => this.set(...pair));
    if (Object.is(this.#state[name], value)) return;
    this.#state[name] = value;
    this.#changed.add(name);
    this.#tell(`change:${name}`, value);
    this.#tell("change");
  }

  save_changes() {
    const names = [...this.#changed];
    this.#changed.clear();
    if (names.length) this.#kernel(this, names);
  }

  on(names, listener) {
    for (const name of names.split(" ")) {
      this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
    }
  }

  off(names, listener) {
    for (const name of names?.split(" ") ?? [...this.#listeners.keys()]) {
      const kept = (this.#listeners.get(name) ?? []).filter(each => listener && each !== listener);
      this.#listeners.set(name, kept);
    }
  }

  send() {} // there is nobody to hear a custom message

  #tell(name, ...values) {
    for (const listener of this.#listeners.get(name) ?? []) listener(...values);
  }
}

export async function mount(el, module, state, kernel) {
  const model = new Model(state, kernel);
  const widget = typeof module.default === "function" ? await module.default() : module.default;
  await widget.initialize?.({ model });
  await widget.render?.({ model, el });
  return model;
}
