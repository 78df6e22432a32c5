"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const number = (n) => n.toLocaleString("en-US");
  document.documentElement.classList.add("has-js");

  // Everything is made of text nodes: nothing of the corpus is ever parsed as markup.
  const element = (tag, kind, text) => {
    const made = document.createElement(tag);
    if (kind) made.className = kind;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const chip = (ids, hue) => {
    if (ids[0] < 0) return element("span", "chip off", "-100");
    const made = element("span", ids[0] === data.eos ? "chip eos" : "chip c" + hue, data.texts[ids.join(" ")]);
    made.title = "id " + ids.join(" ");
    if (ids.length > 1) made.append(element("small", "", "×" + ids.length));
    return made;
  };
  const line = (name, ids, hues) => {
    const made = element("div", "row"), chips = element("span");
    for (let place = 0, held; place < ids.length; place += held.length) {
      held = ids.slice(place, place + 16);
      while (held.length > 1 && !(held.join(" ") in data.texts)) held.pop(); // to those that are a character together
      chips.append(chip(held, hues[place]));
    }
    made.append(element("span", "name", name), chips);
    return made;
  };
  const reading = (texts) => {
    const made = element("div", "reading");
    made.append(...texts.map((text) => element("bdi", "", text)));
    for (const one of made.children) one.dir = "auto";
    return made;
  };

  // -- windows sliding: the same arithmetic as windrow.Windows
  const slide = () => {
    const length = Number(get("length").value), stride = Number(get("stride").value), n = data.num_tokens;
    const count = Math.max(0, Math.floor((n - length - 1) / stride) + 1);
    get("length-out").textContent = length;
    get("stride-out").textContent = stride;
    get("arithmetic").textContent = `(${number(n)} - ${number(length)} - 1) // ${number(stride)} + 1 = ${number(count)} windows`;
    const each = stride >= length ? `${number(stride - length)} targets between neighbours are left out` :
      `a token is a target about ${(length / stride).toFixed(2).replace(/\.?0+$/, "")} times an epoch`;
    get("meaning").textContent = stride === length ? "every token is a target once" : each;
    const rows = get("windows");
    rows.replaceChildren();
    for (let window = 0; window < Math.min(count, 5); window++) {
      const start = window * stride, ids = data.first.slice(start, start + length + 1);
      if (ids.length < length + 1) break;
      const block = element("div", "window");
      block.dataset.start = start;
      block.dataset.ids = ids.join(" ");
      const hues = ids.map((_, place) => (start + place) % 5);
      block.append(line(`window ${window}`, ids.slice(0, -1), hues), line("its targets", ids.slice(1), hues.slice(1)));
      rows.append(block);
    }
  };
  for (const id of ["length", "stride"]) get(id)?.addEventListener("input", slide);
  if (get("length")) slide();

  // -- the step box
  const show = () => {
    const step = Number(get("step").value), rows = data.steps[step], out = get("batch");
    out.replaceChildren();
    out.dataset.step = step;
    if (!rows) {
      out.append(element("p", "soft", `This page carries the steps ${data.carried}. For any other: ${data.command} --step ${step}`));
      return;
    }
    for (const row of rows) {
      const block = element("details", "sample"), summary = element("summary");
      block.open = row === rows[0];
      block.dataset.inputs = row.inputs.join(" ");
      block.dataset.targets = row.targets.join(" ");
      const member = row.member ? row.member + ", " : "";
      summary.append(element("h3", "", `${member}window ${number(row.window)} of epoch ${row.epoch}, from token ${number(row.start)}`));
      block.append(summary, reading(row.reads), line("inputs", row.inputs, row.hues), line("targets", row.targets, row.hues.slice(1)));
      out.append(block);
    }
  };
  get("step").addEventListener("input", show);
})();
