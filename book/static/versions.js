// The version switch: which versions there are stands beside them, and is read when somebody asks.
const box = document.querySelector(".versions");

function entry(name, address) {
  const [item, link] = [document.createElement("li"), document.createElement("a")];
  Object.assign(link, { textContent: name, href: address });
  item.append(link);
  return item;
}

box?.addEventListener("toggle", async () => {
  const above = new URL(`${box.dataset.root || "./"}../`, location.href), list = box.querySelector("ul");
  try {
    const names = await (await fetch(new URL("versions.json", above))).json();
    list.replaceChildren(...names.map(name => entry(name, new URL(`${name}/`, above).href)));
  } catch {
    list.textContent = "This copy stands alone: there are no other versions beside it.";
  }
}, { once: true });
