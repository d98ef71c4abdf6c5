// The drawing pad's kernel on a page: MNIST's preparation and an ONNX file, as in dl_course/widgets/drawing.py.

const [SIDE, BOX] = [28, 20]; // of a picture, of a digit in it

function roundHalfEven(value) { // as Python does
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
}

function kernel(from, to) { // torch's antialiased bilinear weights: for each new pixel a start, and its shares
  const scale = from / to, support = Math.max(1, scale), rows = [];
  for (let i = 0; i < to; i++) {
    const centre = scale * (i + 0.5);
    const start = Math.max(Math.trunc(centre - support + 0.5), 0);
    const end = Math.min(Math.trunc(centre + support + 0.5), from);
    const shares = Array.from({ length: end - start }, (_, j) =>
      Math.max(0, 1 - Math.abs(j + start - centre + 0.5) / support));
    const sum = shares.reduce((a, b) => a + b, 0);
    rows.push([start, shares.map(share => share / sum)]);
  }
  return rows;
}

function resized(values, height, width, newHeight, newWidth) {
  const across = kernel(width, newWidth), down = kernel(height, newHeight);
  const narrow = new Float32Array(height * newWidth), made = new Float32Array(newHeight * newWidth);
  for (let y = 0; y < height; y++) across.forEach(([start, shares], x) => {
    narrow[y * newWidth + x] = shares.reduce((sum, share, j) => sum + share * values[y * width + start + j], 0);
  });
  down.forEach(([start, shares], y) => {
    for (let x = 0; x < newWidth; x++) {
      const value = shares.reduce((sum, share, j) => sum + share * narrow[(start + j) * newWidth + x], 0);
      made[y * newWidth + x] = Math.min(Math.max(value, 0), 1);
    }
  });
  return made;
}

function start(ink) { // so that the centre of mass is nearest to the middle, never off the edge
  const sum = ink.reduce((a, b) => a + b, 0);
  const centre = ink.reduce((total, value, index) => total + value * index, 0) / sum;
  return Math.min(Math.max(roundHalfEven(SIDE / 2 - centre), 0), SIDE - ink.length);
}

export function asMnist(ink, height, width) { // ink: brightness in [0, 1], row by row
  const picture = new Float32Array(SIDE * SIDE), box = [height, 0, width, 0]; // top, bottom, left, right
  ink.forEach((value, index) => {
    if (!value) return;
    const [y, x] = [Math.floor(index / width), index % width];
    box[0] = Math.min(box[0], y);
    box[1] = Math.max(box[1], y + 1);
    box[2] = Math.min(box[2], x);
    box[3] = Math.max(box[3], x + 1);
  });
  const [h, w] = [box[1] - box[0], box[3] - box[2]];
  if (h <= 0) return picture;
  const cut = new Float32Array(h * w);
  for (let y = 0; y < h; y++) cut.set(ink.subarray((box[0] + y) * width + box[2], (box[0] + y) * width + box[3]), y * w);
  const [rows, columns] = [h, w].map(length => Math.max(1, roundHalfEven((BOX * length) / Math.max(h, w))));
  const digit = resized(cut, h, w, rows, columns);
  const sums = [new Float32Array(rows), new Float32Array(columns)];
  digit.forEach((value, index) => {
    sums[0][Math.floor(index / columns)] += value;
    sums[1][index % columns] += value;
  });
  const [top, left] = sums.map(start);
  for (let y = 0; y < rows; y++) picture.set(digit.subarray(y * columns, (y + 1) * columns), (top + y) * SIDE + left);
  return picture;
}

async function brightness(url) { // of a PNG's pixels: the mean of red, green and blue
  const picture = await createImageBitmap(await (await fetch(url)).blob());
  const context = new OffscreenCanvas(picture.width, picture.height).getContext("2d");
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, picture.width, picture.height);
  const ink = new Float32Array(picture.width * picture.height);
  for (let i = 0; i < ink.length; i++) ink[i] = (data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) / 765;
  return [ink, picture.height, picture.width];
}

function dataUrl(picture) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext("2d"), image = context.createImageData(SIDE, SIDE);
  picture.forEach((value, index) => image.data.set([255 * value, 255 * value, 255 * value, 255], 4 * index));
  context.putImageData(image, 0, 0);
  return canvas.toDataURL();
}

function softmax(logits) {
  const shares = Array.from(logits, value => Math.exp(value - Math.max(...logits)));
  const sum = shares.reduce((a, b) => a + b, 0);
  return shares.map(share => share / sum);
}

function inWords(shares, names) {
  const order = [...shares.keys()].sort((a, b) => shares[b] - shares[a]);
  return order.slice(0, 2).map(index => `${names[index]} (${Math.round(100 * shares[index])}%)`).join(", ");
}

export async function reader(base) { // what answers a stroke; base: the folder of the files, as a URL
  const ort = await import(new URL("ort.wasm.bundle.min.mjs", base));
  Object.assign(ort.env.wasm, { numThreads: 1, wasmPaths: base });
  const session = await ort.InferenceSession.create(new URL("digits.onnx", base).href);
  let turn = Promise.resolve();
  return (model, names) => {
    if (!names.includes("stroke")) return turn;
    const [ink, stroke] = [model.get("ink"), model.get("stroke")];
    return (turn = turn.then(async () => {
      let answer = { status: "" };
      if (ink) {
        const picture = asMnist(...(await brightness(ink)));
        const pictures = new ort.Tensor("float32", picture, [1, 1, SIDE, SIDE]);
        const probabilities = softmax((await session.run({ pictures })).logits.data);
        answer = { status: inWords(probabilities, model.get("classes")), probabilities, seen: dataUrl(picture) };
      }
      model.set("answer", { ...answer, stroke });
    }));
  };
}
