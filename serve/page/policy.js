// What v1/policies/{model} says of a policy, by agent: all that the page needs to ask it something.

// For each agent: `key` (equal where the form is the same), `own`, `entities`, `columns`, `more` (names of the features
// of further tables, asked for beside its own), `features` [D], `kind` and `choices` of the actions, `mask` (names of its
// [M] places), `examples` of { label, observation [D], mask [M] }, and who is asked beside it: where agents need each
// other `beside` holds the examples of its team.
export function agentsOf(plain) {
  const agents = new Map();
  for (const [name, group] of Object.entries(plain.groups)) {
    group.agents.forEach((agent, index) => {
      const module = group.modules[index] ?? group.modules[0];
      agents.set(agent, {
        key: `${plain.name}/${name}`,
        module,
        own: group.layout.own,
        more: group.layout.more.flatMap(({ features, entities }) => [
          ...entities.flatMap((entity) => features.map((feature) => `${entity}.${feature}`)),
          ...entities.map((entity) => `${entity}.exists`),
        ]),
        entities: group.layout.entities,
        columns: group.layout.entity_features,
        features: group.features,
        kind: group.actions.kind,
        choices: group.actions.choices,
        mask: maskNames(group.actions, plain.modules[module].mask_size),
        examples: [],
        beside: plain.modules[module].whole_worlds ? teamOf(module, plain) : { observations: {}, masks: {} },
      });
    });
  }
  for (const [agent, described] of agents) described.examples = examplesFor(agent, described, agents, plain.example);
  return agents;
}

// What the agents of a module see in the example, and what they may do.
function teamOf(module, { groups, example }) {
  const modules = Object.values(groups).flatMap((group) => group.agents.map((agent, index) => [agent, group.modules[index]]));
  const team = new Set(modules.filter(([, other]) => other === module).map(([agent]) => agent));
  const those = (table = {}) => Object.fromEntries(Object.entries(table).filter(([agent]) => team.has(agent)));
  return { observations: those(example.observations), masks: those(example.action_masks) };
}

// The agent's own example first, then those of others that play with the same module, and one with nothing in it.
function examplesFor(agent, { module, features, mask }, agents, { observations, action_masks: masks = {} }) {
  const examples = Object.entries(observations)
    .filter(([other]) => agents.get(other)?.module === module)
    .map(([other, named]) => ({
      label: other === agent ? "its own" : `that of ${other}`,
      own: other === agent,
      observation: features.map((name) => named[name]),
      mask: masks[other] ?? mask.map(() => true),
    }))
    .sort((one, two) => Number(two.own) - Number(one.own));
  const nothing = { label: "all zero", observation: features.map(() => 0), mask: mask.map(() => true) };
  return [...examples, nothing];
}

function maskNames({ kind, choices, names, size }, places) {
  const name = (index) => names?.[index] ?? `action ${index + 1}`;
  const all = kind === "discrete"
    ? choices.flatMap((count, branch) => Array.from({ length: count }, (_, choice) => `${name(branch)}: ${choice}`))
    : Array.from({ length: size }, (_, index) => name(index));
  return all.slice(0, places);
}
