// The face of drawing.py's DrawingPad, for anywidget: takes strokes, shows answers, computes nothing.

const PAGE = `
<style>
.drawing-pad { display: flex; flex-wrap: wrap; gap: 16px 24px; align-items: start; padding: 6px;
  font: 13px/1.4 system-ui, sans-serif; color: var(--jp-content-font-color1, inherit) }
.drawing-pad canvas { display: block; border-radius: 4px; cursor: crosshair; touch-action: none }
.drawing-pad :focus-visible { outline: 3px solid #de8f05; outline-offset: 1px }
.drawing-pad button, .drawing-pad select { font: inherit; padding: 3px 8px; margin: 8px 4px 0 0 }
.drawing-pad img { display: block; margin: 2px 0 8px; image-rendering: pixelated; background: #8884 }
.drawing-pad .status { max-width: 280px; min-height: 3em; margin-top: 6px }
.drawing-pad .bars { display: grid; grid-template-columns: auto 110px 3em; gap: 6px 8px }
.drawing-pad .bars div { background: #8884 }
.drawing-pad .bars i { display: block; width: 0; height: 100%; background: #0173b2 }
</style>
<div>
  <canvas width="280" height="280" tabindex="0" role="img" aria-label="drawing pad: draw a digit"></canvas>
  <button class="clear">Clear</button><button class="save">Save as PNG</button>
  <p class="status" role="status"></p>
</div>
<div class="bars"></div>
<div>
  what it sees<img class="seen" width="140" height="140" alt="the drawing, scaled and centred">
  <div class="deep">where it looks<img class="heat" width="140" height="140" alt="Grad-CAM over it"></div>
</div>
<div class="deep">
  <label>feature maps of <select class="layer"></select></label>
  <img class="maps" width="280" alt="what the layer's channels put out">
</div>`;

const NOTHING = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

function render({ model, el }) {
  el.classList.add("drawing-pad");
  const [page, say] = inReadersLanguage(model, PAGE);
  el.innerHTML = page;
  const [canvas, status, layer] = ["canvas", ".status", ".layer"].map(name => el.querySelector(name));
  const pen = canvas.getContext("2d", { alpha: false }); // black, as MNIST is
  Object.assign(pen, { lineWidth: 24, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
  let last = null, blank = true, waiting = false, stale = false, patience;

  layer.dataset.lmSuppressShortcuts = ""; // or JupyterLab takes its arrow keys
  for (const name of model.get("layers")) layer.add(new Option(name));
  if (!layer.length) el.querySelectorAll(".deep").forEach(each => each.remove());
  const bars = model.get("classes").map(name => {
    const [label, bar, share] = ["b", "div", "span"].map(tag => document.createElement(tag));
    label.textContent = name;
    bar.append(document.createElement("i"));
    el.querySelector(".bars").append(label, bar, share);
    return [bar.firstChild, share];
  });

  function show(answer) {
    status.textContent = answer.status || say("Draw a digit with mouse or finger.");
    el.querySelectorAll("img").forEach(image => { image.src = answer[image.className] ?? NOTHING; });
    bars.forEach(([bar, share], index) => {
      share.textContent = answer.probabilities ? `${Math.round(100 * answer.probabilities[index])}%` : "";
      bar.style.width = share.textContent;
    });
  }

  function ask() {
    stale = waiting; // of what is drawn while the kernel reads, the last alone is sent
    if (stale) return;
    waiting = true;
    patience = setTimeout(() => { status.textContent = say("waiting for the kernel …"); }, 1500);
    model.set("ink", blank ? "" : canvas.toDataURL());
    model.set("layer", layer.value);
    model.set("stroke", model.get("stroke") + 1);
    model.save_changes();
  }

  function answered() {
    clearTimeout(patience);
    waiting = false;
    show(blank ? {} : model.get("answer"));
    if (stale) ask();
  }

  function line(event) {
    const box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
    const point = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    pen.beginPath();
    pen.moveTo(...(last ?? point));
    pen.lineTo(point[0] + 0.01, point[1]); // a dot has a length, too
    pen.stroke();
    [last, blank] = [point, false];
  }

  canvas.onpointerdown = event => {
    if (!event.isPrimary || event.button) return;
    canvas.setPointerCapture(event.pointerId);
    line(event);
    ask();
  };
  canvas.onpointermove = event => {
    if (!last || !event.isPrimary) return;
    const between = event.getCoalescedEvents?.() ?? [];
    (between.length ? between : [event]).forEach(line);
    ask();
  };
  canvas.onpointerup = canvas.onpointercancel = event => { if (event.isPrimary) last = null; };
  layer.onchange = ask;
  el.querySelector(".clear").onclick = () => {
    pen.clearRect(0, 0, canvas.width, canvas.height);
    blank = true;
    show({});
    ask();
  };
  el.querySelector(".save").onclick = () => {
    const link = document.createElement("a");
    [link.href, link.download] = [canvas.toDataURL(), "drawing.png"];
    el.append(link); // where VS Code sees the click
    link.click();
    link.remove();
  };

  const [follow, drawn] = [() => { layer.value = model.get("layer"); }, new Image()];
  drawn.onload = () => { // shown once more: as it was left
    pen.drawImage(drawn, 0, 0);
    blank = false;
    show(model.get("answer"));
  };
  follow();
  show({});
  if (model.get("ink")) drawn.src = model.get("ink");
  model.on("change:layer", follow);
  model.on("change:answer", answered);
  return () => { model.off("change:layer", follow); model.off("change:answer", answered); };
}

export default { render };
