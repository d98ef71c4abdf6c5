// What each widget's script begins with, see views.script: its page and its sentences in the reader's language.

function inReadersLanguage(model, page) {
  const known = model.get("words") ?? {}; // by the English; without a kernel none
  const say = (text, ...values) => (known[text] ?? text).replace(/\{(\d)\}/g, (_, place) => values[place]);
  const said = page.replace(/(>|(?:aria-label|alt)=.)(\s*)([^<>"]+?)(?=\s*[<"])/g,
    (_, before, blank, text) => before + blank + say(text));
  return [said, say];
}

