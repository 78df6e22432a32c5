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
  const chip = (id, off) => {
    if (off) return element("span", "chip off", "-100");
    const made = element("span", id === data.eos ? "chip eos" : "chip", data.texts[id] ?? String(id));
    made.title = "id " + id;
    return made;
  };
  const line = (name, ids, isTarget) => {
    const made = element("div", "row");
    const chips = element("span");
    chips.append(...ids.map((id) => chip(id, isTarget && id === -100)));
    made.append(element("span", "name", name), chips);
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
      block.append(line(`window ${window}`, ids.slice(0, -1)), line("its targets", ids.slice(1)));
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
      const block = element("div", "sample");
      block.dataset.inputs = row.inputs.join(" ");
      block.dataset.targets = row.targets.join(" ");
      const member = row.member ? row.member + ", " : "";
      block.append(element("h3", "", `${member}window ${number(row.window)} of epoch ${row.epoch}, from token ${number(row.start)}`));
      block.append(line("inputs", row.inputs), line("targets", row.targets, true));
      out.append(block);
    }
  };
  get("step").addEventListener("input", show);
})();
