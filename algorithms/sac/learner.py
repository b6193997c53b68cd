"""SAC's update: twin critics, a policy that is as random as it can afford, and a price of randomness that is found."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from algorithms.networks.distributions import MASKED_LOGIT, Branches, DiagonalGaussian, distribution_class
from algorithms.networks.policy_module import PolicyModule
from algorithms.networks.squashed import squash
from algorithms.off_policy.columns import ACTIONS, ACTS, ALIVE, DISCOUNTS, REWARDS
from algorithms.off_policy.critics import ActionCritic, BranchCritic, Twin
from algorithms.off_policy.learner import OffPolicyLearner, Rows, error_of, mean_over, weighted
from algorithms.seeds import Use, generator


class Temperature(nn.Module):
    """What a nat of entropy is worth, as its logarithm.

    Args:
        first: What it is at first.
    """

    def __init__(self, first: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(first)))


class SACLearner(OffPolicyLearner):
    """Soft actor-critic, a policy at a time: each agent's critic reads what that agent sees, and the state if asked.

    Continuous actions: Haarnoja et al. 2018, equations 5 to 9 and 18. Choices: expectations over all of them in the
    place of samples (Christodoulou 2019, equations 10 to 12); branches are independent given what is seen, and their
    values add up, so that both sum over branches. The target of entropy is a share of the largest there could be,
    which is positive: a negative one, right for densities, would let the temperature of choices fall for ever.
    """

    # -- construction ----------------------------------------------------------------------------------------------

    def make_parts(self) -> None:
        """Twin critics and a temperature for each policy."""
        states = self.config.state_size if self.config.reads_state() else 0
        for module in self.module_ids:
            policy = self.policy(module)
            kind = ActionCritic if policy.log_std is not None else BranchCritic
            self.parts[f"critic_{module}"] = Twin(lambda kind=kind, policy=policy: kind(policy, states))  # type: ignore[misc]
            self.parts[f"temperature_{module}"] = Temperature(self.config.temperature)

    def make_followed(self) -> dict[str, nn.Module]:
        """The critics."""
        return {f"critic_{module}": self.parts[f"critic_{module}"] for module in self.module_ids}

    def make_optimised(self) -> dict[str, list[nn.Parameter]]:
        """Critics, policies, and temperatures where they are learned."""
        modules = self.module_ids
        learned = {
            "critic": [p for module in modules for p in self.parts[f"critic_{module}"].parameters()],
            "policy": [p for module in modules for p in self.policy(module).parameters()],
        }
        if self.config.learn_temperature:
            learned["temperature"] = [p for module in modules for p in self.parts[f"temperature_{module}"].parameters()]
        return learned

    # -- the update ------------------------------------------------------------------------------------------------

    def learn(self, rows: Mapping[str, Rows], update: int) -> dict[str, Tensor]:
        """One update of critics, then policies, then temperatures."""
        draws = generator(Use.LEARNING, self.config.seed, update, device=self.device)
        wrong = [self._critic_loss(module, rows[module], rows, draws) for module in self.module_ids]
        critic_losses = [loss for loss, _ in wrong]
        self.wrong = torch.stack([errors for _, errors in wrong]).mean(dim=0)
        norm = self.step("critic", torch.stack(critic_losses).sum())
        found = [self._policy_loss(module, rows[module], rows, draws) for module in self.module_ids]
        policy_loss = torch.stack([loss for loss, _, _ in found]).sum()
        self.step("policy", policy_loss)
        if self.config.learn_temperature:
            gaps = [gap for _, _, gap in found]
            logs = [self._temperature(module).log for module in self.module_ids]
            self.step("temperature", torch.stack([log * gap for log, gap in zip(logs, gaps, strict=True)]).sum())
            with torch.no_grad():
                for log in logs:
                    log.clamp_(min=math.log(max(self.config.least_temperature, 1e-8)))
        return {
            "critic_loss": torch.stack(critic_losses).detach().sum(),
            "policy_loss": policy_loss.detach(),
            "entropy": torch.stack([entropy for _, entropy, _ in found]).mean(),
            "temperature": torch.stack(
                [self._temperature(module).log.detach().exp() for module in self.module_ids]
            ).mean(),
            "gradient_norm": norm,
        }

    def _critic_loss(
        self, module: str, rows: Rows, everything: Mapping[str, Rows], draws: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Squared errors of both critics, of agents that were there (equations 5 and 6), and their mean size `[N]`."""
        shape = rows[REWARDS].shape
        with torch.no_grad():
            alpha = self._temperature(module).log.exp()
            dist_inputs, mask = self.outputs(self.policy(module), rows, following=True)
            seen = self.seen(module, rows, following=True)
            state = self._state(everything, shape[1], following=True)
            if self._continuous(module):
                actions, log_density = self._draw(module, dist_inputs, mask, draws)
                after = self.target(f"critic_{module}")(seen, actions, state).amin(dim=0) - alpha * log_density
            else:
                choices = _branches(self.policy(module), dist_inputs)
                probabilities = choices.log_probs.exp()
                values = (probabilities * self.target(f"critic_{module}")(seen, state)).sum((-2, -1)).amin(dim=0)
                after = values + alpha * choices.entropy()
            target = self.targets(rows[REWARDS], rows[DISCOUNTS], after.unflatten(0, shape))
        seen, state = self.seen(module, rows), self._state(everything, shape[1])
        taken = rows[ACTIONS].flatten(0, 1)
        if self._continuous(module):
            values = self.parts[f"critic_{module}"](seen, taken, state)
        else:
            table = self.parts[f"critic_{module}"](seen, state)
            index = taken.long().unsqueeze(-1).expand(2, -1, -1, -1)
            values = table.gather(-1, index).squeeze(-1).sum(-1)
        errors = values.unflatten(1, shape) - target
        loss = mean_over(weighted(errors.square().sum(dim=0), rows), rows[ALIVE])
        return loss, error_of(errors.abs().mean(dim=0), rows[ALIVE])

    def _policy_loss(
        self, module: str, rows: Rows, everything: Mapping[str, Rows], draws: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss of those who acted (equation 7), their entropy, and by how much that is above its target."""
        shape, acts = rows[REWARDS].shape, rows[ACTS].flatten()
        alpha = self._temperature(module).log.detach().exp()
        dist_inputs, mask = self.outputs(self.policy(module), rows)
        seen, state = self.seen(module, rows), self._state(everything, shape[1])
        if self._continuous(module):
            actions, log_density = self._draw(module, dist_inputs, mask, draws)
            values = self.parts[f"critic_{module}"](seen, actions, state).amin(dim=0)
            loss, entropy = alpha * log_density - values, -log_density.detach()
            dimensions = float(actions.shape[-1]) if mask is None else mask.sum(dim=-1)
            target = self.config.target_entropy * dimensions
        else:
            choices = _branches(self.policy(module), dist_inputs)
            probabilities = choices.log_probs.exp()
            with torch.no_grad():
                values = self.parts[f"critic_{module}"](seen, state).amin(dim=0)
            loss = (probabilities * (alpha * choices.log_probs - values)).sum((-2, -1))
            entropy = choices.entropy().detach()
            allowed = choices.table > MASKED_LOGIT / 2
            target = self.config.target_share * allowed.sum(dim=-1).clamp_min(1).float().log().sum(dim=-1)
        gap = mean_over(entropy - target, acts)
        return mean_over(loss, acts), mean_over(entropy, acts), gap

    # -- inside ----------------------------------------------------------------------------------------------------

    def _continuous(self, module: str) -> bool:
        return self.policy(module).log_std is not None

    def _temperature(self, module: str) -> Temperature:
        temperature = self.parts[f"temperature_{module}"]
        assert isinstance(temperature, Temperature)
        return temperature

    def _state(self, rows: Mapping[str, Rows], agents: int, *, following: bool = False) -> Tensor | None:
        """The global state beside each row `[N * A, S]`, where critics read it."""
        if "states" not in self.parts:
            return None
        return self.states(rows, following=following).repeat_interleave(agents, dim=0)

    def _draw(
        self, module: str, dist_inputs: Tensor, mask: Tensor | None, draws: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Squashed actions that gradients flow through, and the logarithm of their density (equation 18)."""
        distribution = DiagonalGaussian(dist_inputs)
        mean, log_std = distribution.parts
        noise = torch.randn(mean.shape, generator=draws, device=mean.device)
        log_density = -0.5 * noise.square() - log_std - 0.5 * math.log(math.tau)
        return squash(mean + log_std.exp() * noise, log_density, mask)


def _branches(policy: PolicyModule, dist_inputs: Tensor) -> Branches:
    """The distribution over a policy's choices."""
    distribution = distribution_class(policy.action_space)(dist_inputs)
    assert isinstance(distribution, Branches)
    return distribution
