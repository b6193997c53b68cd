// The two charts: tables whose middle column is a bar, so that they read as well as they look.

function row(name, bar, text, { faint = false, title = "" } = {}) {
  const element = document.createElement("tr");
  const head = document.createElement("th");
  head.scope = "row";
  head.textContent = name;
  head.title = title || name;
  const middle = document.createElement("td");
  middle.className = "bar";
  middle.append(bar);
  const value = document.createElement("td");
  value.className = "value";
  value.textContent = text;
  element.append(head, middle, value);
  element.classList.toggle("masked", faint);
  return element;
}

// A bar from zero, which is in the middle where values may be negative; `part` is in [-1, 1] or [0, 1].
function bar(part, signed) {
  const track = document.createElement("div");
  track.className = signed ? "track signed" : "track";
  track.setAttribute("aria-hidden", "true");
  const fill = document.createElement("div");
  fill.className = part < 0 ? "fill down" : "fill";
  const width = Math.min(1, Math.abs(part)) * (signed ? 50 : 100);
  fill.style.left = `${signed ? (part < 0 ? 50 - width : 50) : 0}%`;
  fill.style.width = `${width}%`;
  track.append(fill);
  return track;
}

function title(table, text) {
  const caption = document.createElement("caption");
  caption.textContent = text;
  table.replaceChildren(caption);
}

// What an agent does: continuous actions in [-1, 1], or choices among so many.
export function drawActions(table, actions, { kind, choices }, agent, mask) {
  const named = Array.isArray(actions)
    ? actions.map((value, index) => [`action ${index + 1}`, value])
    : Object.entries(actions);
  if (kind === "continuous") {
    title(table, `What ${agent} does, from −1 to 1`);
    const rows = named.map(([name, value], index) =>
      row(name, bar(value, true), value.toFixed(3), { faint: mask?.[index] === false }),
    );
    table.append(...rows);
    return;
  }
  title(table, `What ${agent} chooses, counted from 0`);
  const rows = named.map(([name, value], index) => {
    const last = choices[index] - 1;
    return row(name, bar(last > 0 ? value / last : 0, false), `${value} of 0…${last}`);
  });
  table.append(...rows);
}

// What the actions hang on: signed for one action, the sum of magnitudes for all.
export function drawEffects(table, explanation, action) {
  title(table, action === "" ? "How much each feature moves the actions" : "How much each feature adds");
  const effect = (each) => (action === "" ? each.effect : each.actions[action]);
  const most = Math.max(...explanation.map((each) => Math.abs(effect(each))), 1e-12);
  const rows = explanation.map((each) => {
    const value = effect(each);
    const text = `${action !== "" && value > 0 ? "+" : ""}${value.toPrecision(2)}`;
    return row(`${each.feature} = ${Number(each.value.toPrecision(3))}`, bar(value / most, action !== ""), text);
  });
  table.append(...rows);
}
