// The layer explorer on a page: pick a picture and a layer, see what was stored when the book was built.

function choices(legend, name, options, label) {
  const set = document.createElement("fieldset");
  set.className = name;
  set.innerHTML = `<legend>${legend}</legend>`;
  options.forEach((option, index) => {
    const [line, input] = [document.createElement("label"), document.createElement("input")];
    Object.assign(input, { type: "radio", name, value: index, checked: index === 0 });
    line.append(input, ...label(option));
    set.append(line);
  });
  return set;
}

function thumbnail(base, picture) {
  const image = new Image(56, 56);
  Object.assign(image, { src: base + picture.file, alt: picture.class });
  return [image];
}

function figure(caption, side) {
  const [all, image, text] = ["figure", "img", "figcaption"].map(tag => document.createElement(tag));
  text.textContent = caption;
  Object.assign(image, { width: side, height: side });
  all.append(image, text);
  return [all, image, text];
}

export function render(el, state, base) {
  const pictures = choices("Picture", "explorer-picture", state.pictures, each => thumbnail(base, each));
  const layers = choices("Layer", "explorer-layer", state.layers, each => [each.name]);
  const views = document.createElement("div");
  views.className = "explorer-views";
  const status = document.createElement("p");
  status.setAttribute("role", "status");
  const [seen, seenImage, seenText] = figure("the picture", 192);
  const [heat, heatImage, heatText] = figure("where the layer's evidence lies (Grad-CAM)", 192);
  const [maps, mapsImage, mapsText] = figure("feature maps", 384);
  maps.className = "explorer-maps";
  views.append(seen, heat, maps);
  el.replaceChildren(pictures, layers, status, views);

  function chosen(name) {
    return Number(el.querySelector(`.${name} input:checked`).value);
  }

  function show() {
    const picture = state.pictures[chosen("explorer-picture")], number = chosen("explorer-layer");
    const layer = state.layers[number], found = picture.layers[number];
    Object.assign(seenImage, { src: base + picture.file, alt: `the picture: ${picture.class}` });
    Object.assign(heatImage, { src: base + found.heat, alt: `Grad-CAM at ${layer.name} over the picture` });
    Object.assign(mapsImage, { src: base + found.maps, alt: `${layer.channels} feature maps of ${layer.name}` });
    seenText.textContent = `${picture.class}; read as ${picture.said}`;
    heatText.textContent = `where ${layer.name} finds evidence for “${picture.predicted}” (Grad-CAM)`;
    mapsText.textContent = `${layer.name} (${layer.kind}): ${layer.channels} maps of ${layer.size}`;
    status.textContent = `${layer.name}: mean ${found.mean}, largest ${found.max}, ${found.zero} of all values are zero.`;
  }

  el.onchange = show;
  show();
}
