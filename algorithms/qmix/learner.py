"""QMIX's update: one value for the team, made of what each unit thinks its choice is worth."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from algorithms.exploration import falling
from algorithms.networks.distributions import Branches, distribution_class
from algorithms.networks.policy_module import PolicyModule
from algorithms.off_policy.columns import ACTIONS, ACTS, COUNTS, DISCOUNTS, NEXT, REWARDS
from algorithms.off_policy.learner import OffPolicyLearner, Rows, error_of, mean_over, weighted
from algorithms.qmix.mixer import MonotonicMixer
from algorithms.qmix.network import UtilityModule


class QMIXLearner(OffPolicyLearner):
    """Utilities and their mixer, by temporal differences (Rashid et al. 2018, equation 6).

    A *unit* is a branch of an agent: with one branch each this is the textbook. Units of agents that do not act have a
    utility of 0, and no say. What follows is chosen by the networks that learn and valued by their targets (van
    Hasselt et al. 2016), within what is allowed there.
    """

    def make_parts(self) -> None:
        """The mixer, where there is one."""
        if self.config.mixing == "qmix":
            mapping = self.config.policy_mapping()
            units = sum(mapping.size(module) * mapping.module_spaces(module).num_actions for module in mapping.modules)
            self.parts["mixer"] = MonotonicMixer(
                units, self.config.state_size, self.config.mixing_width, self.config.hypernet_width
            )

    def make_followed(self) -> dict[str, nn.Module]:
        """All networks."""
        mixer: dict[str, nn.Module] = {"mixer": self.parts["mixer"]} if "mixer" in self.parts else {}
        return {module: self.policy(module) for module in self.module_ids} | mixer

    def make_optimised(self) -> dict[str, list[nn.Parameter]]:
        """All networks together: there is one loss."""
        return {"critic": [each for module in self.make_followed().values() for each in module.parameters()]}

    def schedule(self, steps: float) -> None:
        """Lowers the share of random choices."""
        share = falling(self.config.epsilon, self.config.epsilon_steps, steps)
        for module in self.module_ids:
            policy = self.policy(module)
            assert isinstance(policy, UtilityModule)
            policy.epsilon.fill_(share)

    def learn(self, rows: Mapping[str, Rows], update: int) -> dict[str, Tensor]:
        """One update of all networks."""
        chosen = {module: self._chosen(module, each) for module, each in rows.items()}
        with torch.no_grad():
            best = {module: self._best(module, each) for module, each in rows.items()}
        if self.config.mixing == "none":
            value, target, counts = self._alone(rows, chosen, best)
        else:
            value, target, counts = self._together(rows, chosen, best)
        error = value - target
        if COUNTS in rows[self.module_ids[0]]:  # of sequences, those transitions that are there
            there = rows[self.module_ids[0]][COUNTS]
            counts = counts & there.reshape(-1, *[1] * (counts.dim() - 1))
        bound = self.config.error_clip
        cost = error.square() if bound is None else 2 * huber_loss(value, target, reduction="none", delta=bound)
        loss = mean_over(weighted(cost, next(iter(rows.values()))), counts)
        self.wrong = error_of(error.reshape(len(error), -1), counts.reshape(len(error), -1))
        norm = self.step("critic", loss)
        return {
            "loss": loss.detach(),
            "value": mean_over(value.detach(), counts),
            "error": mean_over(error.detach().abs(), counts),
            "gradient_norm": norm,
        }

    def _together(
        self, rows: Mapping[str, Rows], chosen: Mapping[str, Tensor], best: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The team's values `[N]`, what they should be, and which count: all."""
        each = [rows[module] for module in self.module_ids]
        units = torch.cat([chosen[module].flatten(1) for module in self.module_ids], dim=1)
        following = torch.cat([best[module].flatten(1) for module in self.module_ids], dim=1)
        earned = torch.cat([part[REWARDS] for part in each], dim=1).sum(dim=1)
        # The team's life goes on as long as one of its agents' does.
        discount = torch.cat([part[DISCOUNTS] for part in each], dim=1).amax(dim=1)
        if self.config.mixing == "qmix":
            value = self.parts["mixer"](units, self.states(rows))
            with torch.no_grad():
                after = self.target("mixer")(following, self.states(rows, following=True))
        else:
            value, after = units.sum(dim=1), following.sum(dim=1)
        agents = sum(part[REWARDS].shape[1] for part in each)
        target = self.targets(earned, discount, after, agents)
        return value, target, torch.ones_like(value, dtype=torch.bool)

    def _alone(
        self, rows: Mapping[str, Rows], chosen: Mapping[str, Tensor], best: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Each agent's values, what they should be, and who acted, `[N, all agents]`."""
        value = torch.cat([chosen[module].sum(dim=2) for module in self.module_ids], dim=1)
        earned, discount = (
            torch.cat([rows[module][name] for module in self.module_ids], dim=1) for name in (REWARDS, DISCOUNTS)
        )
        target = self.targets(earned, discount, torch.cat([best[m].sum(dim=2) for m in self.module_ids], dim=1))
        return value, target, torch.cat([rows[module][ACTS] for module in self.module_ids], dim=1)

    def _chosen(self, module_id: str, rows: Rows) -> Tensor:
        """Utilities of what was done, `[N, A, K]`; 0 of those who did not act."""
        table = self._table(module_id, self.policy(module_id), rows, following=False)
        values = table.gather(-1, rows[ACTIONS].long().unsqueeze(-1)).squeeze(-1)
        return values * rows[ACTS].unsqueeze(-1)

    def _best(self, module_id: str, rows: Rows) -> Tensor:
        """Utilities of what is best where transitions end, `[N, A, K]`; 0 of those who do not act there."""
        valued = self._table(module_id, self.target(module_id), rows, following=True)
        choosing = valued
        if self.config.double:
            choosing = self._table(module_id, self.policy(module_id), rows, following=True)
        values = valued.gather(-1, choosing.argmax(dim=-1, keepdim=True)).squeeze(-1)
        there = rows[NEXT + ACTS] & (rows[DISCOUNTS] > 0)
        return values * there.unsqueeze(-1)

    def _table(self, module_id: str, network: PolicyModule, rows: Rows, *, following: bool) -> Tensor:
        """Utilities of all choices, `[N, A, K, largest branch]`, of those that are not allowed very low ones."""
        outputs, _ = self.outputs(network, rows, following=following)
        distribution = distribution_class(network.action_space)(outputs)
        assert isinstance(distribution, Branches)
        return distribution.table.unflatten(0, rows[REWARDS].shape)
