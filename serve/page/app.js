// The page at /: choose a policy, change what an agent sees, see what it does and why. No libraries, nothing external.
// It knows the service only by three routes: v1/policies, v1/policies/{model} and v1/policies/{model}/act.

import { drawActions, drawEffects } from "./charts.js";
import { agentsOf } from "./policy.js";

const byId = (id) => document.getElementById(id);
const KEY = "entrepot-key";
const THEME = "entrepot-theme";
const LIVE_DELAY_MS = 200;

const state = {
  models: [], // as v1/policies lists them
  agents: new Map(), // what the chosen version's agents see and do
  agent: null, // the chosen one of them
  observation: [], // [D] numbers, NaN where a field is not a number
  mask: [], // [M] booleans
  answer: null,
  asked: { policy: 0, act: 0 }, // questions of each kind so far; see newest
};

// -- talking to the service ------------------------------------------------------------------------------------------

class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, body) {
  const headers = { accept: "application/json" };
  const key = sessionStorage.getItem(KEY);
  if (key) headers.authorization = `Bearer ${key}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body });
  } catch {
    throw new Refusal(0, "The service cannot be reached.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  if (response.status === 401 || response.status === 403) byId("key-row").hidden = false;
  if (response.status === 429) {
    const seconds = response.headers.get("retry-after") ?? "1";
    throw new Refusal(429, `${answer.error ?? "The service is busy."} Try again in ${seconds} s.`);
  }
  throw new Refusal(response.status, answer.error ?? `The service answered ${response.status}.`);
}

// The answer; null if another question of its kind has been asked meanwhile, whose answer is the one to show.
async function newest(kind, path, body) {
  const mine = ++state.asked[kind];
  try {
    const answer = await ask(path, body);
    return mine === state.asked[kind] ? answer : null;
  } catch (error) {
    if (mine === state.asked[kind]) throw error;
    return null;
  }
}

async function guarded(work) {
  try {
    await work();
    showError("");
  } catch (error) {
    if (!(error instanceof Refusal)) console.error(error);
    showError(error.message);
  }
}

function showError(message) {
  byId("error").hidden = message === "";
  byId("error").textContent = message;
}

// -- choosing --------------------------------------------------------------------------------------------------------

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
  select.disabled = options.length === 0;
}

async function loadModels() {
  const before = byId("model").value;
  state.models = (await ask("v1/policies")).policies;
  fill(byId("model"), state.models.map(({ name }) => [name, name]), before);
  byId("act").disabled = true;
  if (state.models.length === 0) throw new Refusal(0, "No model is served yet.");
  await chooseModel();
}

async function chooseModel() {
  const model = state.models.find(({ name }) => name === byId("model").value);
  const versions = model.versions.map((version) => {
    const marks = Object.keys(model.aliases).filter((alias) => model.aliases[alias] === version);
    if (version === model.version) marks.push("served now");
    return [version, `Version ${version}${marks.length ? ` (${marks.join(", ")})` : ""}`];
  });
  fill(byId("version"), [["", "Served"], ...versions], "");
  await chooseVersion();
}

async function chooseVersion() {
  const version = byId("version").value;
  const query = version === "" ? "" : `?version=${encodeURIComponent(version)}`;
  const agent = byId("agent").value;
  byId("act").disabled = true;
  const described = await newest("policy", `v1/policies/${encodeURIComponent(byId("model").value)}${query}`);
  if (described === null) return;
  state.agents = agentsOf(described);
  state.agent = null;
  fill(byId("agent"), [...state.agents.keys()].map((name) => [name, name]), agent);
  chooseAgent();
  byId("act").disabled = false;
}

function chooseAgent() {
  const before = state.agent;
  state.agent = state.agents.get(byId("agent").value);
  fill(byId("example"), state.agent.examples.map(({ label }, index) => [String(index), label]), "0");
  if (before?.key !== state.agent.key) buildForm();
  buildMask();
  loadExample();
}

function loadExample() {
  state.observation = [...example().observation];
  state.mask = [...example().mask];
  showObservation();
  changed();
}

const example = () => state.agent.examples[Number(byId("example").value)];

// -- the observation -------------------------------------------------------------------------------------------------

function number(index, name) {
  const input = document.createElement("input");
  Object.assign(input, { type: "number", step: "any", required: true, id: `feature-${index}`, name });
  input.dataset.index = String(index);
  return input;
}

function cell(tag, ...content) {
  const element = document.createElement(tag);
  element.append(...content);
  return element;
}

function header(text, scope) {
  const element = cell("th", text);
  element.scope = scope;
  return element;
}

function buildForm() {
  const { own, entities, columns, more, features } = state.agent;
  const single = [...own, ...more];
  byId("own").replaceChildren(
    ...single.map((name) => cell("label", readable(name), number(features.indexOf(name), name))),
  );
  byId("own-set").hidden = single.length === 0;
  byId("entities-set").hidden = entities.length === 0;

  const head = cell("tr", header("", "col"), header("there", "col"), ...columns.map((name) => header(readable(name), "col")));
  const rows = entities.map((entity, row) => {
    const there = document.createElement("input");
    const index = own.length + entities.length * columns.length + row;
    Object.assign(there, { type: "checkbox", id: `feature-${index}`, name: features[index] });
    there.dataset.index = String(index);
    there.setAttribute("aria-label", `${entity} is there`);
    const cells = columns.map((column, place) => {
      const input = number(own.length + row * columns.length + place, `${entity}.${column}`);
      input.setAttribute("aria-label", `${entity} ${readable(column)}`);
      return cell("td", input);
    });
    return cell("tr", header(entity, "row"), cell("td", there), ...cells);
  });
  byId("entities").replaceChildren(cell("thead", head), cell("tbody", ...rows));
}

function buildMask() {
  byId("mask").replaceChildren(
    ...state.agent.mask.map((name, index) => {
      const box = document.createElement("input");
      Object.assign(box, { type: "checkbox", id: `mask-${index}`, checked: true });
      box.dataset.mask = String(index);
      const label = cell("label", box, ` ${name}`);
      label.className = "check";
      return label;
    }),
  );
}

function showObservation() {
  state.observation.forEach((value, index) => {
    const input = byId(`feature-${index}`);
    if (input.type === "checkbox") input.checked = value > 0.5;
    else input.value = String(rounded(value));
    mark(input);
  });
  state.mask.forEach((allowed, index) => (byId(`mask-${index}`).checked = allowed));
}

function edited({ target }) {
  if (target.dataset.mask !== undefined) state.mask[Number(target.dataset.mask)] = target.checked;
  else if (target.dataset.index !== undefined) {
    const value = target.type === "checkbox" ? Number(target.checked) : target.valueAsNumber;
    state.observation[Number(target.dataset.index)] = value;
    mark(target);
  } else return;
  changed();
}

function mark(input) {
  const index = Number(input.dataset.index);
  const value = state.observation[index];
  input.setAttribute("aria-invalid", String(Number.isNaN(value)));
  input.classList.toggle("changed", value !== example().observation[index]);
  if (input.type === "checkbox") input.closest("tr").classList.toggle("absent", !input.checked);
}

let waiting = 0;

function changed() {
  if (!byId("live").checked) return;
  clearTimeout(waiting);
  waiting = setTimeout(() => guarded(act), LIVE_DELAY_MS);
}

// -- acting ----------------------------------------------------------------------------------------------------------

function request() {
  const wrong = state.observation.findIndex(Number.isNaN);
  if (wrong >= 0) {
    byId(`feature-${wrong}`).focus();
    throw new Refusal(0, `${state.agent.features[wrong]}: this is not a number.`);
  }
  const agent = byId("agent").value;
  const named = Object.fromEntries(state.agent.features.map((name, index) => [name, state.observation[index]]));
  const { beside } = state.agent;
  const body = { observations: { ...beside.observations, [agent]: named } };
  const masks = { ...beside.masks, [agent]: state.mask };
  if (Object.values(masks).flat().includes(false)) body.action_masks = masks;
  if (byId("version").value !== "") body.version = byId("version").value;
  if (!byId("deterministic").checked) {
    body.deterministic = false;
    body.seed = Math.max(0, Math.trunc(byId("seed").valueAsNumber || 0));
  }
  const explain = Number(byId("explain").value);
  if (explain > 0) body.explain = explain;
  return body;
}

async function act() {
  const body = request();
  const path = `v1/policies/${encodeURIComponent(byId("model").value)}/act`;
  const agent = byId("agent").value;
  const described = state.agent;
  const began = performance.now();
  const answer = await newest("act", path, JSON.stringify(body));
  if (answer === null) return;
  show(answer, agent, described, body, performance.now() - began);
  showCurl(path, body);
}

function show(answer, agent, described, body, milliseconds) {
  state.answer = answer;
  const facts = [
    ["Version", answer.version],
    ["Log-probability", answer.log_probs[agent].toFixed(3)],
    ...(answer.values?.[agent] === undefined ? [] : [["Value", answer.values[agent].toFixed(3)]]),
    ["Took", `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`],
    ["Request", answer.request_id],
  ];
  byId("facts").replaceChildren(...facts.map(([name, value]) => cell("div", cell("dt", name), cell("dd", value))));
  drawActions(byId("actions"), answer.actions[agent], described, agent, body.action_masks?.[agent]);
  showWhy(answer.explanations?.[agent]);
  byId("json").textContent = JSON.stringify(answer, null, 1);
  byId("hint").hidden = true;
  byId("result").hidden = false;
}

function showWhy(explanation) {
  byId("explanation").hidden = explanation === undefined;
  if (explanation === undefined) return;
  const names = explanation.length ? Object.keys(explanation[0].actions) : [];
  const label = (name) => (Array.isArray(explanation[0].actions) ? `action ${Number(name) + 1}` : name);
  fill(byId("effect-on"), [["", "all actions"], ...names.map((name) => [name, label(name)])], byId("effect-on").value);
  drawEffects(byId("effects"), explanation, byId("effect-on").value);
}

function showCurl(path, body) {
  const quoted = JSON.stringify(body).replaceAll("'", "'\\''");
  const key = sessionStorage.getItem(KEY) ? ` \\\n  -H "Authorization: Bearer $ENTREPOT_KEY"` : "";
  const url = new URL(path, document.baseURI).href.replaceAll("'", "%27");
  byId("curl").textContent = `curl '${url}' \\\n  -H 'Content-Type: application/json'${key} \\\n  -d '${quoted}'`;
}

// -- small things ----------------------------------------------------------------------------------------------------

const readable = (name) => name.replaceAll("_", " ");
const rounded = (value) => Number(value.toPrecision(6));

async function showHealth() {
  const ready = await fetch("v2/health/ready").then(({ ok }) => ok, () => null);
  byId("health").className = `health ${ready ? "good" : "bad"}`;
  byId("health").textContent = ready ? "Ready" : ready === null ? "Cannot be reached" : "Not ready yet";
}

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").setAttribute("aria-pressed", String(dark));
}

function begin() {
  const wish = localStorage.getItem(THEME);
  if (wish !== null) setTheme(wish === "dark");
  else byId("theme").setAttribute("aria-pressed", String(matchMedia("(prefers-color-scheme: dark)").matches));
  byId("theme").addEventListener("click", () => {
    const dark = byId("theme").getAttribute("aria-pressed") !== "true";
    localStorage.setItem(THEME, dark ? "dark" : "light");
    setTheme(dark);
  });

  byId("model").addEventListener("change", () => guarded(chooseModel));
  byId("version").addEventListener("change", () => guarded(chooseVersion));
  byId("agent").addEventListener("change", chooseAgent);
  byId("example").addEventListener("change", loadExample);
  byId("reset").addEventListener("click", loadExample);
  byId("deterministic").addEventListener("change", () => (byId("seed").disabled = byId("deterministic").checked));
  byId("form").addEventListener("input", edited);
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    guarded(act);
  });
  byId("live").addEventListener("change", changed);
  byId("effect-on").addEventListener("change", () => showWhy(state.answer.explanations[byId("agent").value]));
  byId("copy").addEventListener("click", () => navigator.clipboard?.writeText(byId("curl").textContent));

  const useKey = () => {
    sessionStorage.setItem(KEY, byId("key").value.trim());
    guarded(loadModels);
  };
  byId("use-key").addEventListener("click", useKey);
  byId("key").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    useKey();
  });
  byId("key-row").hidden = sessionStorage.getItem(KEY) === null;

  showHealth();
  setInterval(showHealth, 15000);
  guarded(loadModels);
}

begin();
