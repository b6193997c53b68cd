"""MADDPG's update: critics that see all, policies that follow them, each by its own action alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from algorithms.exploration import falling
from algorithms.maddpg.network import DeterministicModule
from algorithms.networks.distributions import Branches
from algorithms.networks.policy_module import PolicyModule
from algorithms.off_policy.columns import ACTIONS, ACTS, ALIVE, DISCOUNTS, NEXT, REWARDS
from algorithms.off_policy.critics import CentralCritic, action_width, encoded
from algorithms.off_policy.learner import OffPolicyLearner, Rows, error_of, mean_over, weighted
from algorithms.seeds import Use, generator


class MADDPGLearner(OffPolicyLearner):
    """Centralised critics, decentralised policies (Lowe et al. 2017, section 4.1).

    A critic of each policy is asked what each of its agents gets from what all agents see and do (equation 6), with
    their target policies' actions afterwards. A policy goes up the slope of its critic by the agent's own action,
    while the others' are those that were played (equation 5). Choices are relaxed by Gumbel-softmax, straight through
    (Jang et al. 2017, section 2.2).
    """

    # -- construction ----------------------------------------------------------------------------------------------

    def make_parts(self) -> None:
        """A central critic for each policy."""
        mapping, modules = self.config.policy_mapping(), self.module_ids
        seen = sum(mapping.size(module) * self.policy(module).layout.size for module in modules)
        done = [mapping.size(module) * action_width(self.policy(module)) for module in modules]
        for place, module in enumerate(modules):
            policy, sizes = self.policy(module), self.config.critic_sizes
            first = seen + sum(done[:place])
            self.parts[f"critic_{module}"] = CentralCritic(
                policy, mapping.size(module), first, seen + sum(done), sizes, policy.network.activation
            )

    def make_followed(self) -> dict[str, nn.Module]:
        """Policies and critics."""
        policies: dict[str, nn.Module] = {f"policy_{module}": self.policy(module) for module in self.module_ids}
        return policies | {f"critic_{module}": self.parts[f"critic_{module}"] for module in self.module_ids}

    def make_optimised(self) -> dict[str, list[nn.Parameter]]:
        """Critics, and policies."""
        return {
            "critic": [p for module in self.module_ids for p in self.parts[f"critic_{module}"].parameters()],
            "policy": [p for module in self.module_ids for p in self.policy(module).parameters()],
        }

    def schedule(self, steps: float) -> None:
        """Lowers the noise."""
        deviation = falling(self.config.noise, self.config.noise_steps, steps)
        for module in self.module_ids:
            policy = self.policy(module)
            assert isinstance(policy, DeterministicModule)
            policy.noise.fill_(deviation)

    # -- the update ------------------------------------------------------------------------------------------------

    def learn(self, rows: Mapping[str, Rows], update: int) -> dict[str, Tensor]:
        """One update of critics, then policies."""
        with torch.no_grad():
            targets = self._targets(rows)
        seen = {module: self._seen(module, rows[module]) for module in self.module_ids}
        done = {module: self._done(module, rows[module]) for module in self.module_ids}
        joint = self._joint(seen, done)
        values, losses, wrong = {}, [], []
        for module in self.module_ids:
            values[module] = self.parts[f"critic_{module}"](joint, seen[module], done[module])
            errors = values[module] - targets[module]
            losses.append(mean_over(weighted(errors.square(), rows[module]), rows[module][ALIVE]))
            wrong.append(error_of(errors, rows[module][ALIVE]))
        self.wrong = torch.stack(wrong).mean(dim=0)
        critic_loss = torch.stack(losses).sum()
        norm = self.step("critic", critic_loss)

        draws = generator(Use.LEARNING, self.config.seed, update, device=self.device)
        losses = []
        for module in self.module_ids:
            actions, outputs = self._relaxed(module, rows[module], draws)
            gained = self.parts[f"critic_{module}"](joint, seen[module], done[module], actions)
            loss = mean_over(-gained, rows[module][ACTS])
            losses.append(loss + self.config.output_penalty * outputs.square().mean())
        policy_loss = torch.stack(losses).sum()
        self.step("policy", policy_loss)
        return {
            "critic_loss": critic_loss.detach(),
            "policy_loss": policy_loss.detach(),
            "value": torch.stack([mean_over(values[m].detach(), rows[m][ALIVE]) for m in self.module_ids]).mean(),
            "gradient_norm": norm,
        }

    def _targets(self, rows: Mapping[str, Rows]) -> dict[str, Tensor]:
        """What critics should say, `[N, A]`: rewards, and what targets say of what target policies do next."""
        seen = {module: self._seen(module, rows[module], following=True) for module in self.module_ids}
        done = {}
        for module in self.module_ids:
            target: PolicyModule = self.target(f"policy_{module}")
            outputs, mask = self.outputs(target, rows[module], following=True)
            if target.log_std is None:
                best = self._distribution(target, outputs).mode()
                actions = encoded(best, target)
            else:
                actions = outputs.chunk(2, dim=-1)[0].tanh() * (1.0 if mask is None else mask)
            acting = rows[module][NEXT + ACTS].unsqueeze(-1)
            done[module] = actions.unflatten(0, rows[module][REWARDS].shape) * acting
        joint = self._joint(seen, done)
        targets = {}
        for module in self.module_ids:
            after = self.target(f"critic_{module}")(joint, seen[module], done[module])
            targets[module] = self.targets(rows[module][REWARDS], rows[module][DISCOUNTS], after)
        return targets

    def _relaxed(self, module: str, rows: Rows, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """What the policy does, `[N, A, W]`, with gradients, and what it put out before, `[N * A, …]`."""
        policy, shape = self.policy(module), rows[REWARDS].shape
        outputs, mask = self.outputs(policy, rows)
        if policy.log_std is not None:
            mean = outputs.chunk(2, dim=-1)[0]
            actions = mean.tanh() * (1.0 if mask is None else mask)
            return actions.unflatten(0, shape) * rows[ACTS].unsqueeze(-1), mean
        logits = outputs if mask is None else outputs.masked_fill(~mask, 0.0)
        actions = relaxed_choices(self._distribution(policy, outputs), self.config.softmax_temperature, draws)
        return actions.unflatten(0, shape) * rows[ACTS].unsqueeze(-1), logits

    # -- inside ----------------------------------------------------------------------------------------------------

    def _seen(self, module: str, rows: Rows, *, following: bool = False) -> Tensor:
        """Normalised observations `[N, A, D]`; 0 of those who are not there."""
        alive = rows[NEXT + ALIVE if following else ALIVE].unsqueeze(-1)
        return self.seen(module, rows, following=following).unflatten(0, rows[REWARDS].shape) * alive

    def _done(self, module: str, rows: Rows) -> Tensor:
        """What was done, as critics read it, `[N, A, W]`; 0 of those who did not act."""
        actions = encoded(rows[ACTIONS].flatten(0, 1), self.policy(module))
        return actions.unflatten(0, rows[REWARDS].shape) * rows[ACTS].unsqueeze(-1)

    def _joint(self, seen: Mapping[str, Tensor], done: Mapping[str, Tensor]) -> Tensor:
        """What all see, then what all do, `[N, J]`."""
        return torch.cat([part[module].flatten(1) for part in (seen, done) for module in self.module_ids], dim=1)

    @staticmethod
    def _distribution(policy: PolicyModule, outputs: Tensor) -> Branches:
        assert isinstance(policy, DeterministicModule)
        distribution = policy.distribution(outputs)
        assert isinstance(distribution, Branches)
        return distribution


def relaxed_choices(choices: Branches, temperature: float, draws: torch.Generator) -> Tensor:
    """One-hot codes of drawn choices, `[N, sum(nvec)]`, whose gradients are those of a softmax (Jang et al. 2017).

    Args:
        choices: The policy's distribution.
        temperature: Of the softmax: the lower, the nearer to a choice, and the noisier its gradient.
        draws: Source of the noise.
    """
    log_probs = choices.log_probs
    waits = torch.empty(log_probs.shape, device=log_probs.device).exponential_(generator=draws)
    noisy = log_probs - waits.clamp_min(torch.finfo(waits.dtype).tiny).log()
    soft = (noisy / temperature).softmax(dim=-1)
    hard = torch.zeros_like(soft).scatter_(-1, noisy.argmax(dim=-1, keepdim=True), 1.0)
    straight = hard - soft.detach() + soft
    return torch.cat([straight[:, branch, :size] for branch, size in enumerate(choices.nvec)], dim=-1)
